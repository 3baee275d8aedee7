// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "net/netip"

func (c *terms) judgePort(o *Offer) Reason {
	switch port := o.Announced.Port(); {
	case o.Mode == Active && c.policy.NoActive, o.Mode == Passive && c.policy.NoPassive:
		return ReasonMode
	case c.policy.deniesAll(o.Mode):
		return ReasonCommandDenied
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

func (c *terms) judgeActive(o *Offer) Reason {
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

func (c *terms) judgePassive(o *Offer) Reason {
	e, p, a := &c.ep, c.policy, o.Announced.Addr()
	own, seen := e.Server.Addr(), e.Dialled.Addr()
	if ext, ok := p.External[own]; ok && a.IsValid() && seen != own {
		seen = ext
	}
	out := p.advertise(seen, own, seen)
	// A reply may come through a translator between IPv6 and IPv4, or from a
	// server that has nothing better to announce over IPv6.
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
func (c *terms) open(o *Offer, source, public, target netip.Addr) {
	o.Source = source
	o.Public = netip.AddrPortFrom(public, o.Announced.Port())
	o.Target = netip.AddrPortFrom(target, o.Announced.Port())
	o.Ports = c.policy.MapPorts
	o.NAT = c.ep.NAT() || o.Ports.High != 0
	if o.Verb == VerbDefault { // no one is told another port
		port := c.ep.SeenAs.Port()
		o.Public, o.Ports, o.NAT = c.ep.SeenAs, PortRange{port, port}, c.ep.NAT()
		o.SourcePort = c.ep.Server.Port() - 1
	}
}

// openThirdParty fills in a data connection to the announced host itself.
func (c *terms) openThirdParty(o *Offer) {
	o.Reason, o.Text, o.NAT, o.Ports = ReasonThirdParty, o.Announced.Addr(), false, PortRange{}
	o.Public, o.Target = o.Announced, o.Announced
}

// literal64 reports whether an offer in IPv6 names an IPv4 address that stands
// for its sender: its program uses IPv4, through a translator of its own host
// (464XLAT, RFC 6877), or asked with PASV. The text is correct, or the IPv4
// connection corrects it.
func (c *terms) literal64(o *Offer) bool {
	a := o.Announced.Addr()
	if c.nat64 == not64 || !a.Is4() || c.ep.Client.Addr().Is4() {
		return false
	}
	role, t := c.policy.role64(&c.ep)
	if o.Mode == Active {
		return role == checks64 && inside64(a)
	}
	return a == t.Embedded(c.ep.Dialled.Addr())
}
