// SPDX-License-Identifier: Apache-2.0

package ftpalg

// Adjustment is what the kernel has to do to the sequence numbers of one
// direction: it adds After to those after Pos, and Before to the others. The
// values are absolute, Pos is in the sender's numbers. The kernel keeps the same
// three numbers per direction (struct nf_ct_seqadj in
// include/net/netfilter/nf_conntrack_seqadj.h), and so knows only one position.
type Adjustment struct {
	Pos           uint32
	Before, After int32
}

// apply returns the sequence number that the receiver sees.
func (a Adjustment) apply(seq uint32) uint32 {
	if int32(seq-a.Pos) > 0 {
		return seq + uint32(a.After)
	}
	return seq + uint32(a.Before)
}

// Outgrows reports whether the kernel may see an acknowledgement of more than was
// sent, and call the segment invalid: the direction has shrunk, and grows again.
// Before the correct nf_ct_seq_adjust, tcp_in_window compares the receiver's
// number, as it is, with Pos (nf_ct_seq_offset). The kernel must not check the
// numbers of such a connection.
func (a Adjustment) Outgrows() bool { return a.Before < 0 && a.After > a.Before }

// source returns the sequence number that the kernel maps to at.
func (a Adjustment) source(at uint32) uint32 {
	if seq := at - uint32(a.Before); int32(seq-a.Pos) <= 0 {
		return seq
	}
	return at - uint32(a.After)
}

// edit is a replaced part of the stream. Its bytes before the changed ones are
// those of the line, so that a segment which starts inside the changed part can
// still be answered; see offset.
type edit struct {
	start, end uint32 // sequence numbers of the sender
	text       []byte // replacement
	adj        Adjustment
	taken      uint32 // see carries
}

func (e *edit) delta() int32 { return int32(len(e.text)) - int32(e.end-e.start) }

// newAdjustment returns the adjustment for the edit when all edits before it add
// up to before. Its position is chosen so that the acknowledgement of the edit's
// last byte lies after it, both in the receiver's and in the sender's numbers
// (nf_ct_seq_adjust in net/netfilter/nf_conntrack_seqadj.c).
func (e *edit) newAdjustment(before int32) Adjustment {
	return Adjustment{
		Pos:    e.start + min(e.end-e.start, uint32(len(e.text))) - 1,
		Before: before,
		After:  before + e.delta(),
	}
}

// offset returns how many bytes of the edit's text lie before a segment that
// starts at seq, inside the edit or at its end. It follows the kernel's mapping
// of that sequence number, so that the segments always join.
func (e *edit) offset(seq uint32) int {
	if e.carries(seq) {
		return 0
	}
	n := int32(e.adj.apply(seq) - e.start - uint32(e.adj.Before))
	return int(max(0, min(n, int32(len(e.text)))))
}

// place returns the sequence number that a segment at seq, at or after the edit's
// start, must get. If an edit leaves less than half of its text, the kernel would
// move a segment from its second half to before the edit.
func (e *edit) place(seq uint32) uint32 {
	at, first := e.adj.apply(seq), e.start+uint32(e.adj.Before)
	if int32(at-first) < 0 {
		return first
	}
	return at
}

// maxEdits is how many edits of a direction are kept for retransmissions.
// Usually one is in flight, as the next command waits for a reply.
const maxEdits = 16

// maxEditText is how many bytes the edits may keep before a new one has to wait
// until the oldest has arrived.
const maxEditText = 2048

// addEdit records the first edit in a segment.
func (s *stream) addEdit(e edit) {
	if s.repeated(&e) {
		e.adj = s.adj
	} else {
		e.adj = e.newAdjustment(s.adj.After)
	}
	if s.crowded() {
		s.floor, s.floorSet = s.edits[0].end, true
		s.edits = append(s.edits[:0], s.edits[1:]...)
	}
	s.edits = append(s.edits, e)
	s.setAdjustment(e.adj)
}

// joinEdits merges the edits of a segment into the last one, as the kernel knows
// one position per segment. text is what replaces them all, without the text of
// the last one.
func (s *stream) joinEdits(text []byte, parts []edit) {
	first, last := &parts[0], &parts[len(parts)-1]
	e := &s.edits[len(s.edits)-1]
	e.start, e.end = first.start, last.end
	e.text = append(text, last.text...)
	e.adj = e.newAdjustment(e.adj.Before)
	s.setAdjustment(e.adj)
}

