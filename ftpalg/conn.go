// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"net/netip"
	"strings"
)

// Direction is a direction of the control connection.
type Direction uint8

const (
	// Original is the direction of the connection's first packet: client to
	// server.
	Original Direction = iota
	// Reply is server to client.
	Reply
)

// String returns "original" or "reply".
func (d Direction) String() string {
	if d == Reply {
		return "reply"
	}
	return "original"
}

// Action is what is to be done with a segment.
type Action uint8

const (
	// Forward lets the segment go on, with the bytes that [Conn.Rewrite]
	// gives once all events are handled.
	Forward Action = iota
	// Hold keeps the segment until a later one of the same direction is
	// forwarded with Release set, or until it has waited long enough and
	// [Conn.Abandon] is called.
	Hold
	// Drop discards the segment; its sender repeats it.
	Drop
)

// EventKind is the kind of an Event.
type EventKind uint8

const (
	// EventOffer: a data connection was announced and may be opened.
	EventOffer EventKind = iota
	// EventRefused: a data connection was announced and must not be opened;
	// see Reason.
	EventRefused
	// EventCancelled: the server rejected the last active offer.
	EventCancelled
	// EventOpaque: the connection is encrypted from here on.
	EventOpaque
	// EventDenied: the client asked for encryption and the policy denies it.
	EventDenied
)

// Event is something that happened in a segment. Offer is set for
// EventOffer, and for EventRefused, where it holds what could be read of the
// offer.
type Event struct {
	Kind   EventKind
	Reason Reason
	Offer  *Offer
}

// Decision is the answer to a segment.
type Decision struct {
	Action Action
	// Release tells, with Forward, that the segments held in this direction
	// go first, each through Rewrite, in the order in which they came.
	Release bool
	// Reason is that of the segment as a whole.
	Reason Reason
	// Events are valid until the next call of Segment.
	Events []Event
}

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

func (c *Conn) command(start uint32, line []byte) {
	if c.ended { // the server never closed its multi-line reply, and waits
		c.multi, c.ended = 0, false
	}
	cmd, v, arg := parseCommand(line)
	c.verb = v
	c.pending.push(cmd)
	switch cmd {
	case cmdPORT:
		c.offer(c.parsePORT(start, line, arg))
	case cmdEPRT:
		c.offer(c.parseEPRT(start, line, arg))
	case cmdAUTH:
		if c.policy.DenyTLS {
			c.denyTLS(start + uint32(skipTelnet(line)))
		}
	}
}

// denied stands for AUTH in what the server is sent; no server knows it.
const denied = "XXXX"

// denyTLS replaces the verb AUTH at start.
func (c *Conn) denyTLS(start uint32) {
	r := c.replace(edit{start: start, end: start + uint32(len(denied)), text: []byte(denied)})
	if r == ReasonPlain {
		r = ReasonTLSDenied
	}
	c.events = append(c.events, Event{Kind: EventDenied, Reason: r})
}

// newOffer returns storage for an offer of this segment.
func (c *Conn) newOffer(v Verb, m Mode, start uint32, line []byte) *Offer {
	o := new(Offer)
	if n := len(c.events); n < len(c.offers) {
		o = &c.offers[n]
	}
	*o = Offer{Verb: v, Mode: m, start: start, text: line}
	return o
}

func (c *Conn) parsePORT(start uint32, line []byte, arg int) (*Offer, Reason) {
	o := c.newOffer(VerbPORT, Active, start, line)
	ap, n, r := parseHostPort(line[arg:])
	if r == ReasonPlain && len(trimRight(line[arg+n:])) > 0 {
		r = ReasonSyntax
	}
	o.Announced, o.line = ap, span{arg, arg + n}
	return o, r
}

func (c *Conn) parseEPRT(start uint32, line []byte, arg int) (*Offer, Reason) {
	o := c.newOffer(VerbEPRT, Active, start, line)
	e, n, r := parseExtended(line[arg:])
	switch {
	case r != ReasonPlain:
	case len(trimRight(line[arg+n:])) > 0 || !e.AddrPort.Addr().IsValid():
		r = ReasonSyntax
	default:
		o.delim = line[arg]
	}
	o.Announced, o.line = e.AddrPort, span{arg + e.addr.from, arg + e.port.to}
	return o, r
}

