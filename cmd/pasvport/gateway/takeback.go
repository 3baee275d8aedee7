// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// takeBack makes the state of a daemon that ended, however it ended, of what
// the kernel holds: control connections by their port, data connections by their
// master, pinholes by expectations and by the elements of our sets; and of what
// that daemon handed over. It runs before our rules are there and before the
// workers do.
func (g *Gateway) takeBack(handed legacy) error {
	if err := g.takeBackSessions(handed); err != nil {
		return err
	}
	return errors.Join(g.takeBackExpectations(), g.takeBackElements())
}

// logTakenBack says what was.
func (g *Gateway) logTakenBack() {
	if n := len(g.orphans.table.all()); n > 0 {
		g.log.Info("taken back", "sessions", n, "pinholes", len(g.pinholes.All()))
	}
}

// takeBackSessions adopts the control connections that the kernel knows, and
// gives them their data connections. Which queue a session has is known when
// its first packet comes; until then the orphans have it.
func (g *Gateway) takeBackSessions(handed legacy) error {
	served, err := g.firewall.Exists() // by a daemon that did not stop
	if err != nil || !served && len(handed) == 0 {
		return err // what there is began before the first daemon
	}
	notes, noteErr := g.firewall.Renumbered()
	left, leftErr := g.firewall.LeftAlone()
	// Most are adopted while they are listed, as a list of all would be larger
	// than all sessions are. That takes a socket of its own.
	list, err := expect.Dial()
	if err != nil {
		return err
	}
	defer list.Close()
	g.orphans.now = time.Now()
	take := func(e *expect.Entry) {
		g.takeBackSession(e, notes, handed.of(e), succession.ParseLeft(left[e.ID]))
	}
	var unread, data []expect.Entry
	err = list.DumpTo(g.tracked(), func(e *expect.Entry) {
		why, alone := left[e.ID]
		switch {
		case e.TCPState >= expect.TCPStateTimeWait || e.Status&expect.StatusSeenReply == 0:
		case alone && why == "": // a check of a server
		case e.Original.Zone != 0 && g.plan.rules.OneZone:
			g.noteZone(e)
		case !served && handed.of(e) == nil: // it is listed among the older ones
		case alone, isLeft(handed.of(e)):
			unread = append(unread, *e) // should there be more than there may be, these come last
		default:
			take(e)
		}
	})
	err = errors.Join(err, list.DumpExpected(func(e *expect.Entry) {
		if e.TCPState < expect.TCPStateTimeWait {
			data = append(data, *e)
		}
	}))
	for i := range unread {
		take(&unread[i])
	}
	for i := range data {
		if _, s := g.session(data[i].Master); s != nil {
			g.pinholes.Data.Found(data[i].Original, &s.owner)
		}
	}
	return errors.Join(err, noteErr, leftErr)
}

// takeBackSession adopts the control connection of an entry. The daemon before
// may have adjusted it by itself, and left notes of it or handed it over; or it has
// left it alone, and why says so.
func (g *Gateway) takeBackSession(e *expect.Entry, notes map[uint32]string, handed *succession.Record, why succession.Left) {
	here := g.resumeHere(e, notes, handed)
	s := g.orphans.adopt(e, nil)
	defer s.Release()
	var state *ftpalg.State
	if handed != nil {
		state = handed.Engine
	}
	s.alg.Continue(state)
	if here {
		s.isAdjustedHere()
		if handed != nil {
			s.own.Load().passed = handedPassed(handed.Next)
		}
	}
	if s.aside {
		return
	}
	if handed != nil && handed.Left != succession.LeftNot {
		why = handed.Left
	}
	g.leaveAgain(s, why)
}

// takeBackExpectations makes pinholes of the expectations of our sessions.
func (g *Gateway) takeBackExpectations() error {
	var list []expect.ExpectationInfo
	err := g.ct.DumpExpectations(func(x *expect.ExpectationInfo) { list = append(list, *x) })
	masters := anyZone(g.orphans.table.all())
	for i := range list {
		x := &list[i]
		s := masters[x.Master]
		if s == nil || !s.carrier {
			continue
		}
		p := pinhole.Spec{Key: pinhole.Key{Source: x.Expected.Src.Addr(), Public: x.Expected.Dst}, Target: x.Expected.Dst,
			Mode: ftpalg.Passive, NAT: x.NAT, Timeout: x.Timeout}
		if x.NAT {
			p.Target = x.To
		}
		if x.NAT && x.Direction == expect.Reply || !x.NAT && x.Expected.Dst.Addr() == s.ep.Client.Addr() {
			p.Mode = ftpalg.Active
		}
		if x.Mask.Src.Port() != 0 {
			p.Port = x.Expected.Src.Port()
		}
		g.restore(s, p)
	}
	return err
}

// takeBackElements makes pinholes of the elements that an earlier daemon has
// left in our sets for claims, by what it noted with them. What belongs to no
// session any more is closed.
func (g *Gateway) takeBackElements() error {
	list, err := g.firewall.Elements()
	byID := map[uint32]*session{}
	for _, s := range g.orphans.table.all() {
		byID[s.id] = s
	}
	for _, e := range list {
		if e.Forward {
			continue
		}
		p, id, ok := pinhole.ParseNote(e.Note)
		s := byID[id]
		if !ok || s == nil {
			err = errors.Join(err, g.firewall.ClosePinhole(rules.Pinhole{Source: e.Source, Dest: e.Dest}))
			continue
		}
		p.Key, p.Claim, p.Timeout = pinhole.Key{Source: e.Source, Public: e.Dest}, true, e.Expires
		g.restore(s, p)
	}
	return err
}

// restore enters a pinhole that is open in the kernel.
func (g *Gateway) restore(s *session, spec pinhole.Spec) {
	p := &pinhole.Pinhole{Spec: spec, Owner: &s.owner, Expires: time.Now().Add(spec.Timeout)}
	if g.pinholes.Restore(p) {
		g.reopened(p)
	}
}

// reopened notes a pinhole that an earlier daemon opened.
func (g *Gateway) reopened(p *pinhole.Pinhole) {
	g.metrics.Pinholes.Open.Add(1)
	g.logPinhole("pinhole taken back", p, "")
}

// restoreServers takes over which servers an earlier daemon has left without
// new sessions, and has the kernel begin with that.
func (g *Gateway) restoreServers() error {
	for _, v := range g.balancer.Rules() {
		parked, err := g.firewall.Parked(v)
		if err != nil {
			return err
		}
		g.balancer.Restore(v, parked)
	}
	for _, v := range g.balancer.Rules() {
		if err := g.firewall.Spread(v); err != nil {
			return err
		}
	}
	return nil
}

// takeOver gives a session of the orphans to the worker whose queue its
// packets come to; nil if there is none.
func (w *worker) takeOver(t expect.Tuple) *session {
	s := w.g.orphans.table.find(t)
	if s == nil {
		return nil
	}
	// In this order, so that the watcher finds it at any time.
	w.table.add(s)
	if !w.g.orphans.table.remove(s) { // it ended meanwhile
		w.table.remove(s)
		return nil
	}
	return s
}

// holders are all that have sessions.
func (g *Gateway) holders() []*worker {
	return append(g.workers[:len(g.workers):len(g.workers)], g.orphans)
}

// isLeft reports whether a session was handed over as one that was left alone.
func isLeft(r *succession.Record) bool { return r != nil && r.Left != succession.LeftNot }
