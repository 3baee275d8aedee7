// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// maxWaits is how often a segment with an offer is dropped because an earlier
// edit has not arrived, and its receiver asked: three seconds, as senders double
// their patience. After that it goes on, and the offer is refused.
const maxWaits = 4

// received notes how far the receiver of direction d has got: ack is the
// acknowledgement number of a segment of the other direction, as its sender
// wrote it, and seq its sequence number. It returns false if the segment
// cannot be one of this connection's, because a number is too far from what was
// sent: then its receiver does not take it, and it is to be dropped.
func (c *Conn) received(d Direction, seq, ack uint32) bool {
	if c.opaque {
		return true // what passes is not followed
	}
	s := &c.stream[d]
	has := c.Acknowledgement(d, ack)
	if !c.meet(&c.stream[opposite(d)], s, seq, has) {
		return false
	}
	if !s.ackKnown || int32(ack-s.acked) > 0 {
		s.acked, s.ackKnown = ack, true
	}
	if d == Original {
		c.confirm(has)
	}
	return true
}

// arrived reports whether the receiver has all of an edit. Without any
// acknowledgement to go by it is taken for granted: usually the next edit
// follows the reply to the one before.
func (s *stream) arrived(e *edit) bool {
	return !s.ackKnown || int32(s.acked-e.end-uint32(e.adj.After)) >= 0
}

// full reports whether no edit can be made, because none may be forgotten: each
// may have to be sent again.
func (s *stream) full() bool { return s.crowded() && !s.arrived(&s.edits[0]) }

// crowded reports whether an edit must be forgotten before another one is made.
func (s *stream) crowded() bool {
	n := 0
	for i := range s.edits {
		n += cap(s.edits[i].text)
	}
	return len(s.edits) == maxEdits || n > maxEditText
}

// shifting reports whether another change of length would do harm while
// earlier ones are on their way. The kernel knows the shift before the last
// edit and after it; an acknowledgement from before two edits would be moved
// by the first one's. If that moves it forward, bytes seem to have arrived
// that have not.
func (s *stream) shifting() bool {
	edits, after := s.edits, s.adj.After
	if n := len(edits) - 1; s.taken > 0 { // the last one grows, its place stays
		edits, after = edits[:n], edits[n].adj.Before
	}
	for i := range edits {
		if e := &edits[i]; e.adj.Before > after && !s.arrived(e) {
			return true
		}
	}
	return false
}

// mustWait reports whether fresh bytes have to come again later, because they
// may need an edit that cannot be made yet.
func (c *Conn) mustWait(s *stream, p []byte) bool {
	if c.policy.Watch {
		return false
	}
	full := s.taken == 0 && s.full()
	c.cur.shifting = c.adjustBy != Caller && s.shifting()
	if !full && !c.cur.shifting {
		return false
	}
	offer, denied := c.scan(s, p)
	if denied && full {
		return true // replies will come, and acknowledge
	}
	if !offer {
		return false
	}
	s.waits++
	return s.waits <= maxWaits
}

// scan reports whether a line of fresh bytes may be an offer, and whether one
// may be a command that is denied.
func (c *Conn) scan(s *stream, p []byte) (offer, denied bool) {
	b := append(append([]byte(nil), s.line...), p...)
	for first := true; len(b) > 0; first = false {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		if b = rest; c.cur.dir == Reply {
			offer = offer || isPassiveCode(int(c.multi)) || mayBePassiveReply(line) || c.mayTranslate(line)
			continue
		}
		text := appendText(nil, line)
		offer = offer || mayBeOffer(text) || c.mayTranslate(text)
		denied = denied || c.mayBeDenied(bytes.TrimRight(line, "\r"), whole) && !(first && s.isDenied())
	}
	return offer, denied
}

// old is how far behind an edit must be to be forgotten: sequence numbers can
// be compared over half their range only. The kernel never forgets its
// position, and shifts by the wrong amount once 2 GiB have passed it.
const old = 1 << 30

// forgetOld drops edits that are far behind, and moves the position of the
// adjustment along.
func (s *stream) forgetOld() {
	for len(s.edits) > 0 && s.next-s.edits[0].end > old {
		s.edits = append(s.edits[:0], s.edits[1:]...)
	}
	if s.floorSet && s.next-s.floor > old {
		s.floorSet = false
	}
	if len(s.edits) == 0 && s.adj.Before != s.adj.After && s.next-s.adj.Pos > old && s.next-s.adj.Pos < 3*old {
		s.adj = Adjustment{Pos: s.next - 1, Before: s.adj.After, After: s.adj.After}
	}
}
