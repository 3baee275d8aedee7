// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// heir reconstructs the state of a daemon that ended, in whatever way, from what
// the kernel holds: control connections by their port, data connections by their
// master, pinholes by expectations and by the elements of our sets; and from what
// that daemon handed over. It works before the workers do. The sessions that it
// adopts are in the table of the orphans.
type heir struct {
	adopter
	unseen bool // packets may have passed since that daemon ended
}

// takeBack takes back what the kernel holds, before our rules are installed. list
// is a socket of its own: most sessions are adopted while they are listed, as a
// list of all would be larger than all sessions are.
func (h *heir) takeBack(list conntrack, handed legacy) error {
	if err := h.sessions(list, handed); err != nil {
		return err
	}
	held, err := h.firewall.Elements()
	ways := map[pinhole.Key]rules.Way{}
	for _, e := range held {
		if e.Way != rules.WayAny {
			ways[pinhole.Key{Source: e.Source, Public: e.Dest}] = e.Way
		}
	}
	return errors.Join(err, h.expectations(ways), h.elements(held, ways))
}

// logTakenBack reports what was taken back.
func (h *heir) logTakenBack() {
	if n := len(h.table.All()); n > 0 {
		h.log.Info("taken back", "sessions", n, "pinholes", len(h.pinholes.All()))
	}
}

// sessions adopts the control connections in conntrack, and gives them their data
// connections.
func (h *heir) sessions(list conntrack, handed legacy) error {
	served, err := h.firewall.Exists() // by a daemon that did not stop
	if err != nil || !served && len(handed) == 0 {
		return err // what exists began before the first daemon
	}
	notes, noteErr := h.firewall.Renumbered()
	left, leftErr := h.firewall.LeftAlone()
	now := time.Now()
	take := func(e *expect.Entry) {
		h.session(e, notes, handed.of(e), succession.ParseLeft(left[e.ID]), now)
	}
	ways, wayErr := h.directions.All()
	var unread, data []expect.Entry
	dumped := make(chan error, 1)
	go func() { // each list walks all buckets of conntrack's table
		var err error
		data, err = h.dataConnections()
		dumped <- err
	}()
	err = list.DumpTo(h.ports.get(), func(e *expect.Entry) {
		why, alone := left[e.ID]
		switch {
		case e.TCPState >= expect.TCPStateTimeWait || e.Status&expect.StatusSeenReply == 0:
		case alone && why == "": // a check of a server
		case e.Original.Zone != 0 && h.zones.leftAlone:
			h.zones.note(e)
		case !served && handed.of(e) == nil: // it is listed among the older ones
		case alone, isLeft(handed.of(e)):
			unread = append(unread, *e) // if there are more than allowed, these come last
		default:
			take(e)
		}
	})
	err = errors.Join(err, <-dumped)
	for i := range unread {
		take(&unread[i])
	}
	for i := range data {
		if s := h.registry.session(data[i].Master); s != nil {
			h.pinholes.Data.Found(data[i].Original, &s.Owner)
			if w, ok := ways[data[i].ID]; ok {
				h.pinholes.Ways.Found(&data[i], &s.Owner, w)
				delete(ways, data[i].ID)
			}
		}
	}
	for id := range ways { // their end was not seen
		err = errors.Join(err, h.directions.Direct(id, rules.WayAny))
	}
	return errors.Join(err, noteErr, leftErr, wayErr)
}

// dataConnections lists the expected connections, on a socket of its own.
func (h *heir) dataConnections() (list []expect.Entry, err error) {
	ct, err := h.dial()
	if err != nil {
		return nil, err
	}
	defer ct.Close()
	err = ct.DumpExpected(func(e *expect.Entry) {
		if e.TCPState < expect.TCPStateTimeWait {
			list = append(list, *e)
		}
	})
	return list, err
}

