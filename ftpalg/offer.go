// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
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

// The forms of an offer: a command, the reply to PASV, EPSV or LPSV, or none.
const (
	VerbPORT Verb = iota
	VerbEPRT
	Verb227
	Verb229
	VerbLPRT
	Verb228
	VerbDefault // a transfer without any of them: the default data port, which no text names
)

// String returns the command, or the reply's code.
func (v Verb) String() string {
	if int(v) < len(verbNames) {
		return verbNames[v]
	}
	return "unknown"
}

var verbNames = [...]string{"PORT", "EPRT", "227", "229", "LPRT", "228", "default"}

// Offer is the announcement of a data connection that may be opened.
type Offer struct {
	Verb Verb
	Mode Mode
	// Reason says how the announced address was understood.
	Reason Reason
	// Announced is the address in the line. In a 229 reply without an address it
	// is the server's.
	Announced netip.AddrPort
	// Source opens the data connection; its address as the firewall sees it
	// before any translation.
	Source netip.Addr
	// SourcePort is the port that it must come from; 0 for any.
	SourcePort uint16
	// Public is the destination before any translation. Its port is the announced
	// one; the caller may choose another if NAT is set.
	Public netip.AddrPort
	// Target is the host and port at which the data connection ends.
	Target netip.AddrPort
	// Text is the address that the other side must be told.
	Text netip.Addr
	// NAT says that the data connection is translated like its control
	// connection, or from another port.
	NAT bool
	// Ports are the ports of which one must be announced; the zero value: its
	// own, or with NAT another one.
	Ports PortRange

	line   span   // the numbers in the line: all of them, or the port of a 229
	start  uint32 // sequence number of the line's first byte
	text   []byte // the part of the line that may change; valid while the segment is handled
	delim  byte   // between the address and the port of an RFC 2428 form, if it has an address
	mapped bool   // the address is an IPv4 one in the form of IPv6
	other  bool   // forwarded in the other form: EPRT as PORT, 227 as 229
	single bool   // it is the whole reply
}

// skipped are the characters that servers skip after the numbers of PORT, EPRT or
// LPRT.
const skipped = " \t.\r\x00"

func (o *Offer) parseEPRT(line []byte, arg int) (int, Reason) {
	e, n, r := parseExtended(line[arg:])
	if r == ReasonPlain && (!e.AddrPort.Addr().IsValid() || e.family.from == e.family.to) {
		r = ReasonSyntax
	}
	o.extended(line, arg, &e)
	return n, r
}

// extended takes over a form of RFC 2428 that was read at a position of the line.
func (o *Offer) extended(line []byte, at int, e *extended) {
	o.Announced, o.line = e.AddrPort, span{at + e.port.from, at + e.port.to}
	if e.AddrPort.Addr().IsValid() {
		o.line.from, o.delim = at+e.addr.from, line[at]
	}
}

// maxTrailing is how many characters may follow the numbers of a reply if the
// policy checks that; other firewalls permit eight, too.
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
// parentheses, otherwise the first one that is valid.
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

// PortRange is a range of ports, both ends included.
type PortRange struct{ Low, High uint16 }

// Has reports whether a port is in the range; the zero value contains all.
func (r PortRange) Has(port uint16) bool { return r.High == 0 || r.Low <= port && port <= r.High }
