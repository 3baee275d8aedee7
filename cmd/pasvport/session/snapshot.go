// SPDX-License-Identifier: Apache-2.0

package session

import (
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/cmd/pasvport/ledger"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// StateClosed is the displayed state of a session that both ends have closed.
// Conntrack keeps its entry for minutes.
const StateClosed = "closed"

// stateWords are the words of status and logs for conntrack's states.
var stateWords = map[uint8]string{
	expect.TCPStateEstablished: "established", expect.TCPStateFinWait: "closing", expect.TCPStateCloseWait: "closing",
	expect.TCPStateLastAck: "closing", expect.TCPStateTimeWait: StateClosed, expect.TCPStateClose: StateClosed,
}

// pinholeWords are the states of a pinhole in `pasvport sessions`.
var pinholeWords = map[pinhole.State]control.Pinhole{
	pinhole.Reserved: control.PinholeOpen, pinhole.Open: control.PinholeOpen, pinhole.Used: control.PinholeUsed,
	pinhole.Expired: control.PinholeExpired, pinhole.Replaced: control.PinholeClosed, pinhole.Closed: control.PinholeClosed,
	pinhole.Dropped: control.PinholeDropped,
}

// Snapshot returns the session as `pasvport sessions` shows it. t is what its
// data connections have carried.
func (s *Session) Snapshot(t pinhole.Traffic, now time.Time) control.Session {
	left, ends := s.Left(), s.Ends()
	c := control.Session{
		ID: uint64(s.ID()), Client: ends.Client, Dialled: ends.Dialled, Server: ends.Server, SeenAs: ends.SeenAs,
		NAT: natOf(ends), Strategy: "claim", Started: s.Started, Zone: s.Owner.Zone,
		Opaque: left != succession.LeftNot, Encrypted: left == succession.LeftEncrypted, Monitor: s.Owner.Monitored,
		Data:    control.Data{Connections: int(t.Connections), BytesOriginal: t.Bytes[0], BytesReply: t.Bytes[1], Accounting: t.Accounting},
		BytesUp: t.Payload.Upload, BytesDown: t.Payload.Download, Transferring: s.Owner.Transferring(),
	}
	if s.Owner.Carrier {
		c.Strategy = "expectation"
	}
	if !c.Transferring {
		c.Idle = control.Duration(now.Sub(s.LastPacket()))
	}
	s.snapshot(&c)
	return c
}

// snapshot adds what was reported.
func (t *told) snapshot(c *control.Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.State, c.Mode, c.Note = stateWords[t.state], modes[t.mode], t.note
	if t.offer != nil {
		o := t.offer.Offer
		if t.offer.pinhole != nil {
			o.Pinhole = pinholeWords[t.offer.pinhole.State()]
		}
		c.Offer = &o
	}
	c.Login = ledger.LoginNone.String()
	if l := t.ledger; l != nil {
		c.LastCommand, c.Login = l.Last().String(), l.Login().String()
		if l.Login() == ledger.LoginAccepted {
			c.User = l.User()
		}
		for _, v := range l.Recent() {
			c.RecentCommands = append(c.RecentCommands, v.String())
		}
	}
}

func natOf(e *ftpalg.Endpoints) control.NAT {
	src, dst := e.Client != e.SeenAs, e.Dialled != e.Server
	switch {
	case src && dst:
		return control.NATBoth
	case src:
		return control.NATSrc
	case dst:
		return control.NATDst
	}
	return control.NATNone
}

// Keepalive implements keepalive.Session.
func (s *Session) Keepalive() keepalive.State {
	return keepalive.State{
		Conn: s.liveness.Load(), Tuples: [2]expect.Tuple{s.Original(), s.Reply()},
		Established: s.Established() && !s.Pair.Standby() && s.Owner.Zone == 0 && s.zoneOfReply == 0,
		Adjusted:    s.Adjusted(), Transferring: s.Owner.Transferring(),
	}
}

// Record returns what the next daemon has to know of the session and cannot find
// in the kernel, and reports whether there is anything. Its engine's state is in state.
func (r *Reader) Record(pinholes []succession.Pinhole, state *ftpalg.State) (succession.Record, bool) {
	rec := succession.Record{
		Original: succession.Tuple(r.Original()), Reply: succession.Tuple(r.Reply()),
		ID: r.ID(), Left: r.Left(), Pinholes: pinholes,
	}
	if r.Engine.SaveState(state); state.Foreign || state.Stream[0].Start || state.Stream[1].Start {
		rec.Engine = state
	}
	if r.Here() {
		rec.Adjusted = (*[2]ftpalg.Adjustment)(new(r.Adjustments()))
		for d := range rec.Next {
			if at := r.Engine.Position(ftpalg.Direction(d)); at.Known {
				rec.Next[d] = &at.Next
			}
		}
	}
	return rec, rec.Left != succession.LeftNot || rec.Adjusted != nil || rec.Pinholes != nil || rec.Engine != nil
}
