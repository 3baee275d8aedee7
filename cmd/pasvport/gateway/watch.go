// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/expect"
)

const (
	// sweepEvery is how often open pinholes are looked at: their time, and
	// whether their control connection still lives. Events tell the latter
	// sooner, but not of connections older than the daemon, and some may be
	// lost.
	sweepEvery = 300 * time.Millisecond
	// reconcileEvery is how often sessions are compared with the tracker.
	reconcileEvery = 30 * time.Second
)

// watch follows the connection tracker until ctx ends.
func (g *Gateway) watch(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { g.sweeps(ctx) })
	defer wg.Wait()
	// Pinholes are closed from here with a connection of our own, as the
	// sweeper's is busy at the same time.
	ct, err := expect.Dial()
	if err != nil {
		return err
	}
	defer ct.Close()
	return g.events.Run(ctx, func(e *expect.Event) { g.event(ct, e) })
}

// syncBound is how long a packet waits until what conntrack has reported before
// it is handled. Events are handled at some ten thousand a second.
const syncBound = 100 * time.Millisecond

// sync waits until the watcher has handled what conntrack has reported so far, and
// reports whether it has.
func (g *Gateway) sync() bool { return g.events.Sync(syncBound) }

func (g *Gateway) event(ct *expect.Conn, e *expect.Event) {
	if e.Entry.Status&expect.StatusExpected == 0 {
		g.noteZone(&e.Entry)
	}
	switch {
	case e.Type == expect.New && e.Entry.Master != (expect.Tuple{}):
		if _, s := g.session(e.Entry.Master); s != nil {
			g.pinholes.Begins(&e.Entry, &s.owner)
		}
	case e.Type == expect.New:
	case e.Type == expect.Destroy:
		if e.Entry.Status&expect.StatusExpected == 0 {
			g.takeUp(e.Entry.ID)
		}
		g.countData(&e.Entry)
		if g.pinholes.Ends(&e.Entry) {
			return
		}
		if w, s := g.session(e.Entry.Original); s != nil {
			s.mu.Lock()
			s.mark = e.Entry.Mark
			s.mu.Unlock()
			g.end(ct, w, s)
		}
	case e.Type == expect.Lost:
		select {
		case g.lost <- struct{}{}:
		default:
		}
	case e.Entry.TCPState >= expect.TCPStateSynRecv:
		g.pinholes.Answered(e.Entry.Original)
		if e.Entry.TCPState == expect.TCPStateSynRecv {
			g.older.begins(e.Entry.ID)
		}
		if e.Entry.TCPState >= expect.TCPStateTimeWait {
			g.dataClosed(ct, e.Entry.Original)
		}
		if e.Entry.TCPState < expect.TCPStateFinWait {
			return
		}
		if _, s := g.session(e.Entry.Original); s != nil && s.id == e.Entry.ID {
			g.ending(ct, s, e.Entry.TCPState)
		}
	}
}

// isOpen reports whether neither end has begun to close a connection.
func isOpen(e *expect.Entry) bool {
	return e.TCPState >= expect.TCPStateSynSent && e.TCPState <= expect.TCPStateEstablished
}

// session finds a session by its original tuple.
func (g *Gateway) session(t expect.Tuple) (*worker, *session) {
	for _, w := range g.holders() {
		if s := w.table.find(t); s != nil {
			return w, s
		}
	}
	return nil, nil
}

// ending closes the pinhole of a session whose connection is being closed.
func (g *Gateway) ending(ct *expect.Conn, s *session, state uint8) {
	s.closing.Store(true)
	s.mu.Lock()
	s.state = state
	s.mu.Unlock()
	if s.counted.Swap(false) {
		g.balancer.Ended(s.ep.Dialled, s.ep.Server)
	}
	g.pinholes.CloseOf(ct, &s.owner, "")
	g.forgetEncrypted(s)
	if state < expect.TCPStateTimeWait {
		return
	}
	g.sessionEnded(s, state)
	if surplus, ok := g.present.Close(&s.member, s.client(g), s, g.settings().MaxSessions); ok {
		w, known := g.session(surplus.original())
		if known != surplus {
			g.present.Forget(&surplus.member, surplus.client(g))
			return
		}
		g.end(ct, w, surplus)
	}
}

// end forgets a session that the tracker has forgotten.
func (g *Gateway) end(ct *expect.Conn, w *worker, s *session) {
	g.endFast(s) // while it is in the table, so that its successor's state is not taken for its own
	g.forget(s)
	g.sessionEnded(s, expect.TCPStateNone) // if conntrack reported no other end
	g.ending(ct, s, expect.TCPStateClose)
	g.present.Forget(&s.member, s.client(g))
	g.takeUp(s.id)
	if w.table.remove(s) {
		g.forgetHere(s)
		g.metrics.Sessions.Add(-1)
	}
}

// sweeps looks after what events do not tell.
func (g *Gateway) sweeps(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	reconciled := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.lost:
			g.log.Warn("conntrack events were lost", "hint", "the machine is busy; sessions are compared with the tracker now")
			reconciled = time.Time{}
		case now := <-tick.C:
			for _, p := range g.pinholes.All() {
				g.sweep(p, now)
			}
			g.sayLeft()
			g.overdue(g.ct, now)
			g.reportUnanswered(now)
			if now.Sub(reconciled) >= reconcileEvery {
				g.reconcile()
				reconciled = now
			}
		}
	}
}

// sweep closes a pinhole whose time or whose session is over.
func (g *Gateway) sweep(p *pinhole.Pinhole, now time.Time) {
	if now.After(p.Until()) {
		g.sync() // its connection may have come just now
	}
	if g.pinholes.Expire(g.ct, p, now) {
		return
	}
	if _, s := g.session(p.Owner.Original()); s != nil && &s.owner == p.Owner && s.transferWaits() {
		g.pinholes.Keep(g.ct, p, now)
	}
	e, err := g.ct.Get(p.Owner.Original())
	switch _, s := g.session(p.Owner.Original()); {
	case errors.Is(err, unix.ENOENT):
		g.pinholes.Close(g.ct, p, pinhole.Closed, "")
	case err != nil || e.TCPState < expect.TCPStateFinWait:
	case s != nil && &s.owner == p.Owner:
		g.ending(g.ct, s, e.TCPState)
	default: // its session is gone
		g.pinholes.Close(g.ct, p, pinhole.Closed, "")
	}
}

// reconcile forgets the sessions and data connections that the tracker does
// not know any more and of which no event told.
func (g *Gateway) reconcile() {
	sessions := map[*worker][]*session{}
	for _, w := range g.holders() {
		sessions[w] = w.table.all() // before the dump: what begins later stays
	}
	g.lists++
	err := g.ct.DumpTo(g.tracked(), func(e *expect.Entry) {
		if _, s := g.session(e.Original); s != nil {
			s.seen = g.lists
		}
	})
	if err != nil {
		g.log.Warn("cannot list conntrack entries", "err", err)
		return
	}
	for w, list := range sessions {
		for _, s := range list {
			if s.seen != g.lists && g.gone(s.original()) {
				g.end(g.ct, w, s)
			}
		}
	}
}

// gone reports whether the tracker does not know the connection.
func (g *Gateway) gone(t expect.Tuple) bool {
	_, err := g.ct.Get(t)
	return errors.Is(err, unix.ENOENT)
}
