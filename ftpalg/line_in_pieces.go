// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// A line that its sender writes byte by byte never arrives in one piece, however
// often its start is dropped: TCP retransmits together what it had sent before,
// and sends nothing new until that is acknowledged. After maxAbandons tries such
// a line is absorbed. What has arrived of it is replaced by nothing for now, and
// forwarded as an empty segment from before the line. Its receiver answers with
// an acknowledgement of everything that it has (RFC 9293 section 3.10.7.4),
// which, once adjusted, acknowledges the absorbed bytes to the sender. The text
// is forwarded in place of the line's last piece, changed or not.

// maxTaken is how many bytes of a line are absorbed. All of them are forwarded in
// one segment, which must not get too long for the path.
const maxTaken = 512

// takeIn absorbs what has arrived of the line in progress, and reports whether it
// could.
func (c *streams) takeIn(s *stream) bool {
	n := s.next - s.sent
	again := len(c.cur.parts) > 0
	denied := c.cur.dir == Original && c.mayBeDenied(s.line, false)
	if int32(s.lineStart()-s.sent) > 0 { // whole lines precede it
		return false
	}
	if c.adjustBy == Nobody || !denied && n > maxTaken || !again && (s.full() || c.cur.shifting) {
		return false
	}
	e := edit{start: s.sent, end: s.next}
	if again {
		c.cur.parts[0] = e
		s.joinEdits(nil, c.cur.parts)
	} else {
		s.addEdit(e)
	}
	s.taken, s.edits[len(s.edits)-1].taken = n, n
	return true
}

// mustAdjust reports whether the line in progress could be absorbed if sequence
// numbers were adjusted. It does so once per line.
func (c *streams) mustAdjust(s *stream) bool {
	return c.adjustBy == Nobody && s.abandoned == maxAbandons && s.next-s.sent <= maxTaken
}

// giveBack makes the segment being handled carry what was absorbed before it,
// until that is replaced by something else.
func (c *streams) giveBack(s *stream) {
	if s.taken == 0 {
		return
	}
	text := bytes.Clone(s.line[len(s.line)-int(s.taken):])
	c.cur.parts = append(c.cur.parts, edit{start: s.next - s.taken, end: s.next, text: text})
	c.cur.back = s.taken
	s.taken = 0
	s.joinEdits(nil, c.cur.parts)
}

// alone reports whether nothing in the segment being handled may change but the
// line in progress.
func (c *Conn) alone(s *stream) bool {
	for i := range c.events {
		if c.events[i].Kind == EventOffer || c.events[i].Announce {
			return false
		}
	}
	switch n := len(c.cur.parts); {
	case n > 1:
		return false
	case n == 1:
		return c.cur.back > 0 && int32(s.lineStart()-c.cur.parts[0].start) <= 0
	}
	return true
}

// merge merges an edit with what the segment gives back, if they overlap, and
// reports whether it did.
func (c *streams) merge(e *edit) bool {
	if c.cur.back == 0 || int32(c.cur.parts[0].end-e.start) <= 0 {
		return false
	}
	b := &c.cur.parts[0]
	text := append(b.text[:e.start-b.start:e.start-b.start], e.text...)
	if over := int32(b.end - e.end); over > 0 {
		text = append(text, b.text[len(b.text)-int(over):]...)
		e.end = b.end
	}
	*b = edit{start: b.start, end: e.end, text: text}
	c.cur.back = 0
	c.rejoin()
	return true
}