// session adopts the control connection of an entry. The previous daemon may have
// adjusted it on its own, and left notes of it or handed it over; or it may have
// left it alone, for the reason why.
func (h *heir) session(e *expect.Entry, notes map[uint32]string, handed *succession.Record, why succession.Left, now time.Time) {
	here := h.adjust.resume(e, notes, handed)
	r := h.adopt(e, nil, now)
	defer r.Release()
	var state *ftpalg.State
	if handed != nil {
		state = handed.Engine
	}
	r.Engine.Continue(state, h.unseen)
	switch {
	case here && handed != nil:
		r.Resume(handed.Next)
	case here:
		r.AdjustHere()
	}
	if r.Aside {
		return
	}
	if isLeft(handed) {
		why = handed.Left
	}
	h.bypass.leaveAgain(r, why)
}

// expectations turns the expectations of our sessions into pinholes. Those of a session
// that has ended meanwhile are deleted: the kernel keeps them as long as its entry.
func (h *heir) expectations(ways map[pinhole.Key]rules.Way) error {
	var list []expect.ExpectationInfo
	err := h.ct.DumpExpectations(func(x *expect.ExpectationInfo) { list = append(list, *x) })
	masters := h.table.AnyZone()
	for i := range list {
		x := &list[i]
		switch s := masters[x.Master]; {
		case s != nil && s.Owner.Carrier && !s.Owner.Monitored:
			h.restore(s, specOf(x, s), ways)
		case s == nil && h.hasEnded(x.Master):
			if failed := h.ct.DeleteExpectation(x.Master, x.Expected); !errors.Is(failed, unix.ENOENT) {
				err = errors.Join(err, failed)
			}
		}
	}
	return err
}

// hasEnded reports whether a connection is a session of ours that has ended.
func (h *heir) hasEnded(t expect.Tuple) bool {
	e, err := h.ct.Get(t)
	return err == nil && e.Original == t && e.Helper == session.CarrierName && h.ports.has(t.Dst.Port()) && e.TCPState >= expect.TCPStateTimeWait
}

// specOf is the pinhole of an expectation.
func specOf(x *expect.ExpectationInfo, s *session.Session) pinhole.Spec {
	p := pinhole.Spec{Key: pinhole.Key{Source: x.Expected.Src.Addr(), Public: x.Expected.Dst}, Target: x.Expected.Dst,
		Mode: ftpalg.Passive, NAT: x.NAT, Timeout: x.Timeout}
	if x.NAT {
		p.Target = x.To
	}
	if x.NAT && x.Direction == expect.Reply || !x.NAT && x.Expected.Dst.Addr() == s.Ends().Client.Addr() {
		p.Mode = ftpalg.Active
	}
	if x.Mask.Src.Port() != 0 {
		p.Port = x.Expected.Src.Port()
	}
	return p
}

// elements turns the elements that an earlier daemon has left in our sets for
// claims into pinholes, by their notes. Those that belong to no session any more
// are closed.
func (h *heir) elements(held []rules.Element, ways map[pinhole.Key]rules.Way) (err error) {
	byID := map[uint32]*session.Session{}
	for _, s := range h.table.All() {
		byID[s.ID()] = s
	}
	for _, e := range held {
		if e.Forward || e.Way != rules.WayAny {
			continue
		}
		p, id, ok := pinhole.ParseNote(e.Note)
		s := byID[id]
		if !ok || s == nil || s.Owner.Monitored {
			err = errors.Join(err, h.firewall.ClosePinhole(rules.Pinhole{Source: e.Source, Dest: e.Dest}))
			continue
		}
		p.Key, p.Claim, p.Timeout = pinhole.Key{Source: e.Source, Public: e.Dest}, true, e.Expires
		h.restore(s, p, ways)
	}
	return err
}

// restore enters a pinhole that is open in the kernel.
func (h *heir) restore(s *session.Session, spec pinhole.Spec, ways map[pinhole.Key]rules.Way) {
	p := &pinhole.Pinhole{Spec: spec, Owner: &s.Owner, Expires: time.Now().Add(spec.Timeout)}
	p.SetWay(ways[spec.Key])
	if h.pinholes.Restore(p) {
		h.holes.takenBack(p)
	}
}
