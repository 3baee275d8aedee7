// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "strings"

// Options are what is known of a control connection beside its addresses.
type Options struct {
	// Adjustable tells that the kernel can adjust sequence numbers.
	Adjustable bool
	// Adjusted are the adjustments that the kernel makes already, by
	// Direction.
	Adjusted [2]Adjustment
}

// Conn is the engine's state of one control connection.
type Conn struct {
	ep         Endpoints
	policy     *Policy
	adjustable bool
	here       bool // the caller adjusts, see AdjustHere

	stream  [2]stream
	pending pending
	multi   int  // code of the multi-line reply in progress, 0 for none
	ended   bool // a line inside it looked like the end of another reply
	opaque  bool
	epsvAll bool
	verb    verb // the client's last command

	events []Event
	offers [4]Offer // storage of the events' offers
	cur    struct { // the segment being handled
		dir    Direction
		seq    uint32
		p      []byte
		edited bool
	}
}

// NewConn returns the engine for a control connection. The policy is shared
// and must not change.
func NewConn(ep Endpoints, policy *Policy, o Options) *Conn {
	c := &Conn{ep: ep, policy: policy, adjustable: o.Adjustable}
	for d := range c.stream {
		c.stream[d].adj = o.Adjusted[d]
	}
	return c
}

// Endpoints returns the addresses of the connection.
func (c *Conn) Endpoints() Endpoints { return c.ep }

// Opaque reports whether the connection is encrypted.
func (c *Conn) Opaque() bool { return c.opaque }

// LastVerb returns the client's last command in upper case, "" if there was
// none or it was none of FTP.
func (c *Conn) LastVerb() string { return strings.TrimRight(string(c.verb[:]), "\x00") }

// Segment takes the payload of a TCP segment. seq is the sequence number of
// its first byte, as sent. The payload must stay unchanged until Rewrite
// was called or the next segment is taken.
func (c *Conn) Segment(d Direction, seq uint32, p []byte) Decision {
	c.events = c.events[:0]
	c.cur.dir, c.cur.seq, c.cur.p, c.cur.edited = d, seq, p, false
	s := &c.stream[d]
	if c.opaque {
		return Decision{Reason: ReasonOpaque}
	}
	if !s.known {
		s.begin(d, seq, p)
	}
	reason := ReasonPlain
	seen := int32(s.next - seq)
	switch {
	case s.floorSet && int32(seq-s.floor) < 0:
		return Decision{Action: Drop, Reason: ReasonTooOld}
	case seen >= int32(len(p)) && s.held && int32(seq+uint32(len(p))-s.sent) > 0:
		return Decision{Action: Drop, Reason: ReasonHeldTwice}
	case seen >= int32(len(p)):
		return Decision{Reason: ReasonRetransmission}
	case seen < 0:
		if !s.missed(seq) {
			return Decision{Action: Drop, Reason: ReasonGap}
		}
		s.resync(seq)
		reason, seen = ReasonResync, 0
	}
	if !s.held {
		s.sent = s.next
	}
	return c.fresh(s, p[seen:], reason)
}

// missed counts how often a segment behind unseen bytes has come, and
// reports whether to go on without them.
func (s *stream) missed(seq uint32) bool {
	if s.gaps == 0 || s.gapAt != seq {
		s.gapAt, s.gaps = seq, 0
	}
	s.gaps++
	return s.gaps >= maxGaps
}

// fresh reads bytes that were not seen before.
func (c *Conn) fresh(s *stream, p []byte, reason Reason) Decision {
	s.gaps = 0
	for len(p) > 0 && !c.opaque {
		line, start, n, ok := s.cut(p)
		p = p[n:]
		if ok {
			c.readLine(start, line)
		} else if s.skip {
			reason = ReasonLineTooLong
		}
	}
	if s.mayHold() && !c.cur.edited && c.mayEdit(c.cur.dir, s.line) {
		s.held = true
		return Decision{Action: Hold, Reason: ReasonPartial, Events: c.events}
	}
	release := s.held
	s.held = false
	return Decision{Release: release, Reason: reason, Events: c.events}
}

// mayEdit reports whether a line that starts with b may turn out to be one
// whose text has to change.
func (c *Conn) mayEdit(d Direction, b []byte) bool {
	p := c.policy
	nat := c.ep.NAT() || len(p.Advertise) > 0
	if d == Original {
		return (nat || p.Repair >= RepairPrivate) && mayBeOffer(b) || p.DenyTLS && mayBeAUTH(b)
	}
	if !nat && p.Repair == RepairNone || c.pending.index(isPassive) < 0 {
		return false
	}
	return c.multi == 227 || c.multi == 0 && mayBePassiveReply(b)
}

// Abandon tells that the segments held in direction d were dropped.
func (c *Conn) Abandon(d Direction) {
	if s := &c.stream[d]; s.held {
		s.abandon()
	}
}

func (c *Conn) readLine(start uint32, line []byte) {
	if c.cur.dir == Original {
		c.command(start, line)
	} else {
		c.reply(start, line)
	}
}
