// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/lost"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// stale decides on a packet of a connection that conntrack has lost, or of whose
// middle it has just made an entry. A reset comes from our rule, of which the
// mark of the verdict is the sign; the peer gets one as soon as it sends.
func (w *worker) stale(p *nfq.Packet, confirmed bool) {
	if !w.g.cfg.ResetStale {
		w.verdict(w.queue.Accept(p.ID))
		return
	}
	t := tupleOf(p)
	c := w.g.forgotten.Find(t, w.now)
	j := w.sightings.Judge(c, t, p.Seq, confirmed, w.now)
	if j.Restore {
		if w.restore(p, c) {
			return
		}
		j.Cause = w.sightings.Repeated(t, p.Seq, confirmed, w.now)
	}
	if j.Cause == "" {
		w.readLost(c, p)
		w.verdict(w.queue.Accept(p.ID))
		return
	}
	w.resetStale(p, c, j.Cause)
}

// readLost has the engine of a lost connection read a packet that passes before
// there is a session again. It cannot act on it, as conntrack confirms the entry
// only behind us: an announcement passes as it is, and is missed.
func (w *worker) readLost(c *lost.Connection, p *nfq.Packet) {
	if c == nil || c.Engine == nil || c.Left != succession.LeftNot || tupleOf(p) != c.Original || len(p.Payload) == 0 {
		return
	}
	alg := c.Engine.Acquire(&w.work)
	if alg == nil {
		return
	}
	defer c.Engine.Release()
	seg := w.segmentOf(ftpalg.Original, p)
	dec := alg.Segment(&seg)
	w.g.count(report.Reason(dec.Reason))
	if dec.Reason == ftpalg.ReasonFarAway {
		return
	}
	if dec.Action != ftpalg.Forward || len(dec.Events) > 0 || alg.Rewrite(w.payload[:0], &seg).Changed {
		alg.Missed()
	}
}

// restoredTime is how long an entry that was made again waits for the packet
// for which it was made.
const restoredTime = time.Minute

// restore makes the entry of an untranslated session again, whose server sends
// first. The packet is dropped, and finds the entry when it is repeated.
func (w *worker) restore(p *nfq.Packet, c *lost.Connection) bool {
	x := expect.Forgotten{Original: c.Original, Mark: c.Mark, Timeout: restoredTime}
	if c.Carrier && w.g.plan.rules.Carrier == rules.CarrierSane {
		x.Helper = carrierName
	}
	if err := w.ct.Restore(x); err != nil && !errors.Is(err, unix.EEXIST) {
		w.g.report.Report(slog.LevelWarn, lostSubject(c), "cannot make a forgotten connection's entry again", "tuple", c.Original, "err", err)
		return false
	}
	w.verdict(w.queue.Drop(p.ID))
	w.g.report.Report(slog.LevelInfo, lostSubject(c), "control connection restored")
	return true
}

// lostSubject names a session by the entry that it had; none for nil.
func lostSubject(c *lost.Connection) report.Subject {
	if c == nil {
		return report.Subject{}
	}
	return report.Subject{Session: uint64(c.ID), Client: c.Original.Src, Server: c.Reply.Src}
}

// invalid decides on a packet that conntrack calls invalid: either it does not
// fit into its connection, or there is none that it could belong to.
func (w *worker) invalid(p *nfq.Packet) {
	t := tupleOf(p)
	_, err := w.ct.Get(t)
	switch {
	case errors.Is(err, unix.ENOENT) && !w.g.zoned.Load(): // its zone is not known
		w.resetStale(p, w.g.forgotten.Find(t, w.now), lost.CauseUnknown)
	case p.Hook == nfq.HookOutput:
		w.verdict(w.queue.AcceptMark(p.ID, 0))
	default:
		w.verdict(w.queue.Drop(p.ID))
	}
}

// resetStale has our rule answer a packet with a TCP reset. Without
// --reset-stale there is no such rule, and the connection hangs.
func (w *worker) resetStale(p *nfq.Packet, c *lost.Connection, cause lost.Cause) {
	if !w.g.cfg.ResetStale {
		w.verdict(w.queue.Drop(p.ID))
		return
	}
	w.verdict(w.queue.AcceptMark(p.ID, rules.MarkReset))
	if w.sightings.Reset(c, tupleOf(p), w.now) {
		w.g.report.Report(slog.LevelInfo, lostSubject(c), "stale control connection reset", "sender", p.Src, "peer", p.Dst, "cause", cause)
	}
}

// forget remembers a session whose entry is gone although neither end has
// begun to close the connection.
func (g *Gateway) forget(s *session) {
	c := lost.Connection{
		ID:       s.id,
		Original: s.original(), Reply: s.reply(), Translated: s.nat() != control.NATNone,
		Adjusted: s.adjusted.Load(), Carrier: s.carrier,
	}
	s.mu.Lock()
	established := s.state == expect.TCPStateEstablished
	c.Left, c.Mark = s.left, s.mark
	if !c.Adjusted {
		c.Engine = s
	}
	s.mu.Unlock()
	if established {
		g.forgotten.Add(c, time.Now())
	}
}

// recall gives a session that continues with another entry the engine that it had
// before, and returns why it was not read. A connection that is not picked up is a
// new one, which has nothing to do with what is remembered.
func (w *worker) recall(s *session, e *expect.Entry, alg *ftpalg.Conn) succession.Left {
	c := w.g.forgotten.Take(s.original(), s.reply(), w.now)
	if !e.Liberal {
		return succession.LeftNot
	}
	if c != nil && alg == nil && c.Engine != nil {
		alg = c.Engine.Acquire(&w.work) // for good
	}
	if !s.continues(alg) {
		s.alg.Continue(nil)
	}
	if c == nil {
		return succession.LeftNot
	}
	return c.Left
}

// leaveAgain leaves a session alone for the reason that it was before: it must
// not be judged anew from its middle, and not taken for an encrypted one. LeftNot is
// no reason.
func (g *Gateway) leaveAgain(s *session, why succession.Left) {
	switch why {
	case succession.LeftNot:
	case succession.LeftEncrypted:
		g.encrypted(s)
	default:
		s.setNote("left alone, as before: " + why.String())
		g.leaveQueue(s, why)
	}
}

// lostAdjusted reports whether conntrack has lost a connection whose sequence
// numbers were adjusted: an entry that it made again cannot continue it.
func (g *Gateway) lostAdjusted(t expect.Tuple, now time.Time) bool {
	c := g.forgotten.Find(t, now)
	return c != nil && c.Adjusted
}
