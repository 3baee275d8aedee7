// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"net/netip"
	"slices"
	"strconv"
)

// change replaces a line, or the end of one, that begins at start, as it was
// kept. It leaves everything up to from.
func (c *streams) change(start uint32, from int, line, text []byte) Reason {
	s := &c.stream[c.cur.dir]
	if len(text) != len(line) && c.adjustBy == Nobody {
		return ReasonNoAdjust
	}
	if n := len(c.cur.parts); n > 0 && max(int32(start-c.cur.parts[0].start), int32(c.cur.parts[n-1].end-start)) > maxJoined {
		return ReasonTooMany
	}
	// What was forwarded already must not change, and need not be repeated; nor
	// does all of a long line have to be kept for its numbers.
	cut := int(max(0, int32(s.sent-start)))
	if from > maxKept {
		cut = max(cut, from)
	}
	if cut > len(text) || cut > len(line) || string(text[:cut]) != string(line[:cut]) {
		return ReasonSplit
	}
	return c.replace(edit{start: start + uint32(cut), end: start + uint32(len(line)), text: text[cut:]})
}

// maxJoined is how far apart changed offers of one segment may be, in bytes; what
// is between them has to be kept.
const maxJoined = 2048

// maxKept is how much of a line before the changed numbers is kept.
const maxKept = 64

// replace records an edit of the segment being handled. Edits of one segment may
// come in any order: commands are denied while the segment is read, offers are
// announced when their pinhole is open.
func (c *streams) replace(e edit) Reason {
	if c.policy.Watch {
		return ReasonPlain
	}
	s := &c.stream[c.cur.dir]
	if int32(s.sent-e.start) > 0 {
		return ReasonSplit
	}
	parts := c.cur.parts
	if e.delta() != 0 && c.cur.shifting {
		return ReasonInFlight
	}
	if len(parts) == 0 {
		if s.full() {
			return ReasonInFlight
		}
		c.cur.parts = append(parts, e)
		s.addEdit(e)
		return ReasonPlain
	}
	if c.merge(&e) {
		return ReasonPlain
	}
	i := len(parts)
	for i > 0 && int32(parts[i-1].start-e.start) > 0 {
		i--
	}
	if i > 0 && int32(parts[i-1].end-e.start) > 0 || i < len(parts) && int32(e.end-parts[i].start) > 0 {
		return ReasonSplit
	}
	c.cur.parts = slices.Insert(parts, i, e)
	if i == len(parts) {
		s.joinEdits(append(s.edits[len(s.edits)-1].text, c.between(i)...), c.cur.parts)
		return ReasonPlain
	}
	c.rejoin()
	return ReasonPlain
}

// rejoin merges all edits of the segment being handled into one.
func (c *streams) rejoin() {
	var text []byte
	last := len(c.cur.parts) - 1
	for i := range c.cur.parts[:last] {
		text = append(append(text, c.cur.parts[i].text...), c.between(i+1)...)
	}
	c.stream[c.cur.dir].joinEdits(text, c.cur.parts)
}

// between returns the bytes before edit i of the segment being handled, from the
// end of the edit before it.
func (c *streams) between(i int) []byte {
	return c.cur.p[c.cur.parts[i-1].end-c.cur.seq : c.cur.parts[i].start-c.cur.seq]
}

// newText returns the text with other numbers in it. The words stay, as some
// clients compare them exactly.
func (o *Offer) newText(told netip.AddrPort) []byte {
	text := append(make([]byte, 0, len(o.text)+len(told.String())), o.text[:o.line.from]...)
	if o.other {
		return append(append(text, o.otherText(told)...), o.text[o.line.to:]...)
	}
	if o.mapped {
		told = netip.AddrPortFrom(netip.AddrFrom16(told.Addr().As16()), told.Port())
	}
	switch list := o.text[o.line.from:o.line.to]; o.Verb {
	case VerbPORT, Verb227:
		text = replaceNumbers(text, list, hostPortNumbers(told))
	case VerbLPRT, Verb228:
		text = replaceNumbers(text, list, longNumbers(told))
	case VerbEPRT, Verb229:
		if o.delim != 0 {
			text = append(told.Addr().AppendTo(text), o.delim)
		}
		text = strconv.AppendUint(text, uint64(told.Port()), 10)
	}
	return append(text, o.text[o.line.to:]...)
}

// Rewritten is what to send in place of a segment.
type Rewritten struct {
	// Data is the payload; the segment's own if Changed is false.
	Data    []byte
	Changed bool
	// Adjust is to be set in the kernel before the segment is forwarded, if Set.
	Adjust Adjustment
	Set    bool
	// Trimmed says that the end of the segment must not be forwarded yet and is
	// not in Data; its sender retransmits it. A FIN of the segment must not be
	// forwarded.
	Trimmed bool
	// Seq is the sequence number that the packet must have, in its sender's
	// numbers. It differs from the segment's if that is an old one, from before
	// an edit that the kernel has moved on from: the kernel maps it to what it
	// mapped the segment's own to then. Where the caller adjusts, it is the
	// number that the receiver must see.
	Seq uint32
	// Urgent is the urgent pointer that the packet must have. It counts from the
	// segment's first byte (RFC 9293 section 3.8.5), and an edit may have moved
	// what it points at. Telnet commands before a line are never edited, so that
	// the byte before it stays the same.
	Urgent uint16
}

// Rewrite returns what to send in place of a forwarded segment, and appends
// changed bytes to dst. It is called once for each forwarded segment, in the
// order of forwarding.
func (c *streams) Rewrite(dst []byte, seg *Segment) Rewritten {
	d, seq, p := seg.Dir, seg.Seq, seg.Payload
	s := &c.stream[d]
	r := Rewritten{Data: p, Seq: seq}
	if over := int32(seq + uint32(len(p)) - s.next); over > 0 && int(over) <= len(p) && !c.opaque {
		p = p[:len(p)-int(over)]
		r.Data, r.Changed, r.Trimmed = p, true, true
	}
	if c.cur.blank && d == c.cur.dir && seq == c.cur.seq {
		p = p[:0]
		r.Data, r.Changed, r.Trimmed = p, true, true
	}
	if s.touches(seq, len(p)) {
		r.Data, r.Changed = s.rewrite(dst, seq, p), true
	}
	at := s.position(seq)
	if r.Changed && len(p) > 0 && len(r.Data) == 0 {
		// All of it was absorbed. An empty segment from before what the receiver
		// has makes it acknowledge; a FIN would not.
		at, r.Trimmed = at-1, true
	}
	if seg.Urgent != 0 {
		r.Urgent = uint16(s.position(seq+uint32(seg.Urgent)) - s.position(seq))
	}
	if c.adjustBy == Caller {
		r.Seq, s.told = at, s.adj
		return r
	}
	if at != s.adj.apply(seq) {
		r.Seq = s.adj.source(at)
	}
	if r.Set = s.adj != s.told; r.Set {
		c.cur.undo, c.cur.undoable = s.told, true
		r.Adjust, s.told = s.adj, s.adj
	}
	return r
}
