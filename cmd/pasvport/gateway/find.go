// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// tracking is what is known of a packet that has no session here.
type tracking uint8

const (
	untracked tracking = iota // conntrack has no entry for it
	tracked                   // it has one that began midstream and is not established yet, or that cannot continue
	elsewhere                 // another queue has its session, or conntrackd is about to bring its entry
)

// find returns the session of a packet, or nil and what is known of it.
//
// A session is the same connection as long as the end of its entry has not been
// read. That end is in the events before any packet of the next entry with the
// same tuple is in the queue, so reading them settles every doubt about which one
// a packet belongs to; see expect.Events.Sync.
func (w *worker) find(p *nfq.Packet) (r *session.Reader, is tracking) {
	t := tupleOf(p)
	if r = w.known(t); r != nil && r.Pair.GoesOn() { // it may be over, and its entry another one's
		r.Release()
		w.events.Sync(syncBound)
		r = w.known(t)
	}
	if r != nil {
		doubtful := r.Doubtful(p)
		if !doubtful && !r.Adjusted() {
			return r, tracked
		}
		r.Release()
		// Without its entry the bytes of an adjusted one would go to the wrong
		// place.
		if inTime := w.sync(); !doubtful {
			if r = w.known(t); r != nil && !inTime && !w.adjusts(r) {
				r.Release()
				return nil, elsewhere
			}
			if r != nil {
				return r, tracked
			}
		}
	}
	w.flush()
	e, err := w.ct.Get(t)
	inTime := w.sync()
	if r = w.known(t); r != nil && (err != nil || r.Is(&e, p)) {
		return r, tracked
	}
	if w.misplaced(t) {
		return nil, elsewhere
	}
	if r != nil { // its end was not reported
		r.Release()
		w.end(w.ct, r.Session)
		r = nil
	}
	if err != nil {
		if !errors.Is(err, unix.ENOENT) {
			w.log.Warn("conntrack look-up failed", "tuple", t, "err", err)
		}
		w.count(report.ReasonNotTracked)
		return nil, untracked
	}
	if e.Status&expect.StatusSeenReply == 0 || e.Liberal && (!inTime || w.lostAdjusted(t, w.now)) {
		return nil, tracked
	}
	if table, s := w.another(&e); s != nil {
		if w.owns(e.ID) {
			r = w.moved(t, table)
		}
		if r == nil {
			return nil, elsewhere
		}
		return r, tracked
	}
	if e.Liberal && w.peer.Brought(&e, syncBound) { // its event has not been read
		if r = w.known(t); r != nil {
			return r, tracked
		}
	}
	if e.TCPState >= expect.TCPStateTimeWait && w.peer.Expects(t) {
		return nil, elsewhere // an earlier connection's, which conntrackd is about to replace
	}
	return w.adopt(&e, nil, w.now), tracked
}

// adjusts reports whether the kernel adjusts the sequence numbers of a session as its
// engine wants, where conntrackd may have made the entry anew and the events are late.
func (w *worker) adjusts(r *session.Reader) bool {
	if r.Pair == nil || r.Here() {
		return true
	}
	e, err := w.ct.Get(r.Original())
	if err != nil || e.ID != r.ID() {
		return false
	}
	for d, by := range r.Adjustments() {
		if e.Adj[d].After != by.After {
			return false
		}
	}
	return true
}

// misplaced reports whether another queue gets what follows of a session of the other
// firewall: a packet was queued by the id of its entry before conntrackd made that anew.
func (w *worker) misplaced(t expect.Tuple) bool {
	s := w.registry.orphans.Find(t)
	return s != nil && s.Pair.GoesOn() && !w.owns(s.ID())
}

// owns reports whether this queue gets the packets of an entry.
func (w *worker) owns(id uint32) bool {
	all := w.registry.queues
	return all[rules.QueueOf(id, len(all))] == w.table
}

// another returns the session of an entry that another queue has, and its table, or nil.
// The first queue gets the packets with which conntrack picks a connection up
// (rules/stale.go), and so the copies of one that were sent before it was accepted; and any
// queue gets packets of a connection whose entry is made anew. They may be read when the
// connection's own queue has made the session, and has a pinhole open for it; or they were
// read first, when the session was there already, which is then to be moved to its own
// queue.
func (w *worker) another(e *expect.Entry) (*session.Table, *session.Session) {
	table, s := w.registry.find(e.Original)
	if s == nil || table == w.table || table == &w.registry.orphans || s.ID() != e.ID || s.Closing() || s.Owner.Monitored {
		return nil, nil
	}
	return table, s
}

// known returns the session that has a tuple, as far as events were read; the
// worker is its reader, and it is up to date.
func (w *worker) known(t expect.Tuple) *session.Reader {
	if s := w.table.Find(t); s != nil {
		return w.acquire(s)
	}
	if w.misplaced(t) {
		return nil
	}
	return w.moved(t, &w.registry.orphans)
}

// moved is known for a session of another table, which is moved.
func (w *worker) moved(t expect.Tuple, from *session.Table) *session.Reader {
	s := w.registry.move(t, from, w.table)
	if s == nil {
		return nil
	}
	return w.acquire(s)
}

// acquire makes the worker the reader of a session and brings that up to date, or
// returns nil if another goroutine is its reader.
func (w *worker) acquire(s *session.Session) *session.Reader {
	r := s.Acquire(&w.work)
	if r != nil {
		w.unread.catchUp(r)
	}
	return r
}

// present returns the session of a packet of r, when it matters: another one if
// the entry of r is gone meanwhile, and conntrack has picked the connection up
// again. In a pair it is conntrackd that has made the entry anew, and nil is returned: the
// packet, which has the old entry, must be retransmitted, and the new one's session knows
// of the other's what was told.
func (w *worker) present(r *session.Reader) *session.Reader {
	w.sync()
	if w.table.Find(r.Original()) == r.Session {
		return r
	}
	if w.peer != nil {
		return nil
	}
	e, err := w.ct.Get(r.Original())
	if err != nil || e.Original != r.Original() || e.Reply != r.Reply() || e.Status&expect.StatusSeenReply == 0 {
		return r
	}
	next := w.adopt(&e, r.Engine, w.now)
	if next.Engine != r.Engine { // above the limit now
		next.Release()
		return r
	}
	w.using = next
	return next
}

// Sync implements account.Watcher. What is forwarded does not wait for it.
func (w *worker) Sync() bool {
	w.flush()
	return w.sync()
}
