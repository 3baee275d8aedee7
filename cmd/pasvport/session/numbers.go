// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"

	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// Adjustments are the sequence adjustments of both directions.
type Adjustments [2]ftpalg.Adjustment

// Note is the note on an element of the set in nftables.
func (a Adjustments) Note() string {
	return fmt.Sprintf("original %d %d %d reply %d %d %d",
		a[0].Pos, a[0].Before, a[0].After, a[1].Pos, a[1].Before, a[1].After)
}

// ParseAdjustments parses a Note.
func ParseAdjustments(note string) (a Adjustments, err error) {
	_, err = fmt.Sscanf(note, "original %d %d %d reply %d %d %d",
		&a[0].Pos, &a[0].Before, &a[0].After, &a[1].Pos, &a[1].Before, &a[1].After)
	return a, err
}

// numbers is the state of a session whose sequence numbers are adjusted here.
type numbers struct {
	noted  Adjustments // what the next daemon would find
	passed *[2]passed  // by direction, after a hand-over; see OutOfStep
	broken bool        // the session is out of step, and is reset
}

// passed is what passed here in a direction of a session that was handed over.
type passed struct {
	next  uint32 // the sequence number after it
	known bool   // whether next is known
	heard bool   // a packet has come since the session was handed over
}

// Adjustments returns the engine's adjustments.
func (r *Reader) Adjustments() Adjustments {
	return Adjustments{r.Engine.Position(ftpalg.Original).Adjusted, r.Engine.Position(ftpalg.Reply).Adjusted}
}

// AdjustHere records that the session's sequence numbers are adjusted here from
// now on, and that the next daemon would find the current adjustments.
func (r *Reader) AdjustHere() {
	r.numbers = &numbers{noted: r.Adjustments()}
	r.adjusts.Store(byUs)
	r.Engine.SetAdjustBy(ftpalg.Caller)
}

// Resume is AdjustHere for a session that was handed over: next is what the
// previous daemon has seen of each direction, nil if nothing.
func (r *Reader) Resume(next [2]*uint32) {
	r.AdjustHere()
	r.numbers.passed = new([2]passed)
	for d, n := range next {
		if n != nil {
			r.numbers.passed[d] = passed{next: *n, known: true}
		}
	}
}

// ToNote returns the adjustments if they differ from what the next daemon would
// find. They count as recorded from then on.
func (r *Reader) ToNote() (now Adjustments, changed bool) {
	if now = r.Adjustments(); now == r.numbers.noted {
		return now, false
	}
	r.numbers.noted = now
	return now, true
}

// OutOfStep reports whether an end of a session that was handed over has sent
// something while there was no daemon. Without the adjustment it went to the
// wrong place, and the two ends no longer agree on what was said. It shows in the
// first packet of that end, which begins after what was handed over; or, if that
// is a retransmission, in an acknowledgement of more than passed here: the other
// end had kept a part of the lost packet, as if it were what follows.
func (r *Reader) OutOfStep(d ftpalg.Direction, p *nfq.Packet) bool {
	n := r.numbers
	if n == nil || n.passed == nil || n.broken {
		return n != nil && n.broken
	}
	if mine := &n.passed[d]; mine.known {
		n.broken = !mine.heard && int32(p.Seq-mine.next) > 0
		mine.heard = true
		if end := segmentEnd(p); int32(end-mine.next) > 0 {
			mine.next = end
		}
	}
	back := ftpalg.Original + ftpalg.Reply - d
	if theirs := &n.passed[back]; theirs.known && p.Flags&nfq.FlagACK != 0 {
		n.broken = n.broken || int32(r.Engine.Acknowledgement(back, p.Ack)-theirs.next) > 0
	}
	return n.broken
}

// segmentEnd is the sequence number after a packet. A FIN has one of its own.
func segmentEnd(p *nfq.Packet) uint32 {
	end := p.Seq + uint32(len(p.Payload))
	if p.Flags&nfq.FlagFIN != 0 {
		end++
	}
	return end
}
