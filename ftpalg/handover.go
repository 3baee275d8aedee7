// SPDX-License-Identifier: Apache-2.0

package ftpalg

// Position is where the engine is in a direction.
type Position struct {
	// Next is the sequence number, in its sender's numbers, of the first unseen
	// byte. It is Known unless nothing was seen.
	Next  uint32
	Known bool
	// Adjusted is how sequence numbers are adjusted. Another engine needs it to
	// continue (Options.Adjusted) if the kernel does not keep it.
	Adjusted Adjustment
}

// Foreign reports whether a segment at seq is so far from the last seen position
// that it may belong to another connection.
func (p Position) Foreign(seq uint32) bool { return p.Known && farApart(seq, p.Next) }

// Behind reports whether a segment at seq precedes what is waited for.
func (p Position) Behind(seq uint32) bool { return p.Known && int32(seq-p.Next) < 0 }

// Position returns where the engine is in direction d.
func (c *streams) Position(d Direction) Position {
	s := &c.stream[d]
	return Position{s.next, s.known, s.adj}
}
