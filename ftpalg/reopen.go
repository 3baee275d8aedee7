// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "net/netip"

// Reopen judges a data connection that was offered, and opened, before: to
// another engine, under another policy, or according to someone's claim. It
// returns ReasonPlain if an offer on a control connection between these endpoints
// may still open what o says: who may connect (Source), to where (Public), and to
// whom that leads (Target), with or without translation (NAT).
func (p *Policy) Reopen(ep Endpoints, o *Offer) Reason {
	if !o.Source.IsValid() || o.Public.Port() == 0 || !o.Public.Addr().IsValid() {
		return ReasonSyntax
	}
	c := newTerms(ep, p)
	own := ep.Server.Addr()
	if o.Mode == Active {
		own = ep.Client.Addr()
	}
	r := c.reopens(o, netip.AddrPortFrom(own, o.Target.Port()))
	if r != ReasonPlain && p.ThirdParty && o.Target.Addr() != own {
		r = c.reopens(o, o.Target)
	}
	return r
}

// reopens judges a new offer with the announced address, which must have the same
// result as o.
func (c *terms) reopens(o *Offer, announced netip.AddrPort) Reason {
	again := Offer{Mode: o.Mode, Announced: announced}
	r := c.judgePort(&again)
	switch {
	case r != ReasonPlain:
		return r
	case announced.Addr().Is4() != c.ep.Client.Addr().Is4():
		return ReasonFamily
	case o.Mode == Active:
		r = c.judgeActive(&again)
	default:
		r = c.judgePassive(&again)
	}
	switch {
	case r != ReasonPlain:
		return r
	case again.Source != o.Source || again.Target != o.Target || again.NAT != o.NAT || again.Public.Addr() != o.Public.Addr():
		return ReasonForeignAddress
	case !again.Ports.Has(o.Public.Port()):
		return ReasonPortRange
	case again.Public.Port() == o.Public.Port():
		return ReasonPlain
	case !o.NAT:
		return ReasonForeignAddress
	case o.Public.Port() < DefaultMinDataPort: // translated ports are chosen above it
		return ReasonPortLow
	}
	return ReasonPlain
}
