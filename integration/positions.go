// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"strings"
)

// Position is a place of the firewall between client and server, with its
// administrator's ruleset.
type Position struct {
	Name string
	// Firewalls is the number of firewalls in a row; 0 means 1.
	Firewalls int
	// Families the position is for; nil means both.
	Families []Family
	// Dialled are the ports the client connects to, and Listening those of the
	// server, in the same order; nil means 21, and Listening nil means the same
	// as Dialled.
	Dialled, Listening []uint16
	// Ports is the value of --port; empty means 21.
	Ports string
	// Target is what the client connects to; nil means the server's address.
	Target Pair
	// ServerLocal and ClientLocal put that end on the firewall host.
	ServerLocal, ClientLocal bool
	// Hidden removes the routes to the clients from the server's side: only
	// translated connections get an answer.
	Hidden bool
	// NAT has the rules of the chains pre (dstnat) and post (srcnat) per
	// firewall.
	NAT []NAT
}

// NAT is the body of the nat chains of one firewall; %D stands for the dialled
// ports, and %P for the map from dialled to listening ports.
type NAT struct{ Pre, Post string }

// The translations that an administrator writes. Destination NAT applies only to
// packets for the firewall itself.
const (
	masquerade = `oifname "out*" masquerade`
	snat       = `oifname "out*" meta nfproto ipv4 snat ip to 203.0.113.88
		oifname "out*" meta nfproto ipv6 snat ip6 to 2001:db8:113::88`
	dnat = `iifname "in*" fib daddr type local tcp dport %D dnat ip to 203.0.113.2:tcp dport map { %P }
		iifname "in*" fib daddr type local tcp dport %D dnat ip6 to [2001:db8:113::2]:tcp dport map { %P }`
)

// Positions are all positions of the firewall that the tests run in.
var Positions = []Position{
	{Name: "routed"},
	{Name: "snat", Hidden: true, NAT: []NAT{{Post: snat}}},
	{Name: "masquerade", Hidden: true, NAT: []NAT{{Post: masquerade}}},
	{Name: "dnat", Target: clientGate, NAT: []NAT{{Pre: dnat}}},
	{Name: "dnat-to-2121", Target: clientGate, Listening: []uint16{2121}, NAT: []NAT{{Pre: dnat}}},
	{Name: "dnat-from-2121", Target: clientGate, Dialled: []uint16{2121}, Listening: []uint16{21},
		Ports: "2121", NAT: []NAT{{Pre: dnat}}},
	{Name: "both-nat", Target: clientGate, Hidden: true, NAT: []NAT{{Pre: dnat, Post: masquerade}}},
	{Name: "nat66", Families: []Family{IPv6}, Target: clientGate, Hidden: true,
		NAT: []NAT{{Pre: dnat, Post: snat}}},
	{Name: "server-on-firewall", Target: clientGate, ServerLocal: true},
	{Name: "client-on-firewall", ClientLocal: true},
	{Name: "two-firewalls", Firewalls: 2},
	{Name: "two-firewalls-nat", Firewalls: 2, Target: midFar, Hidden: true,
		NAT: []NAT{{Post: masquerade}, {Pre: dnat}}},
	{Name: "control-ports", Hidden: true, NAT: []NAT{{Post: masquerade}}, Ports: "21,2121,8021-8025",
		Dialled: []uint16{21, 2121, 8021, 8023, 8025}},
}

// position returns the position with this name, which must exist.
func position(name string) Position {
	for _, p := range Positions {
		if p.Name == name {
			return p
		}
	}
	panic("no position " + name)
}

func (p Position) firewalls() int { return max(p.Firewalls, 1) }

func (p Position) families() []Family {
	if p.Families == nil {
		return []Family{IPv4, IPv6}
	}
	return p.Families
}

func (p Position) dialled() []uint16 {
	if p.Dialled == nil {
		return []uint16{21}
	}
	return p.Dialled
}

func (p Position) listening() []uint16 {
	if p.Listening == nil {
		return p.dialled()
	}
	return p.Listening
}

func (p Position) portFlag() string {
	if p.Ports == "" {
		return "21"
	}
	return p.Ports
}

// Dial is what a client connects to for the i-th control port.
func (p Position) Dial(f Family, i int) netip.AddrPort {
	target := p.Target
	if target == nil {
		target = serverAddr
	}
	return netip.AddrPortFrom(target[f], p.dialled()[i])
}

// Chains are the administrator's chains that data connections traverse.
func (p Position) Chains() []string {
	if p.ServerLocal || p.ClientLocal {
		return []string{"inet/filter/input", "inet/filter/output"}
	}
	return []string{"inet/filter/forward"}
}

// Allow is how the administrator's ruleset accepts data connections.
type Allow string

// The values of --allow.
const (
	AllowRelated Allow = "related"
	AllowMark    Allow = "mark"
	AllowChain   Allow = "chain"
)

// accept is the rule for established and related connections.
func (a Allow) accept() string {
	switch a {
	case AllowRelated:
		return "ct state established,related accept"
	case AllowMark:
		return "ct state established accept\n\t\tct mark & 0x04000000 == 0x04000000 accept"
	default:
		return "ct state established accept"
	}
}

// flag is the value of --allow in this position.
func (a Allow) flag(p Position) string {
	if a == AllowChain {
		return "chain=" + strings.Join(p.Chains(), ",")
	}
	return string(a)
}

// Ruleset is the administrator's ruleset of the i-th firewall: it drops
// everything but control connections from the clients' side and what a allows.
func (p Position) Ruleset(i int, a Allow) string {
	ports := portSet(p.listening())
	control := "tcp dport " + ports + " ct state new accept"
	var input, forward, output string
	switch {
	case p.ServerLocal:
		input = `iifname "in*" ` + control
	case p.ClientLocal:
		output = `oifname "out*" ` + control
	default:
		forward = `iifname "in*" oifname "out*" ` + control
	}
	text := fmt.Sprintf(filterText, a.accept(), input, forward, output)
	if i < len(p.NAT) {
		nat := p.NAT[i]
		fill := strings.NewReplacer("%D", portSet(p.dialled()), "%P", p.portMap())
		text += fmt.Sprintf(natText, fill.Replace(nat.Pre), nat.Post)
	}
	if p.firewalls() > 1 && i == 0 {
		// The first firewall sees the port that the client dials.
		text = strings.ReplaceAll(text, ports, portSet(p.dialled()))
	}
	return text
}

// filterText takes the accept rule and the rules of input, forward and output.
// Output is dropped, too: otherwise a server on the firewall could open active
// data connections without help. Neighbour discovery is IP, and needs a rule.
const filterText = `table inet filter {
	chain common {
		iifname "lo" accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept
		%s
	}
	chain input {
		type filter hook input priority filter; policy drop;
		jump common
		%s
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		jump common
		%s
	}
	chain output {
		type filter hook output priority filter; policy drop;
		oifname "lo" accept
		jump common
		%s
	}
}
`

const natText = `table inet nat {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		%s
	}
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		%s
	}
}
`

func portSet(ports []uint16) string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = fmt.Sprint(p)
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}

// portMap is the map from dialled to listening ports, in nft syntax.
func (p Position) portMap() string {
	var pairs []string
	for i, d := range p.dialled() {
		pairs = append(pairs, fmt.Sprintf("%d : %d", d, p.listening()[i]))
	}
	return strings.Join(pairs, ", ")
}
