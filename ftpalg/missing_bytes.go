// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "time"

// A segment may arrive after bytes that were not seen: they are late, or were
// lost on their way here, and their sender will retransmit them; or they have
// passed without us, because the queue was full, and will never arrive. How the
// sender retransmits the segment does not tell which: before the missing bytes it
// may retransmit later ones any number of times, one tail loss probe for each
// time that something before them is acknowledged (RFC 8985 section 7). If such a
// segment were forwarded, the missing bytes would count as retransmissions when
// they arrive, and pass unread. So the receiver decides: only what it has
// acknowledged is given up. As its acknowledgements are not seen unless they
// carry data, it is asked for one; see Decision.Ask.

// pass continues after bytes that the receiver of the segment being handled has,
// though they were not seen, and reports whether that holds for everything before
// seq.
func (c *streams) pass(s *stream, seq uint32) bool {
	if !s.ackKnown {
		return false
	}
	has := c.Acknowledgement(c.cur.dir, s.acked)
	if int32(has-s.next) <= 0 {
		return false
	}
	c.resync(s, seq-uint32(max(0, int32(seq-has))))
	return s.next == seq
}

// resync continues after bytes that were not seen, at the next line end.
func (c *streams) resync(s *stream, seq uint32) {
	s.next, s.sent = seq, seq
	s.aligned, s.proven, s.skip, s.held, s.taken = false, false, false, false, 0
	s.line = s.line[:0]
	s.gaps = 0
	c.unseen = c.unseen || c.cur.dir == Original && c.started && !c.spoken
	if c.cur.dir == Original && c.judges {
		// A client that skips bytes and sends them later would otherwise have
		// them pass unread as a retransmission.
		s.floor, s.floorSet = seq, true
	}
}

// insists counts how often a segment after unseen bytes has arrived, and reports
// whether that is often enough to ask. Without a clock each time counts.
func (s *stream) insists(seq uint32, now time.Time) bool {
	ms := uint32(now.UnixMilli())
	switch {
	case s.gaps == 0 || s.gapAt != seq:
		s.gapAt, s.gaps = seq, 0
	case !now.IsZero() && ms-s.gapTime < gapPause:
		return false
	}
	s.gapTime = ms
	s.gaps = min(s.gaps+1, maxGaps)
	return s.gaps == maxGaps
}

// ask makes the receiver of the segment being handled acknowledge everything that
// it has: an old empty segment makes it do so (RFC 9293 section 3.10.7.4), unless
// the receiver lacks what was seen, too.
func (c *streams) ask(why Reason) Decision {
	s := &c.stream[c.cur.dir]
	return Decision{Action: Drop, Reason: why, Ask: true, AskAt: c.number(s, s.position(s.next)-1)}
}

// number returns the sequence number with which a segment must be sent to arrive
// at seq.
func (c *streams) number(s *stream, seq uint32) uint32 {
	if c.adjustBy == Caller {
		return seq
	}
	return s.adj.source(seq)
}

// Missed reports that segments may have passed unread, because the rules that
// queue them were missing for a moment. A segment after unseen bytes is then read
// at once, like the first one of a connection whose start was not seen, and the
// first reply that announces a port is assumed to be asked for: the command may
// have been among what was missed.
func (c *Conn) Missed() {
	for d := range c.stream {
		c.stream[d].blind = true
	}
	c.met = false
	c.pending.push(cmdPASV)
}
