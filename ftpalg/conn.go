// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "time"

// Options are the known facts about a control connection besides its addresses.
type Options struct {
	// Started says that the connection is seen from its first byte on. Otherwise
	// what was said before is assumed to have been in order.
	Started bool
	// AdjustBy is who adjusts sequence numbers. Whether the kernel can is certain
	// only once it was told to, see [Rewritten].
	AdjustBy AdjustBy
	// Adjusted are the adjustments that the kernel makes already, by
	// Direction.
	Adjusted [2]Adjustment
	// Workspace may be shared with other connections; nil: one of its own.
	Workspace *Workspace
}

// Conn is the engine's state of one control connection. Firewalls have many idle
// ones: what only some need, or only at times, is elsewhere.
//
// It is made of three layers, each of which knows only those below it: the
// dialogue (what the lines mean), the streams (where bytes are, and what replaces
// them) and the terms (what the administrator allows here). Conn splits segments
// into lines and joins the layers.
type Conn struct {
	dialogue
	ahead *ahead // of the replies; nil: nothing
}

// ahead is the line that was forwarded though bytes before it were missing.
type ahead struct {
	at   uint32
	text []byte
}

// end returns the sequence number after it.
func (a *ahead) end() uint32 { return a.at + uint32(len(a.text)) }

// NewConn returns the engine for a control connection. The policy is shared and
// must not change.
func NewConn(ep Endpoints, policy *Policy, o Options) *Conn {
	c := new(Conn)
	c.terms, c.adjustBy = newTerms(ep, policy), o.AdjustBy
	c.started, c.met, c.unchosen = o.Started, o.Started, o.Started
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

// Share makes the connection use another workspace from its next segment on.
func (c *Conn) Share(w *Workspace) { c.workspace = &w.workspace }

// Endpoints returns the addresses of the connection. They must not be changed.
func (c *Conn) Endpoints() *Endpoints { return &c.ep }

// Segment is a TCP segment, as its sender sent it.
type Segment struct {
	// Time is when it arrived; the zero time where there is no clock.
	Time time.Time
	Dir  Direction
	// Seq is its sequence number. Ack is its acknowledgement number, valid if
	// Acks is set.
	Seq, Ack uint32
	Acks     bool
	// Urgent is its urgent pointer, 0 if none.
	Urgent uint16
	// Ending says that an end has begun to close the connection: what is missing
	// of a line may never come.
	Ending bool
	// Payload may be empty. It must stay unchanged until Rewrite was called or
	// the next segment is taken.
	Payload []byte
}
