// SPDX-License-Identifier: Apache-2.0

package ftpalg

// Position is where the engine is in a direction.
type Position struct {
	// Next is the sequence number, as its sender counts, of the first byte that
	// was not seen yet, if that is Known: it is not where nothing was seen.
	Next  uint32
	Known bool
	// Adjusted is how sequence numbers are adjusted. It is what another engine
	// needs to continue (Options.Adjusted) where the kernel does not keep it.
	Adjusted Adjustment
}

// Foreign reports whether a segment at seq is so far from what was seen last that it
// may be one of another connection.
func (p Position) Foreign(seq uint32) bool { return p.Known && farApart(seq, p.Next) }

// Behind reports whether a segment at seq comes before what is waited for.
func (p Position) Behind(seq uint32) bool { return p.Known && int32(seq-p.Next) < 0 }

// Position returns where the engine is in direction d.
func (c *streams) Position(d Direction) Position {
	s := &c.stream[d]
	return Position{s.next, s.known, s.adj}
}
