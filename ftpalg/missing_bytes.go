// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "time"

// A segment may come behind bytes that were not seen: they are late, or lost on
// their way here, and their sender will repeat them; or they have passed without
// us, because the queue was full, and never come again. How the sender repeats
// the segment does not tell which: before the bytes that are missing it may
// repeat later ones any number of times, one tail loss probe for each time that
// something before them is acknowledged (RFC 8985 section 7). If such a segment
// went on, the missing ones would be taken for repetitions when they come, and
// pass unread. So the receiver decides: only what it has acknowledged is given
// up. As its acknowledgements are not seen unless they carry data, it is asked for
// one; see Decision.Ask.

// pass continues behind bytes that the receiver of the segment being handled has,
// though they were not seen, and reports whether all before seq are such.
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
		// A client that skips bytes and sends them later would have them pass
		// unread as if they came again.
		s.floor, s.floorSet = seq, true
	}
}

// insists counts how often a segment behind unseen bytes has come, and reports
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

// ask has the receiver of the segment being handled acknowledge all that it has: an
// empty segment does that which is behind (RFC 9293 section 3.10.7.4), unless the
// receiver lacks what was seen, too.
func (c *streams) ask(why Reason) Decision {
	s := &c.stream[c.cur.dir]
	return Decision{Action: Drop, Reason: why, Ask: true, AskAt: c.number(s, s.position(s.next)-1)}
}

// number returns the sequence number with which a segment must leave to arrive
// as one at seq.
func (c *streams) number(s *stream, seq uint32) uint32 {
	if c.adjustBy == Caller {
		return seq
	}
	return s.adj.source(seq)
}

// Missed notes that segments may have passed unread, because the rules that
// bring them were away for a moment. A segment behind unseen bytes is then read at
// once, as the first one is of a connection that is not seen from its start, and
// the first reply that announces a port is believed to be asked for: the command
// may have been among what was missed.
func (c *Conn) Missed() {
	for d := range c.stream {
		c.stream[d].blind = c.stream[d].known
	}
	c.met = false
	c.pending.push(cmdPASV)
}
