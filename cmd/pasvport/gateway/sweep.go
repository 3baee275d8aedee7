// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
)

const (
	// sweepEvery is how often open pinholes are checked: their timeouts, and
	// whether their control connections still live. Events report the latter
	// sooner, but not of connections older than the daemon, and some may be lost.
	sweepEvery = 300 * time.Millisecond
	// reconcileEvery is how often sessions are compared with conntrack.
	reconcileEvery = 30 * time.Second
)

// sweeper handles what events do not report.
type sweeper struct {
	*life
	ct    conntrack
	lost  <-chan struct{}        // events were lost
	kept  func(*session.Session) // tells the other firewall that a pinhole stays
	lists uint8                  // how often conntrack's connections were listed

	ended map[uint32]expect.Tuple // data connections that wrongWay has reported
}

// run sweeps until ctx ends.
func (w *sweeper) run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	reconciled := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.lost:
			w.log.Warn("conntrack events were lost", "hint", "the machine is busy; sessions are compared with conntrack now")
			reconciled = time.Time{}
		case now := <-tick.C:
			w.sweep(now)
			if now.Sub(reconciled) >= reconcileEvery {
				w.reconcile()
				reconciled = now
			}
		}
	}
}

// sweep checks everything that may have timed out.
func (w *sweeper) sweep(now time.Time) {
	for _, p := range w.pinholes.All() {
		w.pinhole(p, now)
	}
	w.sayLeft()
	w.accounts.Overdue(w.ct, now)
	w.unanswered(now)
	w.wrongWay()
}

// answerTime is how long the SYN of a data connection may be unanswered before its
// entry is looked up.
const answerTime = 3 * time.Second

// unanswered looks for data connections that were not answered. No event may have
// reported the answer: conntrackd writes entries of several steps at once. What is
// claimed and was not answered is reported: its SYN was dropped, here or further on.
func (w *sweeper) unanswered(now time.Time) {
	for data, p := range w.pinholes.Data.Unanswered(now.Add(-answerTime)) {
		if e := w.pinholes.CatchUp(w.ct, data); e == nil || e.TCPState >= expect.TCPStateSynRecv || !p.Claim {
			continue
		}
		w.metrics.Pinholes.Dropped.Add(1)
		w.holes.failed("data connection not answered", p, "the ruleset of this machine drops it, or whoever it is for")
	}
}

// wrongWay reports the data connections that the kernel has ended.
func (w *sweeper) wrongWay() {
	ids, err := w.directions.Ended()
	if err != nil {
		return // the healer reports what is wrong with our sets
	}
	for _, id := range ids {
		o, data := w.pinholes.Ways.Of(id)
		if o == nil || w.ended[id] == data {
			continue
		}
		w.ended[id] = data
		w.count(report.ReasonWrongWay)
		w.warn(o.Subject(), "data connection ended", "from", data.Src, "to", data.Dst,
			"reason", report.ReasonWrongWay, "hint", report.ReasonWrongWay.Hint())
		w.accounts.DataClosed(w.ct, data, w.registry.session)
	}
	maps.DeleteFunc(w.ended, func(id uint32, _ expect.Tuple) bool { return !slices.Contains(ids, id) })
}

// sayLeft reports how many lines the log limiter has left out, if no later line
// does.
func (w *sweeper) sayLeft() {
	if n := w.lines.Left(); n > 0 {
		w.log.Warn("lines were left out of the log", "lines", n,
			"hint", "sessions caused more than the log takes; see pasvport status for what they did")
	}
}

// pinhole closes a pinhole that has timed out or whose session is over.
func (w *sweeper) pinhole(p *pinhole.Pinhole, now time.Time) {
	if now.After(p.Until()) {
		w.sync() // its connection may have just begun
	}
	if w.pinholes.Expire(w.ct, p, now) {
		return
	}
	if s := w.sessionOf(p); s != nil {
		before := p.Until()
		if w.pinholes.Keep(w.ct, p, now, s.TransferWaits()); s.Pair != nil && p.Until() != before {
			w.kept(s)
		}
	}
	e, err := w.ct.Get(p.Owner.Original())
	switch s := w.sessionOf(p); {
	case s == nil || errors.Is(err, unix.ENOENT):
		w.pinholes.Close(w.ct, p, pinhole.Closed, "")
	case err == nil && e.TCPState >= expect.TCPStateFinWait:
		w.ending(w.ct, s, e.TCPState)
	}
}

// sessionOf returns the session of a pinhole, nil if it is gone.
func (w *sweeper) sessionOf(p *pinhole.Pinhole) *session.Session {
	if s := w.registry.session(p.Owner.Original()); s != nil && &s.Owner == p.Owner {
		return s
	}
	return nil
}

// reconcile forgets the sessions whose entries conntrack no longer has and whose end no
// event has reported, and hands the entries that no event has reported to the pair.
func (w *sweeper) reconcile() {
	var sessions []*session.Session
	for _, s := range w.registry.all() { // before the dump: what begins later stays
		sessions = append(sessions, s)
	}
	w.lists++
	err := w.ct.DumpTo(w.ports.get(), func(e *expect.Entry) {
		switch s := w.registry.session(e.Original); {
		case s == nil:
			w.peer.Entered(e)
		case s.ID() == e.ID:
			s.Listed = w.lists
		}
	})
	if err != nil {
		w.log.Warn("cannot list conntrack entries", "err", err)
		return
	}
	w.sync()
	for _, s := range sessions {
		if s.Listed == w.lists || w.registry.session(s.Original()) != s {
			continue
		}
		switch e, err := w.ct.Get(s.Original()); {
		case errors.Is(err, unix.ENOENT):
			w.end(w.ct, s)
		case err == nil && e.ID != s.ID():
			w.end(w.ct, s)
			w.peer.Entered(&e)
		}
	}
}