// offer judges an offer that was read and reports it.
func (c *Conn) offer(o *Offer, r Reason) {
	if r == ReasonPlain {
		r = c.judge(o)
	}
	if r != ReasonPlain {
		c.events = append(c.events, Event{Kind: EventRefused, Reason: r, Offer: o})
		return
	}
	if len(o.text) > 0 { // the stream's line buffer is used again
		o.text = append([]byte(nil), o.text[:o.line.to]...)
	}
	c.events = append(c.events, Event{Kind: EventOffer, Reason: o.Reason, Offer: o})
}

func (c *Conn) reply(start uint32, line []byte) {
	r := parseReply(line)
	if c.multi != 0 {
		if r.code != c.multi || r.more {
			c.ended = c.ended || r.code != 0 && !r.more
			if c.multi == 227 {
				c.passive(start, line, 0, Verb227, false)
			}
			return
		}
		c.multi, c.ended = 0, false
	}
	if r.code == 0 {
		return
	}
	if r.more {
		c.multi = r.code
		if r.code == 227 {
			c.passive(start, line, 4, Verb227, false)
		}
		return
	}
	c.final(r.code, start, line)
}

// final handles the last line of a reply and finds the command it answers.
func (c *Conn) final(code int, start uint32, line []byte) {
	switch {
	case code == 227:
		c.passive(start, line, min(4, len(line)), Verb227, true)
		return
	case code == 229:
		c.passive(start, line, min(4, len(line)), Verb229, true)
		return
	case code < 200: // the transfer has begun: commands before it are answered
		if i := c.pending.index(isTransfer); i > 0 {
			c.pending.drop(i)
		}
		return
	}
	cmd, ok := c.pending.head()
	if !ok {
		return // a greeting, or a farewell
	}
	c.pending.drop(1)
	switch {
	case (cmd == cmdPORT || cmd == cmdEPRT) && code >= 400:
		c.events = append(c.events, Event{Kind: EventCancelled, Reason: ReasonRejected})
	case cmd == cmdEPSVAll && code < 300:
		c.epsvAll = true
	case cmd == cmdAUTH && (code == 234 || code == 235):
		c.opaque = true
		c.events = append(c.events, Event{Kind: EventOpaque, Reason: ReasonOpaque})
	}
}

// passive handles a line of a 227 or 229 reply, whose text starts at from.
// The reply counts only if PASV or EPSV waits for one; either form may
// answer either command, as some servers do.
func (c *Conn) passive(start uint32, line []byte, from int, v Verb, last bool) {
	i := c.pending.index(isPassive)
	o := c.newOffer(v, Passive, start, line)
	parse := o.parse227
	if v == Verb229 {
		parse = o.parse229
	}
	r := parse(line, from)
	if last && i >= 0 {
		c.pending.drop(i + 1)
	}
	switch {
	case !last && r != ReasonPlain: // just a word in a long reply
		return
	case i < 0:
		r = ReasonUnasked
	}
	c.offer(o, r)
}

func (o *Offer) parse227(line []byte, from int) Reason {
	ap, at, r := findHostPort(line[from:])
	o.Announced, o.line = ap, span{from + at.from, from + at.to}
	o.words = span{from, from + at.from}
	if at.from > 0 && line[o.words.to-1] == '(' {
		o.words.to--
	}
	return r
}

// parse229 reads the port in a 229 reply (RFC 2428 section 3): the form in
// parentheses, else the first that can be read.
func (o *Offer) parse229(line []byte, from int) Reason {
	r := ReasonSyntax
	for i := from; i < len(line); i++ {
		if line[i] != '(' && line[i] != '|' {
			continue
		}
		at := i
		if line[i] == '(' {
			at++
		}
		e, _, why := parseExtended(line[at:])
		if why == ReasonPlain {
			o.Announced, o.line = e.AddrPort, span{at + e.port.from, at + e.port.to}
			o.words = span{from, i}
			return ReasonPlain
		}
		if line[i] == '(' {
			r = why
		}
	}
	return r
}

