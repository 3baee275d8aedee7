// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"log/slog"
	"sync/atomic"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
)

// Conntrack zones. A rule in raw puts a packet into one, and the same addresses
// mean another connection in each. So a packet comes with its zone, which is part
// of the tuple by which everything here finds connections, and every conntrack
// request names it. Three things come without their zone:
//
//   - the SYN of a claimed data connection, before conntrack: it is assumed to be
//     in its master's;
//   - an invalid packet, which has no entry;
//   - an expectation that an earlier daemon left: the kernel does not report it.
//
// If the kernel does not report the zone of a queued packet, connections outside
// the default zone are not queued (rules.Config.OneZone).

// noZones is the hint for that case.
const noZones = "the kernel cannot say the zone of a queued packet (CONFIG_NETFILTER_NETLINK_GLUE_CT)"

// tupleOf is the tuple of a packet that has passed conntrack.
func tupleOf(p *nfq.Packet) expect.Tuple {
	return expect.Tuple{Src: p.Src, Dst: p.Dst, Zone: p.Zone}
}

// zones records that there are control connections in zones. From then on an
// invalid packet that fits no connection gets no reset: it may be in any zone.
type zones struct {
	log       *slog.Logger
	leftAlone bool // connections outside the default zone are not queued
	seen      atomic.Bool
}

// note records the zones of an entry of a control connection.
func (z *zones) note(e *expect.Entry) {
	if e.Original.Zone == 0 && e.Reply.Zone == 0 || z.seen.Swap(true) {
		return
	}
	if z.leftAlone {
		z.log.Warn("control connections in conntrack zones are left alone", "first", e.Original, "hint", noZones)
		return
	}
	z.log.Info("there are control connections in conntrack zones", "first", e.Original)
}
