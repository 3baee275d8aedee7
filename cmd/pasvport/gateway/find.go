// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
)

// find returns the session of a packet. If there is none, tracked says whether
// conntrack has an entry nevertheless: one that began midstream and is not
// established yet, or that cannot continue.
//
// A session is the same connection as long as the end of its entry has not been
// read. That end is in the events before any packet of the next entry with the
// same tuple is in the queue, so reading them settles every doubt about which one
// a packet belongs to; see expect.Events.Sync.
func (w *worker) find(p *nfq.Packet) (r *session.Reader, tracked bool) {
	t := tupleOf(p)
	if r = w.known(t); r != nil {
		doubtful := r.Doubtful(p)
		if !doubtful && !r.Adjusted() {
			return r, true
		}
		r.Release()
		// Without its entry the bytes of an adjusted one would go to the wrong
		// place.
		if w.sync(); !doubtful {
			if r = w.known(t); r != nil {
				return r, true
			}
		}
	}
	w.flush()
	e, err := w.ct.Get(t)
	inTime := w.sync()
	if r = w.known(t); r != nil && (err != nil || r.Is(&e, p)) {
		return r, true
	}
	if r != nil { // its end was not reported
		r.Release()
		w.end(w.ct, w.table, r.Session)
	}
	if err != nil {
		if !errors.Is(err, unix.ENOENT) {
			w.log.Warn("conntrack look-up failed", "tuple", t, "err", err)
		}
		w.count(report.ReasonNotTracked)
		return nil, false
	}
	if e.Status&expect.StatusSeenReply == 0 || e.Liberal && (!inTime || w.lostAdjusted(t, w.now)) {
		return nil, true
	}
	return w.adopt(&e, nil, w.now), true
}

// known returns the session that has a tuple, as far as events were read; the
// worker is its reader, and it is up to date.
func (w *worker) known(t expect.Tuple) *session.Reader {
	s := w.table.Find(t)
	if s == nil {
		s = w.table.Move(t, &w.registry.orphans)
	}
	if s == nil {
		return nil
	}
	r := s.Acquire(&w.work)
	if r != nil {
		w.unread.catchUp(r)
	}
	return r
}

// present returns the session of a packet of r, when it matters: another one if
// the entry of r is gone meanwhile, and conntrack has picked the connection up
// again.
func (w *worker) present(r *session.Reader) *session.Reader {
	w.sync()
	if w.table.Find(r.Original()) == r.Session {
		return r
	}
	e, err := w.ct.Get(r.Original())
	if err != nil || e.Original != r.Original() || e.Reply != r.Reply() || e.Status&expect.StatusSeenReply == 0 {
		return r
	}
	if s := w.registry.orphans.Find(r.Original()); s != nil { // made from the record of r
		w.end(w.ct, &w.registry.orphans, s)
	}
	next := w.adopt(&e, r.Engine, w.now)
	if w.peer != nil {
		state := next.Engine.State()
		w.teller.readjust(next, &e, &state)
	}
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
