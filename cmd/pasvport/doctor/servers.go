// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"net/netip"

	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// virtualServers judges the connections that this host opens to check the servers
// of virtual servers: if the ruleset drops them, all servers are down.
func (e *examination) virtualServers() {
	accepted, others := 0, false
	for _, v := range e.cfg.VirtualServers {
		if v.Check.Interval == 0 {
			continue
		}
		for _, s := range v.Servers {
			for _, a := range s.Addrs {
				if e.check(v.Name, s.Name, netip.AddrPortFrom(a, s.Port)) {
					accepted++
				} else {
					others = true
				}
			}
		}
	}
	if accepted > 0 && !others {
		e.found(OK, topicControl, fmt.Sprintf("checks of the servers of virtual servers are accepted (%d %s)", accepted, map[bool]string{true: "address", false: "addresses"}[accepted == 1]))
	}
}

// check judges the checks of one address, and reports whether they pass.
func (e *examination) check(virtual, name string, server netip.AddrPort) bool {
	f, word := rules.FamilyIPv4, "ip"
	if server.Addr().Is6() {
		f, word = rules.FamilyIPv6, "ip6"
	}
	packet := walk.ControlSYN(f, rules.PortRange{Low: server.Port(), High: server.Port()})
	packet.Dst = server.Addr()
	var list []passage
	for _, walk := range e.set.Follow(out, packet, e.rules) {
		list = append(list, passage{ChainWalk: walk})
	}
	v := verdict(list)
	if v == walk.Accept {
		return true
	}
	e.report.add(Finding{
		Level: level(v), Topic: topicControl, Position: "output", Families: []string{familyNames[f]},
		Text:   fmt.Sprintf("checks of server %s of virtual server %s are %s", name, virtual, verdictWords(v)),
		Detail: e.seen(list),
		Hint:   []string{fmt.Sprintf("accept them in an output chain: %s daddr %s tcp dport %d accept", word, server.Addr(), server.Port())},
	})
	return false
}
