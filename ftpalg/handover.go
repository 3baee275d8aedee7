// SPDX-License-Identifier: Apache-2.0

package ftpalg

// Resume tells that the connection was read by another engine before, which
// is gone without a word. The client may have asked for a port, and the answer
// is still to come: the first one is believed.
func (c *Conn) Resume() { c.pending.push(cmdPASV) }

// repeated reports whether the adjustment with which the engine was made is
// that of e: the other engine made the same edit, and told the kernel, and the
// segment comes again. The kernel must not be told twice, because what counts
// is absolute: it would move everything behind the edit by its length again.
func (s *stream) repeated(e *edit) bool {
	return len(s.edits) == 0 && e.delta() != 0 && s.adj.After-s.adj.Before == e.delta() &&
		s.adj.Pos == e.newAdjustment(s.adj.Before).Pos
}

// Adjustment returns how the sequence numbers of direction d are adjusted. It
// is what another engine needs to go on (Options.Adjusted) where the kernel
// does not keep it.
func (c *Conn) Adjustment(d Direction) Adjustment { return c.stream[d].adj }

// Next returns the sequence number, as its sender counts, of the first byte of
// direction d that was not seen yet. It is not known of a direction in which
// nothing was.
func (c *Conn) Next(d Direction) (seq uint32, known bool) {
	s := &c.stream[d]
	return s.next, s.known
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
