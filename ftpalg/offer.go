// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "net/netip"

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

// The forms of an offer: a command, or the reply to PASV or EPSV.
const (
	VerbPORT Verb = iota
	VerbEPRT
	Verb227
	Verb229
)

// String returns the command, or the reply's code.
func (v Verb) String() string {
	return [...]string{"PORT", "EPRT", "227", "229"}[v&3]
}

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
	// connection.
	NAT bool

	line  span   // the numbers in the line: all of them, or the port of a 229
	start uint32 // sequence number of the line's first byte
	text  []byte // the line up to and with the numbers; valid while the segment is handled
	words span   // free text of the line that may change
	delim byte   // of RFC 2428 forms
}

// Direction returns the direction of the control connection in which the
// offer was sent.
func (o *Offer) Direction() Direction {
	if o.Mode == Active {
		return Original
	}
	return Reply
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
