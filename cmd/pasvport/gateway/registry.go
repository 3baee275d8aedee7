// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"iter"
	"sync"

	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
)

// registry finds sessions, whichever table they are in. The tables exist before
// the first packet, and stay.
type registry struct {
	queues []*session.Table // one per queue
	// orphans are sessions of an earlier daemon: which queue has them is known
	// when their first packet arrives.
	orphans session.Table

	mu sync.Mutex // who moves or removes a session has it
}

// find returns the session with a tuple and its table, or nil. An orphan may be
// moved to a queue meanwhile, so the queues are searched again.
func (r *registry) find(t expect.Tuple) (*session.Table, *session.Session) {
	for range 2 {
		for _, table := range r.queues {
			if s := table.Find(t); s != nil {
				return table, s
			}
		}
		if s := r.orphans.Find(t); s != nil {
			return &r.orphans, s
		}
	}
	return nil, nil
}

// session returns the session with a tuple, or nil.
func (r *registry) session(t expect.Tuple) *session.Session {
	_, s := r.find(t)
	return s
}

// move moves the session with a tuple to another table, and returns it; nil: it is not
// there any more.
func (r *registry) move(of expect.Tuple, from, to *session.Table) *session.Session {
	if from.Find(of) == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return to.Move(of, from)
}

// remove removes a session from the table that it is in now, and reports whether it was in
// one.
func (r *registry) remove(s *session.Session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.queues {
		if t.Remove(s) {
			return true
		}
	}
	return r.orphans.Remove(s)
}

// all returns all sessions with their tables. One that is being moved may come
// twice.
func (r *registry) all() iter.Seq2[*session.Table, *session.Session] {
	return func(yield func(*session.Table, *session.Session) bool) {
		for _, s := range r.orphans.All() { // first, as they are moved from there
			if !yield(&r.orphans, s) {
				return
			}
		}
		for _, t := range r.queues {
			for _, s := range t.All() {
				if !yield(t, s) {
					return
				}
			}
		}
	}
}

// held returns how many bytes of memory the engines of all sessions hold for what
// was said.
func (r *registry) held() (n int) {
	for _, s := range r.all() {
		n += s.Held()
	}
	return n
}

// met returns the sessions of which a packet was queued, and that are not only
// monitored.
func (r *registry) met() (list []*session.Session) {
	for _, t := range r.queues {
		for _, s := range t.All() {
			if !s.Owner.Monitored {
				list = append(list, s)
			}
		}
	}
	return list
}
