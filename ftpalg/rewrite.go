// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "net/netip"

// Announce tells which port the other side is to be told for an offer of the
// segment being handled. The engine changes the text where it has to. If it
// cannot, the text stays and the reason is returned; ReasonPlain otherwise.
func (c *Conn) Announce(o *Offer, port uint16) Reason {
	told := netip.AddrPortFrom(o.Text, port)
	if told == o.Announced {
		return ReasonPlain
	}
	text := o.newText(told)
	s := &c.stream[c.cur.dir]
	if len(text) != len(o.text) && !c.adjustable {
		return ReasonNoAdjust
	}
	// What was forwarded already must not change, and need not be repeated.
	cut := int(max(0, int32(s.sent-o.start)))
	if cut > len(text) || cut > len(o.text) || string(text[:cut]) != string(o.text[:cut]) {
		return ReasonSplit
	}
	return c.replace(edit{start: o.start + uint32(cut), end: o.start + uint32(len(o.text)), text: text[cut:]})
}

// replace records an edit of the segment being handled.
func (c *Conn) replace(e edit) Reason {
	s := &c.stream[c.cur.dir]
	if int32(s.sent-e.start) > 0 {
		return ReasonSplit
	}
	var between []byte
	if c.cur.edited {
		from := int32(s.edits[len(s.edits)-1].end - c.cur.seq)
		if from < 0 {
			return ReasonSplit
		}
		between = c.cur.p[from : e.start-c.cur.seq]
	}
	s.addEdit(e, !c.cur.edited, between)
	c.cur.edited = true
	return ReasonPlain
}

// newText returns the line up to the numbers with others in their place. The
// length is kept where the words of a reply leave room.
func (o *Offer) newText(told netip.AddrPort) []byte {
	var n []byte
	switch o.Verb {
	case VerbPORT, Verb227:
		n = appendHostPort(nil, told)
	case VerbEPRT:
		n = appendPort(append(told.Addr().AppendTo(nil), o.delim), told.Port())
	case Verb229:
		n = appendPort(nil, told.Port())
	}
	text := make([]byte, 0, len(o.text)+len(n))
	grow := len(n) - (o.line.to - o.line.from)
	if o.Mode == Active || grow > o.words.to-o.words.from {
		text = append(text, o.text[:o.line.from]...)
		return append(text, n...)
	}
	text = append(text, o.text[:o.words.to-max(grow, 0)]...)
	for ; grow < 0; grow++ {
		text = append(text, ' ')
	}
	text = append(text, o.text[o.words.to:o.line.from]...)
	return append(text, n...)
}

// Rewritten is what to send in place of a segment.
type Rewritten struct {
	// Data is the payload; the segment's own if Changed is false.
	Data    []byte
	Changed bool
	// Adjust is to be set in the kernel before the segment goes on, if Set.
	Adjust Adjustment
	Set    bool
	// Restore is to be set afterwards, if Temporary: the segment is an old
	// one, from before an edit that the kernel has moved on from.
	Restore   Adjustment
	Temporary bool
}

// Rewrite gives what to send in place of a segment that is to be forwarded.
// Changed bytes are appended to dst. It is called once for each segment that
// goes on, in the order in which they go.
func (c *Conn) Rewrite(dst []byte, d Direction, seq uint32, p []byte) Rewritten {
	s := &c.stream[d]
	r := Rewritten{Data: p}
	if s.touches(seq, len(p)) {
		r.Data, r.Changed = s.rewrite(dst, seq, p), true
	}
	if c.here {
		s.adjNew = false
		return r
	}
	if at := s.position(seq); at != s.adj.apply(seq) {
		shift := int32(at - seq)
		r.Adjust, r.Set = Adjustment{Pos: s.adj.Pos, Before: shift, After: shift}, true
		r.Restore, r.Temporary = s.adj, true
	} else if s.adjNew {
		r.Adjust, r.Set = s.adj, true
	}
	s.adjNew = false
	return r
}

// Undo takes back the last edit of direction d, whose adjustment the kernel
// did not take. The segment goes on as it came, and no later edit of this
// connection may change a length.
func (c *Conn) Undo(d Direction, kernel Adjustment) {
	s := &c.stream[d]
	if n := len(s.edits); n > 0 {
		s.edits = s.edits[:n-1]
	}
	s.adj, s.adjNew = kernel, false
	c.adjustable = false
}
