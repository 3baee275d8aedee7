// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pasvport/pasvport/rules"
)

// String describes the connections of the policy.
func (p *Policy) String() string {
	var parts []string
	add := func(name string, list []string) {
		if len(list) > 0 {
			parts = append(parts, name+" "+strings.Join(list, ","))
		}
	}
	add("port", portNames(p.Ports))
	add("client", textsOf(p.Clients))
	add("server", textsOf(p.Servers))
	if len(parts) == 0 {
		return "all connections"
	}
	return strings.Join(parts, ", ")
}

func textsOf(networks []netip.Prefix) []string {
	list := make([]string, len(networks))
	for i, n := range networks {
		list[i] = n.String()
		if n.IsSingleIP() {
			list[i] = n.Addr().String()
		}
	}
	return list
}

// doubtPolicies finds the policies that never apply: to no connection that is
// read, or only to connections that earlier policies match.
func (c Config) doubtPolicies(say func(hint, format string, args ...any)) {
	all := region{spansOf(slices.Concat(c.Ports, c.TLSPorts)), whole, whole}
	before := []region{none}
	for i := range c.Policies {
		p := &c.Policies[i]
		own := p.region()
		mine := all.and(own)
		name := fmt.Sprintf("policy %d (%s)", i+1, p)
		switch {
		case mine.empty():
			say("add its ports to port or tls-port, or take it out", "%s never holds: none of its ports is a control port", name)
		case covered(mine, before[:1], new(int)):
			say("take it out, or give both ends networks of one family", "%s never holds: an IPv4 client has no IPv6 server", name)
		case covered(mine, before, new(int)):
			say("put it first, or take it out", "%s never holds: %s first", name, c.hides(i, mine, before))
		}
		before = append(before, own)
	}
}

// hides returns which earlier policies match all connections of policy i.
func (c Config) hides(i int, mine region, before []region) string {
	for j, r := range before[1:] {
		if covered(mine, []region{none, r}, new(int)) {
			return fmt.Sprintf("policy %d (%s) matches all of its connections", j+1, &c.Policies[j])
		}
	}
	return fmt.Sprintf("policies 1 to %d together match all of its connections", i)
}

// none are impossible connections: an IPv4 client has no IPv6 server. The
// opposite is NAT64.
var none = region{whole, ipv4, ipv6}

// A region is a set of connections: those whose port, client and server are each
// within some spans.
type region [3][]span

// span is the range between two addresses, both included. IPv4 addresses are in
// it as mapped ones, ports as the last bytes of an address.
type span struct{ low, high netip.Addr }

var whole = []span{{netip.IPv6Unspecified(), netip.AddrFrom16([16]byte(slices.Repeat([]byte{255}, 16)))}}

func (p *Policy) region() region {
	r := region{whole, whole, whole}
	if len(p.Ports) > 0 {
		r[0] = spansOf(p.Ports)
	}
	for d, list := range [][]netip.Prefix{1: p.Clients, 2: p.Servers} {
		if len(list) == 0 {
			continue
		}
		r[d] = nil
		for _, n := range list {
			r[d] = append(r[d], spansOfNetwork(n)...)
		}
	}
	return r
}

func spansOf(ports []rules.PortRange) []span {
	address := func(port uint16) netip.Addr {
		var b [16]byte
		binary.BigEndian.PutUint16(b[14:], port)
		return netip.AddrFrom16(b)
	}
	var list []span
	for _, p := range ports {
		list = append(list, span{address(p.Low), address(p.High)})
	}
	return list
}

// ipv4 and ipv6 are the addresses of the families.
var (
	ipv4 = []span{spanOf(netip.MustParsePrefix("0.0.0.0/0"))}
	ipv6 = minus(whole, ipv4)
)

// spansOfNetwork are the addresses of a network: an IPv6 network contains no IPv4
// ones, as in Policy.Matches.
func spansOfNetwork(n netip.Prefix) []span {
	if list := []span{spanOf(n)}; n.Addr().Is6() {
		return minus(list, ipv4)
	}
	return []span{spanOf(n)}
}

func spanOf(n netip.Prefix) span {
	low := n.Masked().Addr().As16()
	high := low
	bits := n.Bits()
	if n.Addr().Is4() {
		bits += 96
	}
	for i := bits; i < 128; i++ {
		high[i/8] |= 1 << (7 - i%8)
	}
	return span{netip.AddrFrom16(low), netip.AddrFrom16(high)}
}

func (r region) empty() bool {
	return slices.ContainsFunc(r[:], func(list []span) bool { return len(list) == 0 })
}

func (r region) and(o region) region {
	for d := range r {
		r[d] = both(r[d], o[d])
	}
	return r
}

// maxSteps limits the search for policies that hide another one.
const maxSteps = 100_000

// covered reports whether each connection of a region is in one of the others.
// What lies outside the first one, in one dimension after the other, must be in
// the rest.
func covered(r region, others []region, steps *int) bool {
	switch {
	case r.empty():
		return true
	case len(others) == 0 || *steps > maxSteps:
		return false
	}
	*steps++
	for d := range r {
		outside := r
		outside[d] = minus(r[d], others[0][d])
		if !covered(outside, others[1:], steps) {
			return false
		}
		r[d] = both(r[d], others[0][d])
	}
	return true
}

// both is the intersection of two lists.
func both(a, b []span) (list []span) {
	for _, x := range a {
		for _, y := range b {
			s := span{later(x.low, y.low), earlier(x.high, y.high)}
			if s.low.Compare(s.high) <= 0 {
				list = append(list, s)
			}
		}
	}
	return list
}

// minus is what is in a and not in b.
func minus(a, b []span) []span {
	for _, y := range b {
		var rest []span
		for _, x := range a {
			if y.high.Compare(x.low) < 0 || x.high.Compare(y.low) < 0 {
				rest = append(rest, x)
				continue
			}
			if x.low.Compare(y.low) < 0 {
				rest = append(rest, span{x.low, y.low.Prev()})
			}
			if y.high.Compare(x.high) < 0 {
				rest = append(rest, span{y.high.Next(), x.high})
			}
		}
		a = rest
	}
	return a
}

func later(a, b netip.Addr) netip.Addr {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

func earlier(a, b netip.Addr) netip.Addr {
	if a.Compare(b) < 0 {
		return a
	}
	return b
}
