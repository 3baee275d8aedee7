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
