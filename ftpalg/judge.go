// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "net/netip"

// judge decides what an offer of the announced address is worth and fills in
// who may connect to where. It returns ReasonPlain if the offer stands.
func (c *Conn) judge(o *Offer) Reason {
	r := c.judgeDialogue(o)
	if r == ReasonPlain {
		r = c.judgePort(o)
	}
	switch {
	case r != ReasonPlain:
	case o.Mode == Passive:
		r = c.judgePassive(o)
	case o.Announced.Addr().Is4() != c.ep.Client.Addr().Is4() && !c.literal64(o):
		r = ReasonFamily
	default:
		r = c.judgeActive(o)
	}
	if r == ReasonPlain && !c.rate.allow(c.now, c.policy.offers()) {
		r = ReasonRate
	}
	return r
}

// judgeDialogue decides whether the dialogue so far, and the line itself, are
// such that an offer may be believed.
func (c *Conn) judgeDialogue(o *Offer) Reason {
	switch k := c.checks; {
	case c.foreign != ReasonPlain:
		return c.foreign
	case c.started && !c.greeted && k.has(CheckGreeting):
		return ReasonNoGreeting
	case c.started && !c.login && k.has(CheckLogin):
		return ReasonNotLoggedIn
	case c.epsvAll && o.Mode == Active && k.has(CheckEPSVAll):
		return ReasonEPSVAll
	case c.stream[c.cur.dir].returns == 0 && k.has(CheckLineEnd):
		return ReasonLineEnd
	case c.cur.telnet != nil:
		return ReasonTelnet
	}
	return ReasonPlain
}

func (c *Conn) judgePort(o *Offer) Reason {
	switch port := o.Announced.Port(); {
	case o.Mode == Active && c.policy.NoActive, o.Mode == Passive && c.policy.NoPassive:
		return ReasonMode
	case c.familyDenied():
		return ReasonFamilyDenied
	case port == 0:
		return ReasonPortZero
	case !c.policy.ports(o.Mode).Has(port):
		return ReasonPortRange
	case port < c.policy.minPort():
		return ReasonPortLow
	case o.Mode == Passive && port == c.ep.Server.Port():
		return ReasonControlPort
	case knownService(port) && c.checks.has(CheckServices):
		return ReasonService
	}
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
	case a == seen || a == out || c.literal64(o):
		o.Reason, o.Text = ReasonTranslated, a
	case c.nat64 == translates46 && inside64(a) || p.repairs(Active, a):
		o.Reason = ReasonRepaired
	case p.ThirdParty:
		c.openThirdParty(o)
	default:
		return ReasonForeignAddress
	}
	return ReasonPlain
}

func (c *Conn) judgePassive(o *Offer) Reason {
	e, p, a := &c.ep, c.policy, o.Announced.Addr()
	own, seen := e.Server.Addr(), e.Dialled.Addr()
	if ext, ok := p.External[own]; ok && a.IsValid() && seen != own {
		seen = ext
	}
	out := p.advertise(seen, own, seen)
	// A reply may come through a translator between IPv6 and IPv4, or from a
	// server that has nothing better to say over IPv6.
	otherFamily := a.IsValid() && a.Is4() != own.Is4()
	c.open(o, e.Client.Addr(), seen, own)
	o.Text = out
	switch {
	case !a.IsValid(): // 229: no address in the text
		o.Announced = netip.AddrPortFrom(own, o.Announced.Port())
		o.Text, o.Reason = own, ReasonOffered
	case a == own:
		o.Reason = ReasonOffered
	case a == seen || a == out || c.literal64(o):
		o.Reason, o.Text = ReasonTranslated, a
	case p.repairs(Passive, a):
		o.Reason = ReasonRepaired
	case p.ThirdParty && !otherFamily:
		c.openThirdParty(o)
	case c.checks.has(CheckPassiveAddress):
		return ReasonForeignAddress
	default:
		o.Reason, o.Text = ReasonForeignText, a
	}
	if otherFamily { // there is no room for ours
		o.Text = a
	}
	return ReasonPlain
}

// open fills in a data connection between the two ends of the control
// connection.
func (c *Conn) open(o *Offer, source, public, target netip.Addr) {
	o.Source = source
	o.Public = netip.AddrPortFrom(public, o.Announced.Port())
	o.Target = netip.AddrPortFrom(target, o.Announced.Port())
	o.Ports = c.policy.MapPorts
	o.NAT = c.ep.NAT() || o.Ports.High != 0
}

// openThirdParty fills in a data connection to the announced host itself.
func (c *Conn) openThirdParty(o *Offer) {
	o.Reason, o.Text, o.NAT, o.Ports = ReasonThirdParty, o.Announced.Addr(), false, PortRange{}
	o.Public, o.Target = o.Announced, o.Announced
}
