// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// maxWaits is how often a segment with an offer is dropped because an earlier
// edit has not arrived, and its receiver asked: three seconds, as senders double
// their timeout. After that it is forwarded, and the offer is refused.
const maxWaits = 4

// received records how far the receiver of direction d has got: ack is the
// acknowledgement number of a segment of the other direction, as its sender wrote
// it, and seq its sequence number. It returns false if the segment cannot belong
// to this connection, because a number is too far from what was sent: its
// receiver would not accept it, and it must be dropped.
func (c *streams) received(d Direction, seq, ack uint32) bool {
	if c.opaque {
		return true // what passes is not followed
	}
	s := &c.stream[d]
	has := c.Acknowledgement(d, ack)
	if !c.meet(&c.stream[opposite(d)], s, seq, has) {
		return false
	}
	if !s.ackKnown || int32(ack-s.acked) > 0 {
		if s.blind && !s.known && s.ackKnown {
			c.started = false // it has what no one has seen
		}
		s.acked, s.ackKnown = ack, true
	}
	if d == Original {
		c.confirm(has)
	}
	return true
}

// mustWait reports whether fresh bytes have to be retransmitted later, because
// they may need an edit that cannot be made yet.
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

// scan reports whether a line of fresh bytes may be an offer, and whether one may
// be a denied command.
func (c *Conn) scan(s *stream, p []byte) (offer, denied bool) {
	b := append(append([]byte(nil), s.line...), p...)
	for first := true; len(b) > 0; first = false {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		if b = rest; c.cur.dir == Reply {
			offer = offer || isPassiveCode(int(c.multi)) || mayBePassiveReply(line) || c.mayTranslate(line)
			continue
		}
		text := appendText(nil, line)
		offer = offer || len(text) > 0 && (mayBeOffer(text) || c.mayTranslate(text)) // Telnet commands alone are not an offer
		denied = denied || c.mayBeDenied(bytes.TrimRight(line, "\r"), whole) && !(first && s.isDenied())
	}
	return offer, denied
}
