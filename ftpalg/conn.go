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

// Segment takes a segment of the connection and says what is to be done with it.
func (c *Conn) Segment(seg *Segment) Decision {
	c.now, c.events, c.read, c.ends = seg.Time, c.events[:0], c.read[:0], c.ends[:0]
	dec := c.segment(seg)
	if c.policy.Watch {
		dec = Decision{Reason: dec.Reason}
	}
	dec.Events, dec.Lines = c.events, Lines{c.read, c.ends}
	return dec
}

func (c *Conn) segment(seg *Segment) Decision {
	d, seq, p := seg.Dir, seg.Seq, seg.Payload
	c.cur.dir, c.cur.seq, c.cur.p, c.cur.parts = d, seq, p, c.cur.parts[:0]
	c.cur.back, c.cur.blank, c.cur.undoable = 0, false, false
	if seg.Acks && !c.received(opposite(d), seq, seg.Ack) {
		return Decision{Action: Drop, Reason: ReasonFarAway}
	}
	if len(p) == 0 {
		return Decision{}
	}
	s := &c.stream[d]
	if c.opaque {
		return Decision{Reason: ReasonOpaque}
	}
	if !s.known {
		c.begin(d, seq, p)
	}
	seen, answer, known := c.place(s, seq, p)
	if c.unseen {
		c.notFTP(ReasonStartUnseen)
	}
	if known {
		return answer
	}
	if c.mustWait(s, p[seen:]) {
		if seen > 0 && !s.held {
			// What was seen goes on, by itself: it may be the very edit that
			// the rest waits for. Its acknowledgement will come, so this
			// does not count as waiting in vain.
			s.waits -= min(s.waits, 1)
			return Decision{Reason: ReasonInFlight}
		}
		return c.ask(ReasonInFlight)
	}
	if c.mustAdjust64(s, p[seen:]) {
		return Decision{Action: Drop, Reason: ReasonNoAdjust, Adjust: true}
	}
	if !s.held {
		s.sent = s.next - s.taken
	}
	p = p[seen:]
	switch readable := c.remember(s, p); {
	case len(readable) == len(p):
		return c.fresh(s, p, answer.Reason)
	case len(readable) > 0:
		dec := c.fresh(s, readable, answer.Reason)
		if dec.Action == Hold { // its end must not go on when its start does
			s.abandon()
			dec.Action = Drop
		}
		return dec
	}
	// More than can be compared is on its way; its receiver is asked for it.
	return c.ask(ReasonInFlight)
}

// place finds out how many bytes of a segment were seen before. If there is
// nothing to read in it, known is true and the answer is the decision on it.
func (c *Conn) place(s *stream, seq uint32, p []byte) (seen int32, answer Decision, known bool) {
	seen = int32(s.next - seq)
	switch d := c.cur.dir; {
	case s.far(seq) && c.met:
		return seen, Decision{Action: Drop, Reason: ReasonFarAway}, true
	case s.floorSet && int32(seq-s.floor) < 0:
		return seen, Decision{Action: Drop, Reason: ReasonTooOld}, true
	case d == Original && c.startSet && int32(seq-c.start) < 0:
		return seen, c.beforeStart(s, seq, p), true
	case seen > 0 && c.checks.has(CheckRepeats) && !s.history.same(seq, p[:min(int(seen), len(p))]):
		// A keep-alive probe is answered, but not with what is in it.
		if c.cur.blank = s.history.probe(seq, p); c.cur.blank {
			return seen, Decision{Reason: ReasonChanged}, true
		}
		return seen, Decision{Action: Drop, Reason: ReasonChanged}, true
	case seen >= int32(len(p)) && s.held && int32(seq+uint32(len(p))-s.sent) > 0:
		return seen, Decision{Action: Drop, Reason: ReasonHeldTwice}, true
	case seen >= int32(len(p)):
		s.gaps = 0 // its sender does not know that it arrived, and less of what is behind
		return seen, Decision{Reason: ReasonRetransmission}, true
	case seen >= 0:
		return seen, Decision{}, false
	case s.blind:
		c.started = c.started && c.spoken // how it began may have passed
		c.resync(s, seq)
		s.aligned = startsLine(c.cur.dir, p)
	case c.policy.Watch: // it has gone on
		c.resync(s, seq)
		s.aligned = startsLine(c.cur.dir, p)
	case !c.pass(s, seq):
		if s.insists(seq, c.now) {
			return seen, c.ask(ReasonGap), true
		}
		return seen, Decision{Action: Drop, Reason: ReasonGap}, true
	}
	return 0, Decision{Reason: ReasonResync}, false
}

