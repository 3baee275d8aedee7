// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"net/netip"
)

// Mode is the direction in which a data connection is opened.
type Mode uint8

const (
	// Active: the server connects to the client.
	Active Mode = iota
	// Passive: the client connects to the server.
	Passive
)

// String returns "active" or "passive".
func (m Mode) String() string {
	if m == Passive {
		return "passive"
	}
	return "active"
}

// Verb is the form of an offer.
type Verb uint8

// The forms of an offer: a command, or the reply to PASV, EPSV or LPSV.
const (
	VerbPORT Verb = iota
	VerbEPRT
	Verb227
	Verb229
	VerbLPRT
	Verb228
)

// String returns the command, or the reply's code.
func (v Verb) String() string {
	if int(v) < len(verbNames) {
		return verbNames[v]
	}
	return "unknown"
}

var verbNames = [...]string{"PORT", "EPRT", "227", "229", "LPRT", "228"}

// Offer is the announcement of a data connection that may be opened.
type Offer struct {
	Verb Verb
	Mode Mode
	// Reason tells how the announced address was understood.
	Reason Reason
	// Announced is what the line says. In a 229 reply without an address it
	// is the server's.
	Announced netip.AddrPort
	// Source opens the data connection; its address as the firewall sees it
	// before any translation.
	Source netip.Addr
	// Public is where it connects to, before any translation. Its port is
	// the announced one; the caller may choose another if NAT is set.
	Public netip.AddrPort
	// Target is the host and port at which the data connection ends.
	Target netip.AddrPort
	// Text is the address that the other side is to be told.
	Text netip.Addr
	// NAT tells that the data connection is translated like its control
	// connection, or from another port.
	NAT bool
	// Ports are those one of which is to be announced; the zero value: its own, or
	// with NAT another one.
	Ports PortRange

	line   span   // the numbers in the line: all of them, or the port of a 229
	start  uint32 // sequence number of the line's first byte
	text   []byte // the part of the line that may change; valid while the segment is handled
	delim  byte   // between the address and the port of an RFC 2428 form, if it has an address
	mapped bool   // the address is an IPv4 one in the form of IPv6
	other  bool   // it goes on in the other form: EPRT as PORT, 227 as 229
	single bool   // it is all of a reply
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

// parseActive reads PORT, EPRT or LPRT. What servers skip may follow the numbers,
// and nothing else.
func (c *Conn) parseActive(cmd command, start uint32, line []byte, arg int) (*Offer, Reason) {
	o := c.newOffer(VerbPORT, Active, start, line)
	var n int
	var r Reason
	switch cmd {
	case cmdPORT:
		o.Announced, n, r = parseHostPort(line[arg:], true)
		o.line = span{arg, arg + n}
	case cmdLPRT:
		o.Verb = VerbLPRT
		o.Announced, n, r = parseLong(line[arg:], true)
		o.line = span{arg, arg + n}
	default:
		o.Verb = VerbEPRT
		n, r = o.parseEPRT(line, arg)
	}
	if r == ReasonPlain && len(bytes.Trim(line[arg+n:], skipped)) > 0 {
		r = ReasonSyntax
	}
	return o, r
}

// skipped is what servers skip behind the numbers of PORT, EPRT or LPRT.
const skipped = " \t.\r\x00"

func (o *Offer) parseEPRT(line []byte, arg int) (int, Reason) {
	e, n, r := parseExtended(line[arg:])
	if r == ReasonPlain && (!e.AddrPort.Addr().IsValid() || e.family.from == e.family.to) {
		r = ReasonSyntax
	}
	o.extended(line, arg, &e)
	return n, r
}

// extended takes over a form of RFC 2428 that was read at a place of the line.
func (o *Offer) extended(line []byte, at int, e *extended) {
	o.Announced, o.line = e.AddrPort, span{at + e.port.from, at + e.port.to}
	if e.AddrPort.Addr().IsValid() {
		o.line.from, o.delim = at+e.addr.from, line[at]
	}
}

// passive handles a line of a reply that may announce a port; its text starts at
// from. The reply counts only if a command waits for one; either form may
// answer either command, as some servers do. It reports whether that is what the
// line is about.
func (c *Conn) passive(code int, start uint32, line []byte, from int, last bool) bool {
	if !isPassiveCode(code) {
		return false
	}
	o := c.newOffer([...]Verb{Verb227, Verb228, Verb229}[code-227], Passive, start, line)
	o.single = last && !c.later
	r := o.parseReply(line, from)
	asked, any := c.pending.takeAsked(last)
	if asked.told.is229() && code == 227 {
		c.passive64(o, r, asked.told)
	}
	inside := c.inside
	c.inside = !last && (inside || r == ReasonPlain)
	switch {
	case r != ReasonPlain && (!last || inside): // just words, the address is elsewhere in the reply
		return true
	case r == ReasonSyntax && !any: // as "227 Logout.", the goodbye of a server
		return false
	case !any && c.checks.has(CheckAsked):
		r = ReasonUnasked
	case c.epsvAll && c.checks.has(CheckEPSVAll) && asked.cmd != cmdEPSV:
		r = ReasonEPSVAll
	case asked.ahead && c.checks.has(CheckAnswered):
		r = ReasonPipelined
	case r == ReasonPlain && len(line)-o.line.to > maxTrailing && c.checks.has(CheckTrailing):
		r = ReasonTrailing
	}
	c.offer(o, r)
	return true
}

// maxTrailing is how many characters may follow the numbers of a reply if the
// policy checks it; the eight are those of other firewalls.
const maxTrailing = 8

// parseReply finds what a 227, 228 or 229 reply announces.
func (o *Offer) parseReply(line []byte, from int) Reason {
	if o.Verb == Verb229 {
		return o.parse229(line, from)
	}
	parse := parseHostPort
	if o.Verb == Verb228 {
		parse = parseLong
	}
	ap, at, r := findList(line[from:], parse)
	o.Announced, o.line = ap, span{from + at.from, from + at.to}
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
			o.extended(line, at, &e)
			return ReasonPlain
		}
		if line[i] == '(' {
			r = why
		}
	}
	return r
}

