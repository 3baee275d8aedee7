// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// A server that has sent a file sends two lines in short succession, 150 and 226.
// If the first is lost on its way here the second arrives after bytes that were
// not seen. Dropped, like other such segments, it costs its sender a timeout, and
// may be lost the next time. Forwarded, it makes its receiver report at once what
// is missing (RFC 2018). It may be forwarded if nothing before it can change,
// above all in length, and it would not change itself. Its text is kept, and read
// when what was missing has arrived.

// maxAhead is how many bytes may be missing: those of a reply to a transfer
// command.
const maxAhead = MaxUnread

// goesAhead reports whether a segment after unseen bytes may be forwarded, and
// keeps it if so.
func (c *Conn) goesAhead(s *stream, seq uint32, p []byte) bool {
	missing := int32(seq - s.next)
	if c.cur.dir != Reply || missing <= 0 || missing > int32(maxAhead) || !s.known {
		return false
	}
	if a := c.ahead; a != nil {
		return a.at == seq && bytes.Equal(a.text, p)
	}
	u, ok := c.Rest()
	if !ok || u.Phase != PhaseTransfer || c.policy.Watch || !c.checks.has(CheckAsked) || !isFinal(p) {
		return false
	}
	c.ahead = &ahead{seq, bytes.Clone(p)}
	return true
}

// isFinal reports whether a segment is one line that may end a transfer, and
// nothing else.
func isFinal(p []byte) bool {
	if !isOneLine(p) {
		return false
	}
	u := Unread{Phase: PhaseBegun}
	_, _, ok := u.after(Reply, p)
	return ok
}

// passedAhead treats the missing bytes, too, as passed if the receiver has
// everything up to the end of what was forwarded early.
func (c *Conn) passedAhead(s *stream) {
	a := c.ahead
	if a == nil || c.cur.dir != Reply || !s.ackKnown || int32(a.at-s.next) <= 0 ||
		int32(c.Acknowledgement(Reply, s.acked)-a.end()) < 0 {
		return
	}
	c.resync(s, a.end())
	s.aligned, s.proven, c.ahead = true, true, nil // it ended with a line end
}

// joinAhead reads what was forwarded early once everything before it was read.
func (c *Conn) joinAhead(s *stream, dec Decision) Decision {
	a := c.ahead
	if a == nil || c.cur.dir != Reply || int32(a.at-s.next) > 0 {
		return dec
	}
	c.ahead = nil
	if a.at != s.next || dec.Action != Forward || len(s.line) > 0 {
		return dec // it will be retransmitted
	}
	s.sent = a.end()
	c.fresh(s, a.text, dec.Reason)
	return dec
}