// fresh reads bytes that were not seen before.
func (c *Conn) fresh(s *stream, p []byte, reason Reason) Decision {
	s.gaps, s.waits, s.blind = 0, 0, false
	s.forgetOld()
	c.startSet = c.startSet && c.stream[Original].next-c.start <= old
	c.giveBack(s)
	for p = c.stepOverProxy(s, p); len(p) > 0 && !c.opaque; {
		if !s.isDenied() {
			c.cur.why = ReasonPlain
		}
		c.denyEarly(s, p)
		c.cur.guess = !s.proven || !c.met
		line, start, n, ok := s.cut(p)
		p = p[n:]
		if ok {
			c.readLine(start, line)
		} else if s.long {
			reason = ReasonLineTooLong
			c.firstLine(cmdUnknown, nil)
		}
	}
	return c.end(s, reason)
}

// end decides on a segment by the line in progress at its end: one that may have to
// be edited must not be forwarded in part.
func (c *Conn) end(s *stream, reason Reason) Decision {
	switch {
	case !c.mayEdit(s):
	case !c.alone(s):
		// The segment has an edit, or will have one when its offer is
		// announced. Another one behind it in the same flight is more than the
		// kernel can adjust for: the start of the line is cut off, and comes
		// again.
		s.unread()
	case s.tired() && c.takeIn(s):
		return Decision{Reason: ReasonPieces}
	case s.tired() && c.mustAdjust(s):
		s.abandon()
		return Decision{Action: Drop, Reason: ReasonPartial, Adjust: true}
	case !s.tired() || c.cur.dir == Original && c.mayBeDenied(s.line, false):
		// A command that is denied must not slip through in parts.
		s.held = true
		return Decision{Action: Hold, Reason: ReasonPartial}
	}
	release := s.held
	s.held = false
	return Decision{Release: release, Reason: reason}
}

// mayEdit reports whether the line in progress may turn out to be one whose
// text has to change, so that it must not go on in parts.
func (c *Conn) mayEdit(s *stream) bool {
	p := c.policy
	nat := c.ep.NAT() || len(p.Advertise) > 0 || p.MapPorts.High != 0
	if p.Watch || len(s.line) == 0 || !s.aligned || s.skip || s.isDenied() {
		return false
	}
	switch {
	case c.cur.dir == Original && c.mayBeDenied(s.line, false):
		return true
	case c.cur.dir == Reply && c.pending.explains():
		return true
	}
	b := c.plain(s.line)
	switch {
	case len(b) == 0:
		return false
	case c.mayTranslate(b):
		return true
	case c.cur.dir == Original:
		return (nat || p.Repair >= RepairPrivate) && mayBeOffer(b)
	case !nat && !c.nat64.translates() && p.Repair == RepairNone || c.checks.has(CheckAsked) && !c.pending.asks():
		return false
	}
	return isPassiveCode(int(c.multi)) || c.multi == 0 && mayBePassiveReply(b)
}

// plain returns a line without Telnet commands, valid until the next call.
func (c *Conn) plain(line []byte) []byte {
	if bytes.IndexByte(line, telnetIAC) < 0 {
		return line
	}
	c.text = appendText(c.text[:0], line)
	return c.text
}

// Abandon tells that the segments held in direction d were dropped.
func (c *Conn) Abandon(d Direction) {
	if s := &c.stream[d]; s.held {
		s.abandon()
	}
}

// readLine reads a line. Telnet commands in front of it are left out, so that
// nothing is ever changed there; urgent data is.
func (c *Conn) readLine(start uint32, line []byte) {
	n := skipTelnet(line)
	start, line = start+uint32(n), line[n:]
	c.cur.telnet = nil
	if text := c.plain(line); len(text) != len(line) {
		c.cur.telnet, line = line, text
	}
	if c.foreign == ReasonPlain {
		c.read = append(c.read, line...)
		c.ends = append(c.ends, len(c.read))
	}
	if c.cur.dir == Original {
		c.command(start, line)
	} else {
		c.reply(start, line)
	}
}