// offer judges an offer that was read, reports it, and returns whether it
// stands.
func (c *Conn) offer(o *Offer, r Reason) bool {
	if a := o.Announced.Addr(); a.Is4In6() && c.ep.Client.Addr().Is4() {
		o.Announced, o.mapped = netip.AddrPortFrom(a.Unmap(), o.Announced.Port()), true
	}
	if r == ReasonPlain {
		r = c.judge(o)
	}
	if r != ReasonPlain {
		if o.other {
			o.text = c.kept(o.start, o.text, o.line.to)
			c.Decline(o)
		}
		c.events = append(c.events, Event{Kind: EventRefused, Reason: r, Offer: o})
		return false
	}
	n := o.line.to
	if c.nat64 != not64 { // all of it may change, see Decline
		n = len(o.text)
	}
	o.text = c.kept(o.start, o.text, n)
	if c.cur.guess {
		c.events = append(c.events, Event{Kind: EventRefused, Reason: ReasonLineStart, Offer: o, Announce: true})
		return false
	}
	c.pending.newOffer()
	c.offered = true
	c.events = append(c.events, Event{Kind: EventOffer, Reason: o.Reason, Offer: o})
	return true
}

// kept returns a copy of the part of a line that an edit replaces, as the
// stream's buffer is used again: at least the first n bytes, and up to the segment
// being handled, so that nothing of earlier segments is needed any more.
func (c *Conn) kept(start uint32, line []byte, n int) []byte {
	text := append([]byte(nil), line...)
	for range c.stream[c.cur.dir].returns {
		text = append(text, '\r')
	}
	return text[:max(n, int(int32(c.cur.seq-start)))]
}
