// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/lost"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// stale decides on the packets of a queue whose connection conntrack has lost.
type stale struct {
	*services
	*verdicts
	ct        conntrack
	memory    *lost.Memory
	sightings lost.Sightings
	work      *ftpalg.Workspace // for the engines of lost connections
}

// packet decides on a packet of a connection that conntrack has lost, or for
// which it has just created an entry midstream. A reset comes from our rule; the
// peer gets one as soon as it sends.
func (s *stale) packet(p *nfq.Packet, confirmed bool, now time.Time) {
	if s.peer.Expects(tupleOf(p)) { // conntrackd is about to bring its entry
		s.drop(p.ID)
		return
	}
	if !s.cfg.ResetStale || s.settings().Monitor {
		s.accept(p.ID)
		return
	}
	t := tupleOf(p)
	c := s.memory.Find(t, now)
	seen := lost.Packet{Tuple: t, Seq: p.Seq, Ack: p.Ack, Bytes: len(p.Payload), Confirmed: confirmed}
	j := s.sightings.Judge(c, &seen, now)
	if j.Restore {
		if s.restore(p, c) {
			return
		}
		j.Cause = s.sightings.Repeated(c, &seen, now)
	}
	if j.Cause == "" {
		s.read(c, p, now)
		s.accept(p.ID)
		return
	}
	s.reset(p, c, j.Cause, now)
}

// read passes the engine of a lost connection a packet that passes before there
// is a session again. It cannot act on it, as conntrack confirms the entry only
// after us: an announcement passes unchanged, and is missed.
func (s *stale) read(c *lost.Connection, p *nfq.Packet, now time.Time) {
	if c == nil || c.Engine == nil || c.Left != succession.LeftNot || tupleOf(p) != c.Original || len(p.Payload) == 0 {
		return
	}
	alg := c.Engine.Acquire(s.work)
	if alg == nil {
		return
	}
	defer c.Engine.Release()
	seg := segmentOf(ftpalg.Original, p, now)
	dec := alg.Segment(&seg)
	s.count(report.Reason(dec.Reason))
	if dec.Reason == ftpalg.ReasonFarAway {
		return
	}
	if dec.Action != ftpalg.Forward || len(dec.Events) > 0 || alg.Rewrite(nil, &seg).Changed {
		alg.Missed()
	}
}

// restoredTime is how long a recreated entry waits for its packet.
const restoredTime = time.Minute

// restore recreates the entry of an untranslated session whose server sends
// first. The packet is dropped, and finds the entry when it is retransmitted.
func (s *stale) restore(p *nfq.Packet, c *lost.Connection) bool {
	x := expect.Forgotten{Original: c.Original, Mark: c.Mark, Timeout: restoredTime}
	if c.Carrier && s.plan.rules.Carrier == rules.CarrierSane {
		x.Helper = session.CarrierName
	}
	if err := s.ct.Restore(x); err != nil && !errors.Is(err, unix.EEXIST) {
		s.warn(lostSubject(c), "cannot make a forgotten connection's entry again", "tuple", c.Original, "err", err)
		return false
	}
	s.drop(p.ID)
	s.report.Report(slog.LevelInfo, lostSubject(c), "control connection restored")
	return true
}

// lostSubject names a session by its former entry; empty for nil.
func lostSubject(c *lost.Connection) report.Subject {
	if c == nil {
		return report.Subject{}
	}
	return report.Subject{Session: uint64(c.ID), Client: c.Original.Src, Server: c.Reply.Src}
}

// invalid decides on a packet that conntrack calls invalid. If it does not fit
// into its connection, or belongs to none that was lost, it is not ours: it is
// accepted, except what our rules guard.
func (s *stale) invalid(p *nfq.Packet, now time.Time) {
	s.sync()
	t := tupleOf(p)
	if s.awaited(t) {
		s.drop(p.ID)
		return
	}
	c := s.memory.Find(t, now)
	gone := c != nil && !s.zones.seen.Load() // its zone is not known
	if gone {
		_, err := s.ct.Get(t)
		gone = errors.Is(err, unix.ENOENT)
	}
	switch {
	case gone:
		s.reset(p, c, lost.CauseUnknown, now)
	case p.Expired(): // by our rules, in output
		s.renew(p)
	default:
		s.accept(p.ID)
	}
}

// over reports whether a SYN has come to the entry of a connection that has ended, and
// deletes that entry: the SYN is to be dropped, and begins a new one when it is
// repeated. conntrack does so itself where it has seen who closed the connection. What
// conntrackd or another program has made it leaves in that state, and has it adjust the
// numbers and translate the addresses of the old one. Of a data connection conntrackd
// may not know that it was closed: it was if another one is awaited in its place.
func (s *stale) over(p *nfq.Packet) bool {
	t := tupleOf(p)
	e, err := s.ct.Get(t)
	if err != nil || e.Original != t {
		return false
	}
	control, ended := e.Original, e.TCPState >= expect.TCPStateTimeWait
	if e.Master != (expect.Tuple{}) {
		control, ended = e.Master, ended || s.pinholes.Awaits(t)
	}
	if !ended {
		return false
	}
	if !s.ports.has(control.Dst.Port()) { // another helper's data connection
		return false
	}
	of := report.Subject{Session: uint64(e.ID), Client: t.Src, Server: t.Dst}
	if err := s.ct.Delete(t); err != nil && !errors.Is(err, unix.ENOENT) {
		s.warn(of, "cannot delete the entry of a connection that has ended", "err", err)
		return false
	}
	s.report.Report(slog.LevelInfo, of, "ports of an ended connection used again", "hint", "the new one begins when its first packet is repeated")
	return true
}

// awaited reports whether a packet belongs to a session of the other firewall of
// a pair, whose entry conntrackd will bring.
func (s *stale) awaited(t expect.Tuple) bool {
	if s.peer == nil {
		return false
	}
	_, err := s.ct.Get(t)
	return errors.Is(err, unix.ENOENT) && s.peer.Expects(t)
}

// reset makes our rule answer a packet with a TCP reset. Without --reset-stale
// there is no such rule, and the connection hangs. One that may be live at the other
// firewall of a pair waits for conntrackd first.
func (s *stale) reset(p *nfq.Packet, c *lost.Connection, cause lost.Cause, now time.Time) {
	if !s.cfg.ResetStale || s.settings().Monitor || c != nil && s.peer.ExpectsLate(tupleOf(p)) {
		s.drop(p.ID)
		return
	}
	s.refuse(p)
	if s.sightings.Reset(c, tupleOf(p), now) {
		s.report.Report(slog.LevelInfo, lostSubject(c), "stale control connection reset", "sender", p.Src, "peer", p.Dst, "cause", cause)
	}
}
