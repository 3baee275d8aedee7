// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"log/slog"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// adjustHere takes over the adjustment of a session's sequence numbers from
// the kernel, which cannot do it: the session is not translated, or older
// than the daemon. From here on each of its packets comes to the queue, also
// bare acknowledgements. It reports whether that could be arranged; nothing
// of the session has been changed yet, so the order of the steps is free.
func (w *worker) adjustHere(s *session) bool {
	if s.here() {
		return true
	}
	if err := w.ct.SetLiberal(s.original()); err != nil {
		w.g.report.Report(slog.LevelWarn, s.subject(), "cannot adjust sequence numbers", "err", err)
		return false
	}
	if err := w.g.firewall.Renumber(s.id, s.adjustments().note()); err != nil {
		w.g.report.Report(slog.LevelWarn, s.subject(), "cannot queue all packets of a session", "err", err)
		return false
	}
	s.isAdjustedHere()
	w.g.report.Report(slog.LevelInfo, s.subject(), "adjusting sequence numbers here", "hint", "without the daemon this control connection waits; a stop ends it")
	return true
}

// ownNumbers is what is needed of a session whose sequence numbers are adjusted
// here. It belongs to the goroutine of its queue; that there is one, any may see.
type ownNumbers struct {
	noted  adjustments // what the next daemon would find
	passed *[2]passed  // by direction, after a handover; see outOfStep
	broken bool        // the session is not in step any more, and is reset
}

// here reports whether the session's sequence numbers are adjusted here.
func (s *session) here() bool { return s.own.Load() != nil }

// isAdjustedHere notes that they are.
func (s *session) isAdjustedHere() {
	s.own.Store(&ownNumbers{noted: s.adjustments()})
	s.adjusted.Store(true)
	s.alg.SetAdjustBy(ftpalg.Caller)
}

// outOfStep reports whether an end of a session that was handed over has sent
// something while there was no daemon. Without the adjustment it went to the
// wrong place, and the two ends do not agree any more on what was said. It shows
// in the first packet of that end, which begins behind what was handed over; or,
// if that one is a repetition, in an acknowledgement of more than came by here: the
// other end had kept a part of the lost one, as if it were what follows.
func (s *session) outOfStep(d ftpalg.Direction, p *nfq.Packet) bool {
	own := s.own.Load()
	if own == nil || own.passed == nil || own.broken {
		return own != nil && own.broken
	}
	if mine := &own.passed[d]; mine.known {
		own.broken = !mine.heard && int32(p.Seq-mine.next) > 0
		mine.heard = true
		if end := segmentEnd(p); int32(end-mine.next) > 0 {
			mine.next = end
		}
	}
	back := opposite(d)
	if theirs := &own.passed[back]; theirs.known && p.Flags&nfq.FlagACK != 0 {
		own.broken = own.broken || int32(s.alg.Acknowledgement(back, p.Ack)-theirs.next) > 0
	}
	return own.broken
}

// passed is what came by here of a direction of a session that was handed over.
type passed struct {
	next  uint32 // the sequence number behind it
	known bool   // that is
	heard bool   // a packet has come since the session was handed over
}

// handedPassed is what the daemon before has seen.
func handedPassed(next [2]*uint32) *[2]passed {
	var all [2]passed
	for d, n := range next {
		if n != nil {
			all[d] = passed{next: *n, known: true}
		}
	}
	return &all
}

// segmentEnd is the sequence number behind a packet. A FIN has one of its own.
func segmentEnd(p *nfq.Packet) uint32 {
	end := p.Seq + uint32(len(p.Payload))
	if p.Flags&nfq.FlagFIN != 0 {
		end++
	}
	return end
}

// forgetHere ends the queueing of all packets of a session that is gone.
func (g *Gateway) forgetHere(s *session) {
	if !s.here() {
		return
	}
	if err := g.firewall.Forget(s.id); err != nil {
		g.report.Report(slog.LevelWarn, s.subject(), "cannot forget a session", "err", err)
	}
}

// adjustments are those of both directions.
type adjustments [2]ftpalg.Adjustment

func (s *session) adjustments() adjustments {
	return adjustments{s.alg.Position(ftpalg.Original).Adjusted, s.alg.Position(ftpalg.Reply).Adjusted}
}

// noteAdjustments keeps the adjustments of a session in the kernel, for the
// next daemon.
func (w *worker) noteAdjustments(s *session) {
	own, now := s.own.Load(), s.adjustments()
	if now == own.noted {
		return
	}
	own.noted = now
	if err := w.g.firewall.Renumber(s.id, now.note()); err != nil {
		w.g.report.Report(slog.LevelWarn, s.subject(), "cannot note a session's sequence numbers", "err", err,
			"hint", "if the daemon is restarted, this control connection hangs")
	}
}

// note is what an element of the set says of a connection.
func (a adjustments) note() string {
	return fmt.Sprintf("original %d %d %d reply %d %d %d",
		a[0].Pos, a[0].Before, a[0].After, a[1].Pos, a[1].Before, a[1].After)
}

func parseAdjustments(note string) (a adjustments, err error) {
	_, err = fmt.Sscanf(note, "original %d %d %d reply %d %d %d",
		&a[0].Pos, &a[0].Before, &a[0].After, &a[1].Pos, &a[1].Before, &a[1].After)
	return a, err
}

// resumeHere gives an entry the adjustments that an earlier daemon made, and
// reports whether it made them itself, not the kernel. It left notes in the
// kernel, or handed them over.
func (g *Gateway) resumeHere(e *expect.Entry, notes map[uint32]string, handed *succession.Record) bool {
	var a adjustments
	var err error
	switch note, ok := notes[e.ID]; {
	case ok:
		a, err = parseAdjustments(note)
	case handed != nil && handed.Adjusted != nil:
		a = *handed.Adjusted
	default:
		return false
	}
	if err == nil {
		err = g.firewall.Renumber(e.ID, a.note()) // remember it
	}
	if err != nil {
		g.log.Warn("a control connection is lost", "tuple", e.Original, "err", err,
			"hint", "an earlier daemon adjusted its sequence numbers; it hangs until its ends give up")
		return false
	}
	e.Adj = [2]expect.SeqAdj{expect.SeqAdj(a[0]), expect.SeqAdj(a[1])}
	return true
}
