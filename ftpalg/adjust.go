// SPDX-License-Identifier: Apache-2.0

package ftpalg

// AdjustBy is who adjusts the sequence numbers of a connection after an edit that
// has changed a length.
type AdjustBy uint8

const (
	// Nobody: no edit may change a length.
	Nobody AdjustBy = iota
	// Kernel: it is told the adjustment that Rewrite returns.
	Kernel
	// Caller: it sees every packet, gives it the sequence number of Rewrite, and
	// passes its acknowledgement number through Acknowledgement.
	Caller
)

// SetAdjustBy sets who adjusts sequence numbers from now on. Nobody, if the
// kernel has not taken the adjustment of the last Rewrite, takes back the edit:
// the segment must be rewritten again, and passes unchanged.
func (c *streams) SetAdjustBy(who AdjustBy) {
	c.adjustBy = who
	switch {
	case who == Caller: // the kernel compares no numbers any more
		c.met = c.met || c.stream[Original].known && c.stream[Reply].known
	case who == Nobody && c.cur.undoable:
		s := &c.stream[c.cur.dir]
		s.edits = s.edits[:max(0, len(s.edits)-1)]
		s.adj, s.told, s.taken = c.cur.undo, c.cur.undo, 0
		c.cur.undoable = false
	}
}

// Acknowledgement maps an acknowledgement of bytes sent in direction d to their
// sender's numbers. An edit is acknowledged as a whole: while a part of it is
// missing its sender must keep retransmitting it.
func (c *streams) Acknowledgement(d Direction, ack uint32) uint32 {
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
