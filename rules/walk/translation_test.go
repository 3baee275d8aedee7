// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/integration/stage"
)

// TestTranslation: a control connection is walked with the destination that the
// nat chains give it. The same with iptables, if it accepts the rule.
func TestTranslation(t *testing.T) {
	n := stage.New(t)
	const accept, drop, whether = "accept filter/forward", "drop filter/forward policy", " if whether it is translated"
	unsure := []string{drop + whether, accept + whether}
	for _, tt := range []struct {
		name, nat string
		dialled   uint16
		rule      string
		want      []string
		answer    []string // of an answer, if of interest
	}{
		{"no nat", "", 21, "ct status dnat accept", []string{drop}, []string{drop}},
		{"nat of another port", "tcp dport 80 dnat to 192.0.2.7", 21, "ct status dnat accept", []string{drop}, []string{drop}},
		{"nat of UDP", "udp dport 21 dnat to 192.0.2.7", 21, "ct status dnat accept", []string{drop}, nil},
		{"source only", "", 21, "ct status snat accept", []string{drop}, []string{accept + whether, drop}},
		{"nat", "tcp dport 21 dnat to 192.0.2.7", 21, "ct status dnat accept", []string{accept}, []string{accept}},
		{"nat, ports asked", "tcp dport 21 dnat to 192.0.2.7", 21, "tcp dport 21 accept", []string{accept}, nil},
		{"nat under a condition", `iifname "wan" tcp dport 21 dnat to 192.0.2.7`, 21, "ct status dnat accept", unsure, nil},
		{"nat under a condition, ports asked", `iifname "wan" tcp dport 21 dnat to 192.0.2.7`, 21, "tcp dport 21 accept", []string{accept}, nil},
		{"another port", "tcp dport 2121 dnat to 192.0.2.7:21", 2121, "tcp dport 21 accept", []string{accept}, nil},
		{"another port, the old one asked", "tcp dport 2121 dnat to 192.0.2.7:21", 2121, "tcp dport 2121 accept", []string{drop}, nil},
		{"another port, the one that was dialled asked", "tcp dport 2121 dnat to 192.0.2.7:21", 2121, "meta l4proto tcp ct original proto-dst 2121 accept", []string{accept}, []string{accept}},
		{"another port, answers from it", "tcp dport 2121 dnat to 192.0.2.7:21", 2121, "tcp sport 21 accept", []string{drop}, []string{accept}},
		{"another port under a condition", `iifname "wan" tcp dport 2121 dnat to 192.0.2.7:21`, 2121, "tcp dport 21 accept", unsure, nil},
		{"a map of ports", "meta l4proto tcp dnat to 192.0.2.7:tcp dport map { 21 : 2121, 22 : 2222 }", 21, "tcp dport 2121 accept", []string{accept}, nil},
		{"redirection", "tcp dport 21 redirect to :2121", 21, "tcp dport 2121 accept", []string{accept}, nil},
		{"redirection without a port", "tcp dport 21 redirect", 21, "tcp dport 21 accept", []string{accept}, nil},
		{"a mark decides", "meta mark 0x7 tcp dport 21 dnat to 192.0.2.7", 21, "ct status dnat accept", []string{accept}, nil},
		{"a mark decides otherwise", "meta mark 0x8 tcp dport 21 dnat to 192.0.2.7", 21, "ct status dnat accept", []string{drop}, nil},
		{"a mark from prerouting", "", 21, "meta mark 0x7 accept", []string{accept}, nil},
		{"returned before", "tcp dport 21 return; dnat to 192.0.2.7", 21, "ct status dnat accept", []string{drop}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := read(t, n, "table ip filter {\n"+
				"chain marks { type filter hook prerouting priority mangle; meta mark set 0x7; }\n"+
				"chain pre { type nat hook prerouting priority dstnat; "+tt.nat+"; }\n"+
				"chain post { type nat hook postrouting priority srcnat; masquerade; }\n"+
				"chain forward { type filter hook forward priority filter; policy drop; "+tt.rule+"; }\n}\n")
			ports := PortRange{Low: tt.dialled, High: tt.dialled}
			c := Config{Ports: []PortRange{ports}}
			way := []Hook{HookPrerouting, HookForward}
			follow := func(p Packet) []string {
				p.Translation = r.Translation([]Hook{HookPrerouting}, ControlSYN(FamilyIPv4, ports), c)
				return told(r.Follow(way, p, c))[1:] // without the chain of marks
			}
			if d := cmp.Diff(tt.want, follow(ControlSYN(FamilyIPv4, ports))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if tt.answer == nil {
				return
			}
			if d := cmp.Diff(tt.answer, follow(ControlReply(FamilyIPv4, ports, ourBit))); d != "" {
				t.Errorf("answer (-want +got):\n%s", d)
			}
		})
	}
}

// TestTranslationByXtables: the targets of xtables are read as well.
func TestTranslationByXtables(t *testing.T) {
	stage.Need(t, "iptables-nft")
	n := stage.New(t)
	for rule, want := range map[string]PortRange{
		"-p tcp --dport 21 -j DNAT --to-destination 192.0.2.7":           {Low: 21, High: 21},
		"-p tcp --dport 21 -j DNAT --to-destination 192.0.2.7:2121":      {Low: 2121, High: 2121},
		"-p tcp --dport 21 -j DNAT --to-destination 192.0.2.7:40-50":     {Low: 40, High: 50},
		"-p tcp --dport 21 -j REDIRECT --to-ports 2121":                  {Low: 2121, High: 2121},
		"-p tcp --dport 21 -j REDIRECT":                                  {Low: 21, High: 21},
		"-p tcp -m multiport --dports 20,21 -j NETMAP --to 192.0.2.0/24": {Low: 21, High: 21},
		"-p tcp --dport 22 -j DNAT --to-destination 192.0.2.7":           {},
	} {
		n.Run(t, "iptables-nft", "-t", "nat", "-F", "PREROUTING")
		if out, err := n.Try(append([]string{"iptables-nft", "-t", "nat", "-A", "PREROUTING"}, strings.Fields(rule)...)...); err != nil {
			t.Logf("%s: not tried: %s", rule, out)
			continue
		}
		r, err := Read(n.FD)
		if err != nil {
			t.Fatal(err)
		}
		got := r.Translation([]Hook{HookPrerouting}, ControlSYN(FamilyIPv4, PortRange{Low: 21, High: 21}), Config{})
		if got.port != want || got.May() != (want != PortRange{}) {
			t.Errorf("%s: %+v, want %v", rule, got, want)
		}
	}
}
