// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"

	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// claims makes the conntrack entries of data connections, whose SYN is seen
// before conntrack and then finds them.
type claims struct {
	*services
	ranges *ranges
}

// claim handles such a SYN, and reports whether there is a pinhole for it. Without an
// entry of ours the administrator's rules see an ordinary packet.
func (c *claims) claim(ct conntrack, p *nfq.Packet) bool {
	if c.pinholes.Claim(ct, p.Src, p.Dst, c.settings().Control()) {
		return true
	}
	c.inRange(ct, p)
	return false
}

// inRange makes the entry of a data connection that an encrypted session's client
// opens to its server.
func (c *claims) inRange(ct conntrack, p *nfq.Packet) {
	set, port := c.settings(), p.Dst.Port()
	if !c.opensRange() || port < set.TLSRange.Low || port > set.TLSRange.High {
		return
	}
	sessions := c.ranges.all(hostPair{p.Src.Addr(), p.Dst.Addr()})
	for _, s := range sessions {
		if c.pinholes.Data.IsLive(expect.Tuple{Src: p.Src, Dst: p.Dst, Zone: s.Owner.Zone}) { // its SYN again
			return
		}
	}
	for _, s := range sessions {
		if len(c.pinholes.Data.Live(&s.Owner)) < set.TLSParallel {
			c.open(ct, s, p)
			return
		}
	}
	if len(sessions) > 0 {
		c.metrics.Pinholes.Refused.Add(1)
		c.warn(sessions[0].Subject(), "data connection of an encrypted session refused", "from", p.Src, "to", p.Dst,
			"hint", "it has as many as --tls-parallel allows")
	}
}

// open opens and uses a pinhole for the SYN p of a session.
func (c *claims) open(ct conntrack, s *session.Session, p *nfq.Packet) {
	spec := pinhole.Spec{
		Key: pinhole.Key{Source: p.Src.Addr(), Public: p.Dst}, Target: netip.AddrPortFrom(s.Ends().Server.Addr(), p.Dst.Port()),
		Mode: ftpalg.Passive, NAT: s.Ends().NAT(), Claim: true, Timeout: c.settings().PinholeTimeout,
	}
	if err := c.pinholes.ClaimRange(ct, &s.Owner, spec, p.Src, c.settings().Control()); err != nil {
		c.warn(s.Subject(), "cannot open a pinhole", "from", p.Src, "to", p.Dst, "err", err)
	}
}
