// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/rules"
)

func TestHiddenPolicies(t *testing.T) {
	for _, tt := range []struct {
		name, policies, want string // text of the one warning; empty: none
	}{
		{"apart", "{port: 21, checks: strict}, {port: 2121, checks: strict}", ""},
		{"narrow first", "{client: 10.0.0.0/16}, {client: 10.0.0.0/8}", ""},
		{"overlap", "{client: 10.0.0.0/8, port: 21}, {client: 10.0.0.0/16}", ""},
		{"wide first", "{client: 10.0.0.0/8}, {port: 2121}, {client: 10.1.0.0/16, server: 192.0.2.1}",
			"policy 3 (client 10.1.0.0/16, server 192.0.2.1) never holds: policy 1 (client 10.0.0.0/8) matches all of its connections first"},
		{"everything first", "{checks: strict}, {port: 21}", "policy 2 (port 21) never holds: policy 1 (all connections) matches"},
		{"two halves", "{client: 10.0.0.0/9}, {client: 10.128.0.0/9}, {client: 10.0.0.0/8}",
			"policy 3 (client 10.0.0.0/8) never holds: policies 1 to 2 together match all of its connections first"},
		{"two halves of ports", "{port: 21}, {port: 2000-3000}, {client: 10.0.0.0/8}", "policy 3 (client 10.0.0.0/8) never holds: policies 1 to 2 together"},
		{"all but one address", "{client: [0.0.0.0/1, 128.0.0.0/2]}, {client: [10.0.0.1, 192.0.0.1]}", ""},
		{"another port", "{port: 22}", "policy 1 (port 22) never holds: none of its ports is a control port"},
		{"families", "{client: 10.0.0.0/8, server: 2001:db8::/32}", "never holds: an IPv4 client has no IPv6 server"},
		{"NAT64", "{client: 2001:db8::/32, server: 10.0.0.0/8}", ""},
		{"IPv6", "{client: 2001:db8::/32}, {client: 2001:db8:1::/48}", "policy 2 (client 2001:db8:1::/48) never holds"},
		{"all of IPv4", "{client: 0.0.0.0/0}, {client: \"::/0\"}", ""},
		{"all of IPv6", "{client: \"::/0\"}, {client: 10.0.0.0/8}", ""},
		{"all of both", "{client: 0.0.0.0/0}, {client: \"::/0\"}, {port: 21}", "policy 3 (port 21) never holds: policies 1 to 2 together"},
		{"what is left is no connection", "{client: \"::/0\"}, {client: [10.0.0.0/8, \"2001:db8::/32\"], server: \"2001:db8::/32\"}",
			"never holds: policy 1 (client ::/0) matches all"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, msg := load(t, "port: [21, 2121]\npolicies: ["+tt.policies+"]\n")
			if msg != "" {
				t.Fatal(msg)
			}
			var texts []string
			for _, d := range c.Doubts() {
				texts = append(texts, d.Text)
			}
			got := strings.Join(texts, "\n")
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || len(texts) > 1 {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestCovered compares with trying every connection, for random policies.
func TestCovered(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	network := func() []netip.Prefix {
		if r.IntN(3) == 0 {
			return nil
		}
		return []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(8))}), 29+r.IntN(4)).Masked()}
	}
	hidden := 0
	for range 2000 {
		var list []*Policy
		for range 2 + r.IntN(5) {
			p := &Policy{Clients: network(), Servers: network()}
			if low := uint16(r.IntN(4)); low > 0 {
				p.Ports = []rules.PortRange{{Low: low, High: low + uint16(r.IntN(3))}}
			}
			list = append(list, p)
		}
		last := list[len(list)-1]
		all := region{spansOf([]rules.PortRange{{Low: 1, High: 6}}), []span{spanOf(netip.MustParsePrefix("10.0.0.0/29"))}, []span{spanOf(netip.MustParsePrefix("10.0.0.0/29"))}}
		var before []region
		for _, p := range list[:len(list)-1] {
			before = append(before, p.region())
		}
		got := covered(all.and(last.region()), before, new(int))
		if want := neverHolds(list); got != want {
			t.Fatalf("%v: %t, want %t", fmt.Sprint(list), got, want)
		} else if got {
			hidden++
		}
	}
	if hidden < 100 {
		t.Errorf("only %d of the last policies are hidden: the test shows little", hidden)
	}
}

func neverHolds(list []*Policy) bool {
	for port := uint16(1); port <= 6; port++ {
		for c := range byte(8) {
			for s := range byte(8) {
				client, server := netip.AddrFrom4([4]byte{10, 0, 0, c}), netip.AddrFrom4([4]byte{10, 0, 0, s})
				for i, p := range list {
					if p.Matches(port, client, server) {
						if i == len(list)-1 {
							return false
						}
						break
					}
				}
			}
		}
	}
	return true
}
