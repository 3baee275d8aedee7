// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"

	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
)

// watcher acts on conntrack's events.
type watcher struct {
	*life
	older *olderConnections
	lost  chan struct{} // of capacity 1: events were lost
	// used tells the other firewall what is open of a session that was used,
	// which no packet shows.
	used func(*session.Session)
}

// run follows conntrack until ctx ends.
func (w *watcher) run(ctx context.Context) error {
	// Pinholes are closed with a conntrack connection of our own, as the
	// sweeper's is busy at the same time.
	ct, err := w.dial()
	if err != nil {
		return err
	}
	defer ct.Close()
	return w.events.Run(ctx, func(e *expect.Event) { w.event(ct, e) })
}

// event acts on an event.
func (w *watcher) event(ct conntrack, e *expect.Event) {
	if e.Entry.Status&expect.StatusExpected == 0 {
		w.zones.note(&e.Entry)
	}
	switch {
	case e.Type == expect.New && e.Entry.Master != (expect.Tuple{}):
		s := w.registry.session(e.Entry.Master)
		if (s == nil || s.Pair.Standby()) && w.peer.EnteredData(&e.Entry) || s == nil {
			return
		}
		w.dataBegins(ct, &e.Entry, s)
		w.peer.Used(s.Original(), &e.Entry)
		w.tellUsed(s)
	case e.Type == expect.New:
		w.peer.Entered(&e.Entry)
	case e.Type == expect.Destroy:
		w.destroyed(ct, &e.Entry)
	case e.Type == expect.Lost:
		signal(w.lost)
	case e.Entry.TCPState >= expect.TCPStateSynRecv:
		w.changed(ct, &e.Entry)
	}
}

// tellUsed tells the other firewall that a data connection of a session has
// begun, or was answered.
func (w *watcher) tellUsed(s *session.Session) {
	switch {
	case s == nil || s.Pair == nil:
	case s.Pair.Standby():
		w.peer.Retell(s.Pair, s.Original())
	default:
		w.used(s)
	}
}

// destroyed acts on the end of an entry.
func (w *watcher) destroyed(ct conntrack, e *expect.Entry) {
	if e.Status&expect.StatusExpected == 0 {
		w.bypass.takeUp(e.ID)
	}
	w.accounts.Count(e)
	if w.pinholes.Ends(e) {
		return
	}
	if s := w.registry.session(e.Original); s != nil {
		s.SetMark(e.Mark)
		w.end(ct, s)
	}
	w.peer.Left(e)
}

// begins acts on a connection that was answered with SYN and ACK. It may have the entry
// of an earlier one whose end conntrack has not seen, as its state is from the other
// firewall: that one is over.
func (w *watcher) begins(ct conntrack, e *expect.Entry) {
	w.older.begins(e.ID)
	if s := w.registry.session(e.Original); s != nil && s.ID() == e.ID && s.Pair.GoesOn() {
		w.ending(ct, s, expect.TCPStateClose)
		w.end(ct, s)
	}
}

// changed acts on an entry whose connection has changed its state.
func (w *watcher) changed(ct conntrack, e *expect.Entry) {
	if p := w.pinholes.Answered(e); p != nil {
		w.peer.Used(p.Owner.Original(), e)
		w.tellUsed(w.registry.session(p.Owner.Original()))
	}
	if e.TCPState == expect.TCPStateSynRecv {
		w.begins(ct, e)
	}
	if e.TCPState >= expect.TCPStateTimeWait {
		w.accounts.DataClosed(ct, e.Original, w.registry.session)
	}
	if e.TCPState < expect.TCPStateFinWait {
		return
	}
	if s := w.registry.session(e.Original); s != nil && s.ID() == e.ID {
		w.ending(ct, s, e.TCPState)
	}
}
