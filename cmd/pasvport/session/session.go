// SPDX-License-Identifier: Apache-2.0

package session

import (
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/fastpath"
	"github.com/pasvport/pasvport/cmd/pasvport/limit"
	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// CarrierName is the in-kernel helper that carries expectations: it does not
// speak FTP, and its parser acts on nothing that FTP can contain.
const CarrierName = "sane"

// Session is one control connection. There may be very many, most of them idle,
// so what few need is behind a pointer.
type Session struct {
	// Owner is the part that its pinholes and data connections need. The id of its
	// conntrack entry, its addresses and its zone are there.
	Owner   pinhole.Owner
	Started time.Time // when it was first seen

	// Fast is its slot in the fast path, which has a lock of its own.
	Fast fastpath.Conn
	// Pair is what the two firewalls of a pair know of each other's state of it;
	// nil without a pair. It is set before the session can be found.
	Pair *pair.Session
	// Listed is the number of the last list of conntrack's entries that contained
	// it. It belongs to the goroutine that compares sessions with such lists.
	Listed uint8
	// Member is its place among those that are counted, whose lock guards it.
	Member limit.Member

	zoneOfReply uint16
	reader      Reader // belongs to whoever has acquired it
	marks              // atomic
	told               // under a lock
}

// New returns a session of a conntrack entry, acquired by the caller. started
// says that it is seen from its first byte on.
func New(e *expect.Entry, policy *ftpalg.Policy, now time.Time, started bool, work *ftpalg.Workspace) *Reader {
	s := &Session{Started: now, zoneOfReply: e.Reply.Zone}
	s.reader.Session = s
	s.set(used, true)
	s.state, s.mark = e.TCPState, e.Mark
	if e.Status&expect.StatusSeqAdjust != 0 {
		s.adjusts.Store(byKernel)
	}
	s.reader.Engine = newEngine(e, policy, started, work)
	s.Owner.ID, s.Owner.Zone, s.Owner.OneWay = e.ID, e.Original.Zone, policy.OneWay
	if s.Owner.Monitored = policy.Watch; policy.Watch {
		s.note = "monitored: nothing is changed or opened"
	}
	s.Owner.Carrier, s.Owner.Ends = e.Helper == CarrierName, s.reader.Engine.Endpoints()
	return &s.reader
}

// newEngine returns the engine of a conntrack entry.
func newEngine(e *expect.Entry, policy *ftpalg.Policy, started bool, work *ftpalg.Workspace) *ftpalg.Conn {
	ep := ftpalg.Endpoints{Client: e.Original.Src, Dialled: e.Original.Dst, Server: e.Reply.Src, SeenAs: e.Reply.Dst}
	by := ftpalg.Nobody
	if ep.NAT() {
		by = ftpalg.Kernel // whether it can is known only once it was told to
	}
	return ftpalg.NewConn(ep, policy, ftpalg.Options{
		AdjustBy:  by,
		Started:   started,
		Adjusted:  [2]ftpalg.Adjustment{ftpalg.Adjustment(e.Adj[0]), ftpalg.Adjustment(e.Adj[1])},
		Workspace: work,
	})
}

// ID returns the id of its conntrack entry.
func (s *Session) ID() uint32 { return s.Owner.ID }

// Ends returns its addresses. They do not change.
func (s *Session) Ends() *ftpalg.Endpoints { return s.Owner.Ends }

// Original returns the tuple of the connection's first packet.
func (s *Session) Original() expect.Tuple { return s.Owner.Original() }

// Reply returns the tuple of the reply packets.
func (s *Session) Reply() expect.Tuple {
	return expect.Tuple{Src: s.Owner.Ends.Server, Dst: s.Owner.Ends.SeenAs, Zone: s.zoneOfReply}
}

// Direction returns the direction of a packet of the session.
func (s *Session) Direction(p *nfq.Packet) ftpalg.Direction {
	if p.Src == s.Owner.Ends.Client && p.Dst == s.Owner.Ends.Dialled {
		return ftpalg.Original
	}
	return ftpalg.Reply
}

// Subject identifies the session in the log and in events.
func (s *Session) Subject() report.Subject { return s.Owner.Subject() }

// FastEnds are the ends of both directions for the fast path.
func (s *Session) FastEnds() [2]fastpath.Ends {
	e := s.Owner.Ends
	return [2]fastpath.Ends{{Src: e.Client, Dst: e.Dialled}, {Src: e.Server, Dst: e.SeenAs}}
}

// Meet records that a packet of the session came.
func (s *Session) Meet(p *nfq.Packet, now time.Time) {
	if s.met.Swap(uint32(now.Sub(s.Started)/time.Second)+1) == 0 {
		s.Owner.Stamped.Store(p.Timestamps() != nil)
	}
}

// LastPacket returns when its last packet came, to the second.
func (s *Session) LastPacket() time.Time {
	return s.Started.Add(time.Duration(max(s.met.Load(), 1)-1) * time.Second)
}

// TransferWaits reports whether a transfer command waits for its final reply.
func (s *Session) TransferWaits() bool {
	if phase, armed := s.Fast.Phase(); armed {
		return phase == ftpalg.PhaseTransfer || phase == ftpalg.PhaseBegun
	}
	return s.has(waiting)
}

// Miss records that packets may have passed unread, because our rules were
// missing.
func (s *Session) Miss() {
	s.set(missed, true)
	s.Fast.Disarm()
}
