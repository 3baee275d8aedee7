// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "time"

// Workspace is the memory that is needed only while a segment is handled.
// Connections may share it if one goroutine handles their segments, each to its
// end, Rewrite included, before the next. The zero value is ready.
type Workspace struct{ workspace }

type workspace struct {
	now    time.Time // of the segment being handled
	events []Event
	offers [4]Offer // storage of the events' offers
	head   []byte   // the start of a line that may be denied
	read   []byte   // the lines read from a segment, one after another
	ends   []int    // where each of them ends in read
	failed []bool   // which of them were made to fail
	cur    struct { // the segment being handled
		dir      Direction
		seq      uint32
		p        []byte
		parts    []edit     // its edits so far, in order
		back     uint32     // how much the first of them gives back, see giveBack
		shifting bool       // see stream.shifting
		blank    bool       // forwarded without its bytes
		ending   bool       // see Segment.Ending
		undo     Adjustment // what the kernel was told before Rewrite told it something else
		undoable bool       // undo is set
		why      Reason     // why the line being read was made to fail
		guess    bool       // whether the line being read starts there is a guess
		telnet   []byte     // the line being read, if it contains Telnet commands
	}
}

// newOffer returns storage for an offer of this segment.
func (w *workspace) newOffer(v Verb, m Mode, start uint32, line []byte) *Offer {
	o := new(Offer)
	if n := len(w.events); n < len(w.offers) {
		o = &w.offers[n]
	}
	*o = Offer{Verb: v, Mode: m, start: start, text: line}
	return o
}