// Announce tells which port the other side is to be told for an offer of the
// segment being handled. The engine changes the text where it has to. If it
// cannot, the text stays and the reason is returned; ReasonPlain otherwise.
func (c *Conn) Announce(o *Offer, port uint16) Reason {
	told := netip.AddrPortFrom(o.Text, port)
	if told == o.Announced {
		return ReasonPlain
	}
	text := o.newText(told)
	s := &c.stream[c.cur.dir]
	if len(text) != len(o.text) && !c.adjustable {
		return ReasonNoAdjust
	}
	// What was forwarded already must not change, and need not be repeated.
	cut := int(max(0, int32(s.sent-o.start)))
	if cut > len(text) || cut > len(o.text) || string(text[:cut]) != string(o.text[:cut]) {
		return ReasonSplit
	}
	return c.replace(edit{start: o.start + uint32(cut), end: o.start + uint32(len(o.text)), text: text[cut:]})
}

// replace records an edit of the segment being handled.
func (c *Conn) replace(e edit) Reason {
	s := &c.stream[c.cur.dir]
	if int32(s.sent-e.start) > 0 {
		return ReasonSplit
	}
	var between []byte
	if c.cur.edited {
		from := int32(s.edits[len(s.edits)-1].end - c.cur.seq)
		if from < 0 {
			return ReasonSplit
		}
		between = c.cur.p[from : e.start-c.cur.seq]
	}
	s.addEdit(e, !c.cur.edited, between)
	c.cur.edited = true
	return ReasonPlain
}

// newText returns the line up to the numbers with others in their place. The
// length is kept where the words of a reply leave room.
func (o *Offer) newText(told netip.AddrPort) []byte {
	var n []byte
	switch o.Verb {
	case VerbPORT, Verb227:
		n = appendHostPort(nil, told)
	case VerbEPRT:
		n = appendPort(append(told.Addr().AppendTo(nil), o.delim), told.Port())
	case Verb229:
		n = appendPort(nil, told.Port())
	}
	text := make([]byte, 0, len(o.text)+len(n))
	grow := len(n) - (o.line.to - o.line.from)
	if o.Mode == Active || grow > o.words.to-o.words.from {
		text = append(text, o.text[:o.line.from]...)
		return append(text, n...)
	}
	text = append(text, o.text[:o.words.to-max(grow, 0)]...)
	for ; grow < 0; grow++ {
		text = append(text, ' ')
	}
	text = append(text, o.text[o.words.to:o.line.from]...)
	return append(text, n...)
}

// Rewritten is what to send in place of a segment.
type Rewritten struct {
	// Data is the payload; the segment's own if Changed is false.
	Data    []byte
	Changed bool
	// Adjust is to be set in the kernel before the segment goes on, if Set.
	Adjust Adjustment
	Set    bool
	// Restore is to be set afterwards, if Temporary: the segment is an old
	// one, from before an edit that the kernel has moved on from.
	Restore   Adjustment
	Temporary bool
}

// Rewrite gives what to send in place of a segment that is to be forwarded.
// Changed bytes are appended to dst. It is called once for each segment that
// goes on, in the order in which they go.
func (c *Conn) Rewrite(dst []byte, d Direction, seq uint32, p []byte) Rewritten {
	s := &c.stream[d]
	r := Rewritten{Data: p}
	if s.touches(seq, len(p)) {
		r.Data, r.Changed = s.rewrite(dst, seq, p), true
	}
	if at := s.position(seq); at != s.adj.apply(seq) {
		shift := int32(at - seq)
		r.Adjust, r.Set = Adjustment{Pos: s.adj.Pos, Before: shift, After: shift}, true
		r.Restore, r.Temporary = s.adj, true
	} else if s.adjNew {
		r.Adjust, r.Set = s.adj, true
	}
	s.adjNew = false
	return r
}

// Undo takes back the last edit of direction d, whose adjustment the kernel
// did not take. The segment goes on as it came, and no later edit of this
// connection may change a length.
func (c *Conn) Undo(d Direction, kernel Adjustment) {
	s := &c.stream[d]
	if n := len(s.edits); n > 0 {
		s.edits = s.edits[:n-1]
	}
	s.adj, s.adjNew = kernel, false
	c.adjustable = false
}
