// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "net/netip"

// Repair says which foreign addresses in an offer are replaced by that of
// the control connection's peer.
type Repair uint8

const (
	// RepairUnusable replaces addresses that nobody can use: unspecified,
	// loopback, link-local. Passive offers only. The default.
	RepairUnusable Repair = iota
	// RepairNone replaces nothing.
	RepairNone
	// RepairPrivate replaces those and private addresses (RFC 1918, 4193 and
	// 6598), in active offers too.
	RepairPrivate
	// RepairAll replaces every foreign address, in active offers too.
	RepairAll
)

// DefaultMinDataPort is the lowest port that an offer may name by default
// (RFC 2577 section 3).
const DefaultMinDataPort = 1024

// Policy is what the administrator allows. The zero value is the default.
type Policy struct {
	// ThirdParty believes offers that name a third host (FXP).
	ThirdParty bool
	// Repair says which foreign addresses are replaced.
	Repair Repair
	// MinDataPort is the lowest port that an offer may name; 0 stands for
	// DefaultMinDataPort.
	MinDataPort uint16
	// Advertise maps an address inside to the one that is to be announced
	// for it, where a translator further out is not ours.
	Advertise map[netip.Addr]netip.Addr
	// DenyTLS makes AUTH fail: the server is sent a command that it does not
	// know in its place, and answers with an error itself.
	DenyTLS bool
}

func (p *Policy) minPort() uint16 {
	if p.MinDataPort == 0 {
		return DefaultMinDataPort
	}
	return p.MinDataPort
}

// repairs reports whether a foreign address in an offer of mode m is to be
// replaced.
func (p *Policy) repairs(m Mode, a netip.Addr) bool {
	switch p.Repair {
	case RepairUnusable:
		return m == Passive && unusable(a)
	case RepairPrivate:
		return unusable(a) || private(a)
	case RepairAll:
		return true
	}
	return false
}

// advertise returns the first address that Advertise gives for one of the
// addresses, else fallback.
func (p *Policy) advertise(fallback netip.Addr, inside ...netip.Addr) netip.Addr {
	if len(p.Advertise) == 0 {
		return fallback
	}
	for _, a := range inside {
		if out, ok := p.Advertise[a]; ok {
			return out
		}
	}
	return fallback
}

// Endpoints are the addresses of a control connection as the connection
// tracker knows them. Without NAT Client equals SeenAs and Dialled equals
// Server.
type Endpoints struct {
	Client  netip.AddrPort // source of the original direction
	Dialled netip.AddrPort // destination of the original direction
	Server  netip.AddrPort // source of the reply direction
	SeenAs  netip.AddrPort // destination of the reply direction: the client as the server sees it
}

// NAT reports whether an address of the connection is translated here.
func (e *Endpoints) NAT() bool {
	return e.Client.Addr() != e.SeenAs.Addr() || e.Dialled.Addr() != e.Server.Addr()
}

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

// judge decides what an offer of the announced address is worth and fills in
// who may connect to where. It returns ReasonPlain if the offer stands.
func (c *Conn) judge(o *Offer) Reason {
	switch port := o.Announced.Port(); {
	case c.epsvAll && o.Verb != Verb229:
		return ReasonEPSVAll
	case port == 0:
		return ReasonPortZero
	case port < c.policy.minPort():
		return ReasonPortLow
	case o.Announced.Addr().Is4() != c.ep.Client.Addr().Is4() && o.Announced.Addr().IsValid():
		return ReasonFamily
	}
	if o.Mode == Active {
		return c.judgeActive(o)
	}
	c.judgePassive(o)
	return ReasonPlain
}

func (c *Conn) judgeActive(o *Offer) Reason {
	e, p, a := &c.ep, c.policy, o.Announced.Addr()
	own, seen := e.Client.Addr(), e.SeenAs.Addr()
	out := p.advertise(seen, own, seen)
	c.open(o, e.Server.Addr(), e.SeenAs.Addr(), own)
	o.Text = out
	switch {
	case a == own:
		o.Reason = ReasonOffered
	case a == seen || a == out:
		o.Reason, o.Text = ReasonTranslated, a
	case p.repairs(Active, a):
		o.Reason = ReasonRepaired
	case p.ThirdParty:
		c.openThirdParty(o)
	default:
		return ReasonForeignAddress
	}
	return ReasonPlain
}

func (c *Conn) judgePassive(o *Offer) {
	e, p, a := &c.ep, c.policy, o.Announced.Addr()
	own, seen := e.Server.Addr(), e.Dialled.Addr()
	out := p.advertise(seen, own, seen)
	c.open(o, e.Client.Addr(), seen, own)
	o.Text = out
	switch {
	case !a.IsValid(): // 229: no address in the text
		o.Announced = netip.AddrPortFrom(own, o.Announced.Port())
		o.Text, o.Reason = own, ReasonOffered
	case a == own:
		o.Reason = ReasonOffered
	case a == seen || a == out:
		o.Reason, o.Text = ReasonTranslated, a
	case p.repairs(Passive, a):
		o.Reason = ReasonRepaired
	case p.ThirdParty:
		c.openThirdParty(o)
	default:
		o.Reason, o.Text = ReasonForeignText, a
	}
}

// open fills in a data connection between the two ends of the control
// connection.
func (c *Conn) open(o *Offer, source, public, target netip.Addr) {
	o.Source = source
	o.Public = netip.AddrPortFrom(public, o.Announced.Port())
	o.Target = netip.AddrPortFrom(target, o.Announced.Port())
	o.NAT = c.ep.NAT()
}

// openThirdParty fills in a data connection to the announced host itself.
func (c *Conn) openThirdParty(o *Offer) {
	o.Reason, o.Text, o.NAT = ReasonThirdParty, o.Announced.Addr(), false
	o.Public, o.Target = o.Announced, o.Announced
}
