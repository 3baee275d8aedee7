// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// denyEarly denies the command whose line p begins or continues as soon as it is
// known to be denied, so that a line need be neither complete nor short: every
// letter of the verb becomes an X, and as no server knows such a command, the
// server itself answers with an error. The length stays, as do the order and the
// number of replies.
func (c *Conn) denyEarly(s *stream, p []byte) {
	if c.cur.dir != Original || !c.judges || !s.aligned || s.skip || s.isDenied() {
		return
	}
	n := bytes.IndexByte(p, '\n')
	whole := n >= 0
	if !whole {
		n = len(p)
	}
	c.head = append(append(c.head[:0], s.line...), p[:min(n, maxLine+1)]...)
	line := c.head
	whole = whole && len(line) <= maxLine
	if whole {
		line = bytes.TrimRight(line, "\r")
	}
	j := c.judgeLine(line, whole)
	switch {
	case j.why != ReasonPlain:
	case j.open && len(c.head) > maxLine: // what is not read might be a denied command
		j.why = ReasonCommandDenied
		if j.at.to == j.at.from || j.at.to == len(line) {
			j.at.to = len(line)
		}
	default:
		return
	}
	c.deny(s, &j)
}

// deny makes the command of the line in progress fail.
func (c *Conn) deny(s *stream, j *judgement) {
	at := s.lineStart()
	e := edit{start: at + uint32(j.at.from), end: at + uint32(j.at.to), text: bytes.Repeat([]byte{'X'}, j.at.to-j.at.from)}
	if back := int32(c.cur.seq - e.end); back > 0 { // nothing of earlier segments is needed later
		e.text = append(e.text, c.head[j.at.to:j.at.to+int(back)]...)
		e.end = c.cur.seq
	}
	if why := c.replace(e); why != ReasonPlain {
		j.why = why
	}
	s.denied, s.deniedAt = true, at
	c.cur.why = j.why
	c.events = append(c.events, Event{Kind: EventDenied, Reason: j.why, Rule: j.rule})
}
