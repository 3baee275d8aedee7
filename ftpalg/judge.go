// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "net/netip"

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
