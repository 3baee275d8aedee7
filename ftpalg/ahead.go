// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// A server that has sent a file says two lines soon one after the other, 150 and 226.
// If the first is lost on its way here the second comes behind bytes that were not
// seen. Dropped, as other such segments are, it costs its sender a timeout, and may be
// lost the next time. Forwarded it has its receiver say at once what is missing
// (RFC 2018). It may go on where it is sure that nothing before it will be changed, in
// its length above all, and that it would not be changed itself. What it says is kept,
// and read when what was missing has come.

// maxAhead is how many bytes may be missing: those of a reply to a transfer command.
const maxAhead = MaxUnread

// goesAhead reports whether a segment behind bytes that were not seen may go on, and
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

// isFinal reports whether a segment is one line that may end a transfer, and does
// nothing else.
func isFinal(p []byte) bool {
	if !isOneLine(p) {
		return false
	}
	u := Unread{Phase: PhaseBegun}
	_, _, ok := u.after(Reply, p)
	return ok
}

// passedAhead takes the missing bytes, too, for ones that have passed if the receiver
// has all up to the end of what went ahead.
func (c *Conn) passedAhead(s *stream) {
	a := c.ahead
	if a == nil || c.cur.dir != Reply || !s.ackKnown || int32(a.at-s.next) <= 0 ||
		int32(c.Acknowledgement(Reply, s.acked)-a.end()) < 0 {
		return
	}
	c.resync(s, a.end())
	s.aligned, s.proven, c.ahead = true, true, nil // it ended with a line end
}

// joinAhead reads what went ahead once all before it was read.
func (c *Conn) joinAhead(s *stream, dec Decision) Decision {
	a := c.ahead
	if a == nil || c.cur.dir != Reply || int32(a.at-s.next) > 0 {
		return dec
	}
	c.ahead = nil
	if a.at != s.next || dec.Action != Forward || len(s.line) > 0 {
		return dec // it comes again
	}
	s.sent = a.end()
	c.fresh(s, a.text, dec.Reason)
	return dec
}
