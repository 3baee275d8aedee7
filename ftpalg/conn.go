// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"time"
)

// Options are what is known of a control connection beside its addresses.
type Options struct {
	// Started tells that the connection is seen from its first byte on. If it
	// is not, what was said before is taken to have been in order.
	Started bool
	// AdjustBy is who adjusts sequence numbers. Whether the kernel can is known
	// for certain only once it was told to, see [Rewritten].
	AdjustBy AdjustBy
	// Adjusted are the adjustments that the kernel makes already, by
	// Direction.
	Adjusted [2]Adjustment
	// Workspace may be shared with other connections; nil: one of its own.
	Workspace *Workspace
}

// Workspace is the memory that is needed only while a segment is handled. It
// may be shared by connections whose segments are handled by one goroutine,
// each to its end, Rewrite included, before the next. The zero value is ready.
type Workspace struct{ workspace }

type workspace struct {
	now    time.Time // of the segment being handled
	events []Event
	offers [4]Offer // storage of the events' offers
	text   []byte   // a line without the Telnet commands in it
	head   []byte   // the start of a line that may be denied
	read   []byte   // the lines that were read of a segment, one behind another
	ends   []int    // where each of them ends in read
	cur    struct { // the segment being handled
		dir      Direction
		seq      uint32
		p        []byte
		parts    []edit     // its edits so far, in order
		back     uint32     // how much the first of them gives back, see giveBack
		shifting bool       // see stream.shifting
		blank    bool       // it goes on without its bytes
		undo     Adjustment // what the kernel was told before Rewrite had it told something else
		undoable bool       // it has
		why      Reason     // why the line being read was made to fail
		guess    bool       // it is not known whether the line being read starts there
		telnet   []byte     // the line being read, if Telnet commands are in it
	}
}

// Conn is the engine's state of one control connection. Firewalls have many
// that are idle: what only some need, or only at times, is elsewhere.
type Conn struct {
	*workspace
	dialogue
	ep       Endpoints
	policy   *Policy
	checks   Checks
	judges   bool // the policy may have a command fail
	adjustBy AdjustBy
	opaque   bool
	met      bool // the numbers of both ends are known, see meet
	nat64    role64
	start    uint32 // see dialogue.startSet

	stream  [2]stream
	pending pending
	rate    rate
}

// NewConn returns the engine for a control connection. The policy is shared
// and must not change.
func NewConn(ep Endpoints, policy *Policy, o Options) *Conn {
	c := &Conn{ep: ep, policy: policy, checks: policy.checks(), judges: policy.denies(), adjustBy: o.AdjustBy}
	c.started, c.met = o.Started, o.Started
	if !policy.Watch {
		c.nat64, _ = policy.role64(&c.ep)
	}
	if o.Workspace == nil {
		o.Workspace = new(Workspace)
	}
	c.Share(o.Workspace)
	for d := range c.stream {
		c.stream[d].adj, c.stream[d].told = o.Adjusted[d], o.Adjusted[d]
	}
	return c
}

// Share has the connection use another workspace from its next segment on.
func (c *Conn) Share(w *Workspace) { c.workspace = &w.workspace }

// Endpoints returns the addresses of the connection. They must not be changed.
func (c *Conn) Endpoints() *Endpoints { return &c.ep }

// Segment is a TCP segment, as its sender wrote it.
type Segment struct {
	// Time is when it came; the zero time where there is no clock.
	Time time.Time
	Dir  Direction
	// Seq is its sequence number. Ack is its acknowledgement number; it means
	// something if Acks is set.
	Seq, Ack uint32
	Acks     bool
	// Urgent is its urgent pointer, 0 if it has none.
	Urgent uint16
	// Payload may be empty. It must stay unchanged until Rewrite was called or
	// the next segment is taken.
	Payload []byte
}

// plain returns a line without Telnet commands, valid until the next call.
func (c *Conn) plain(line []byte) []byte {
	if bytes.IndexByte(line, telnetIAC) < 0 {
		return line
	}
	c.text = appendText(c.text[:0], line)
	return c.text
}

// AdjustBy is who adjusts the sequence numbers of a connection behind an edit that
// has changed a length.
type AdjustBy uint8

const (
	// Nobody: no edit may change a length.
	Nobody AdjustBy = iota
	// Kernel: it is told the adjustment that Rewrite gives.
	Kernel
	// Caller: it sees every packet, gives it the sequence number of Rewrite, and
	// passes what it acknowledges through Acknowledgement.
	Caller
)
