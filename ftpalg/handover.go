// SPDX-License-Identifier: Apache-2.0

package ftpalg

// repeated reports whether the adjustment with which the engine was made is
// that of e: the other engine made the same edit, and told the kernel, and the
// segment comes again. The kernel must not be told twice, because what counts
// is absolute: it would move everything behind the edit by its length again.
func (s *stream) repeated(e *edit) bool {
	return len(s.edits) == 0 && e.delta() != 0 && s.adj.After-s.adj.Before == e.delta() &&
		s.adj.Pos == e.newAdjustment(s.adj.Before).Pos
}

// Position is where the engine is in a direction.
type Position struct {
	// Next is the sequence number, as its sender counts, of the first byte that
	// was not seen yet, if that is Known: it is not where nothing was seen.
	Next  uint32
	Known bool
	// Adjusted is how sequence numbers are adjusted. It is what another engine
	// needs to go on (Options.Adjusted) where the kernel does not keep it.
	Adjusted Adjustment
}

// Foreign reports whether a segment at seq is so far from what was seen last that it
// may be one of another connection.
func (p Position) Foreign(seq uint32) bool { return p.Known && farApart(seq, p.Next) }

// Behind reports whether a segment at seq comes before what is waited for.
func (p Position) Behind(seq uint32) bool { return p.Known && int32(seq-p.Next) < 0 }

// Position returns where the engine is in direction d.
func (c *Conn) Position(d Direction) Position {
	s := &c.stream[d]
	return Position{s.next, s.known, s.adj}
}

// undo returns what an acknowledgement of adjusted bytes means to their
// sender. As the kernel does (nf_ct_ack_adjust in nf_conntrack_seqadj.c), an
// acknowledgement of the edit's last byte counts as behind it.
func (a Adjustment) undo(ack uint32) uint32 {
	if int32(ack-uint32(a.Before)-a.Pos) > 0 {
		return ack - uint32(a.After)
	}
	return ack - uint32(a.Before)
}
