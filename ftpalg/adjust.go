// SPDX-License-Identifier: Apache-2.0

package ftpalg

// AdjustHere tells that the caller adjusts the sequence numbers of this
// connection itself, in every packet, from now on: the kernel cannot. Edits
// may change lengths again, Rewrite asks for no adjustment, and Sequence and
// Acknowledgement give the numbers that a packet must have.
func (c *Conn) AdjustHere() {
	c.adjustable, c.here, c.fixed = true, true, false
	// The kernel compares no numbers from now on.
	c.met = c.met || c.stream[Original].known && c.stream[Reply].known
}

// CannotAdjust tells that nobody adjusts the sequence numbers of this connection:
// the kernel cannot, and the caller does not.
func (c *Conn) CannotAdjust() { c.refused = true }

// Acknowledgement returns what an acknowledgement of bytes sent in direction d
// means to their sender. An edit is acknowledged as a whole: while a part of
// it is missing its sender must go on repeating it.
func (c *Conn) Acknowledgement(d Direction, ack uint32) uint32 {
	s := &c.stream[d]
	for i := len(s.edits) - 1; i >= 0; i-- {
		e := &s.edits[i]
		start := e.start + uint32(e.adj.Before)
		if int32(ack-start-uint32(len(e.text))) >= 0 {
			return ack - uint32(e.adj.After)
		}
		if n := int32(ack - start); n > 0 {
			return e.start + min(uint32(n), e.end-e.start-1)
		}
	}
	if len(s.edits) > 0 {
		return ack - uint32(s.edits[0].adj.Before)
	}
	return s.adj.undo(ack)
}