func (s *stream) setAdjustment(a Adjustment) {
	if a.After != s.adj.After || s.adj != s.told {
		s.adj = a
	}
}

// position returns the sequence number that a segment at seq must get.
func (s *stream) position(seq uint32) uint32 {
	for i := len(s.edits) - 1; i >= 0; i-- {
		e := &s.edits[i]
		if e.carries(seq) {
			return e.start + uint32(e.adj.Before)
		}
		if int32(seq-e.start) >= 0 {
			return e.place(seq)
		}
	}
	if len(s.edits) > 0 {
		return seq + uint32(s.edits[0].adj.Before)
	}
	return s.adj.apply(seq)
}

// touches reports whether an edit lies in the n bytes from seq.
func (s *stream) touches(seq uint32, n int) bool {
	for i := range s.edits {
		if e := &s.edits[i]; int32(e.end-seq) > 0 && int32(seq+uint32(n)-e.start) > 0 || e.carries(seq) && n > 0 {
			return true
		}
	}
	return false
}

// rewrite appends what is to be sent in place of p, which the sender sent at seq.
func (s *stream) rewrite(dst []byte, seq uint32, p []byte) []byte {
	cur, end := seq, seq+uint32(len(p))
	for i := range s.edits {
		e := &s.edits[i]
		if (int32(e.end-cur) <= 0 || int32(end-e.start) <= 0) && !(cur == seq && e.carries(seq)) {
			continue
		}
		from, to := 0, len(e.text)
		if int32(e.start-cur) > 0 {
			dst = append(dst, p[cur-seq:e.start-seq]...)
		} else if cur != e.start {
			from = e.offset(cur)
		}
		// Absorbed bytes are forwarded when any part of them is retransmitted.
		if int32(e.end-end) > 0 && (e.taken == 0 || from > 0) {
			to = max(from, e.offset(end))
		}
		dst = append(dst, e.text[from:to]...)
		if cur = e.end; int32(cur-end) > 0 {
			return dst
		}
	}
	return append(dst, p[cur-seq:]...)
}

// arrived reports whether the receiver has all of an edit. Without any
// acknowledgement it assumes so: usually the next edit follows the reply to the
// one before.
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

// shifting reports whether another change of length would do harm while earlier
// ones are in flight. The kernel knows the shift before the last edit and after
// it; it would move an acknowledgement from before two edits by the first one's
// shift. If that moves it forward, bytes seem to have arrived that have not.
func (s *stream) shifting() bool {
	edits, after := s.edits, s.adj.After
	if n := len(edits) - 1; s.taken > 0 { // if the last one grows, its place stays
		edits, after = edits[:n], edits[n].adj.Before
	}
	for i := range edits {
		if e := &edits[i]; e.adj.Before > after && !s.arrived(e) {
			return true
		}
	}
	return false
}

// old is how far back an edit must be to be forgotten: sequence numbers can be
// compared over half their range only. The kernel never forgets its position, and
// shifts by the wrong amount once 2 GiB have passed it.
const old = 1 << 30

// forgetOld drops edits that are far back, and moves the position of the
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

// carries reports whether a segment that starts at seq carries all of the edit:
// what it replaces was absorbed up to there.
func (e *edit) carries(seq uint32) bool { return e.taken > 0 && seq-e.start <= e.taken }

// repeated reports whether the adjustment with which the engine was created is
// that of e: the other engine made the same edit and told the kernel, and now the
// segment is retransmitted. The kernel must not be told twice: the values are
// absolute, so it would move everything after the edit by its length again.
func (s *stream) repeated(e *edit) bool {
	return len(s.edits) == 0 && e.delta() != 0 && s.adj.After-s.adj.Before == e.delta() &&
		s.adj.Pos == e.newAdjustment(s.adj.Before).Pos
}

// undo maps an acknowledgement of adjusted bytes to the sender's numbers. Like
// the kernel (nf_ct_ack_adjust in nf_conntrack_seqadj.c), it counts an
// acknowledgement of the edit's last byte as after it.
func (a Adjustment) undo(ack uint32) uint32 {
	if int32(ack-uint32(a.Before)-a.Pos) > 0 {
		return ack - uint32(a.After)
	}
	return ack - uint32(a.Before)
}
