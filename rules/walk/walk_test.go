// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/integration/stage"
)

// read replaces all rules of n with text, and reads them back.
func read(t *testing.T, n stage.Namespace, text string) *Ruleset {
	t.Helper()
	n.Load(t, "flush ruleset\n"+text)
	r, err := Read(n.FD)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func fromFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// inForward is a ruleset with rules in a chain of forward.
func inForward(policy string, rules ...string) string {
	return fmt.Sprintf("table inet filter {\n\tset s { type inet_service; flags interval; elements = { 22, 2000-3000 }; }\n"+
		"\tset pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 20-30, 192.0.2.7 . 5000-6000 }; }\n"+
		"\tchain sub { tcp dport 22 drop; ct state related return; drop; }\n"+
		"\tchain last { tcp dport 22 accept; }\n"+
		"\tchain forward {\n\t\ttype filter hook forward priority 0; policy %s;\n\t\t%s\n\t}\n}\n", policy, strings.Join(rules, "\n\t\t"))
}

// told describes a walk: where it ends how, and on what that depends.
func told(walks []ChainWalk) []string {
	var lines []string
	for _, w := range walks {
		for _, o := range w.Outcomes {
			at := o.At.Chain.Table + "/" + o.At.Chain.Chain
			if o.Policy {
				at += " policy"
			}
			if o.Past {
				at += " past"
			}
			if len(o.Depends) > 0 {
				at += " if " + strings.Join(o.Depends, ", ")
			}
			lines = append(lines, o.Verdict.String()+" "+at)
		}
	}
	return lines
}

// String returns "accept", "drop" or "unsure".
func (v Verdict) String() string { return [...]string{"accept", "drop", "unsure"}[v] }

const ourBit = 0x04000000

// TestWalkData sends a related packet through one chain.
func TestWalkData(t *testing.T) {
	n := stage.New(t)
	policyDrop := "drop filter/forward policy"
	byRule := "accept filter/forward"
	tests := []struct {
		name, policy string
		rules        []string
		want         []string
	}{
		{"empty, accept", "accept", nil, []string{"accept filter/forward policy"}},
		{"empty, drop", "drop", nil, []string{policyDrop}},
		{"established only", "drop", []string{"ct state established accept"}, []string{policyDrop}},
		{"established and related", "drop", []string{"ct state established,related accept"}, []string{byRule}},
		{"set of states", "drop", []string{"ct state { established, related } accept"}, []string{byRule}},
		{"not new", "drop", []string{"ct state != new accept"}, []string{byRule}},
		{"not in a set", "drop", []string{"ct state != { new, invalid } accept"}, []string{byRule}},
		{"verdict map", "drop", []string{"ct state vmap { established : accept, related : accept, invalid : drop }"}, []string{byRule}},
		{"verdict map without it", "drop", []string{"ct state vmap { established : accept, invalid : drop }"}, []string{policyDrop}},
		{"mark", "drop", []string{"ct mark & 0x04000000 == 0x04000000 accept"}, []string{byRule}},
		{"another mark", "drop", []string{"ct mark & 0x1 == 0x1 accept"}, []string{policyDrop}},
		{"packet mark from ct mark", "drop", []string{"meta mark set ct mark", "meta mark & 0x04000000 == 0x04000000 accept"}, []string{byRule}},
		{"expected", "drop", []string{"ct status expected accept"}, []string{byRule}},
		{"answered", "accept", []string{"ct status seen-reply accept", "ct status & (seen-reply | assured) != 0 accept", "drop"}, []string{"drop filter/forward"}},
		{"dying", "accept", []string{"ct status dying drop"}, []string{"accept filter/forward policy"}},
		{"helper that speaks FTP", "drop", []string{`ct state related ct helper "ftp" accept`}, []string{policyDrop}},
		{"another helper", "drop", []string{`ct state related ct helper "sane" accept`}, []string{"accept filter/forward if ct helper", policyDrop}},
		{"small segments", "drop", []string{"tcp option maxseg size 1-535 drop", "tcp option maxseg size < 500 drop", "ct state related accept"}, []string{byRule}},
		{"large segments", "drop", []string{"tcp option maxseg size > 1400 drop", "ct state related accept"}, []string{"drop filter/forward if tcp option maxseg", byRule}},
		{"no segment size", "drop", []string{"tcp option maxseg missing drop", "ct state related accept"}, []string{byRule}},
		{"routing header", "accept", []string{"rt type 0 drop", "exthdr frag exists drop", "exthdr rt missing ct state related accept", "drop"}, []string{"drop filter/forward"}},
		{"groups", "drop", []string{"fib daddr type { broadcast, multicast, anycast } drop", "ct state related accept"}, []string{byRule}},
		{"segment size from the route", "drop", []string{"tcp flags syn tcp option maxseg size set rt mtu", "ct state related accept"}, []string{byRule}},
		{"a part of many", "drop", []string{"numgen inc mod 2 0 drop", "ct state related accept"}, []string{"drop filter/forward if numgen", byRule}},
		{"translated", "drop", []string{"ct status dnat accept"}, []string{"accept filter/forward if whether it is translated", policyDrop}},
		{"loopback", "drop", []string{`iifname "lo" accept`, "iif lo accept", "iiftype loopback accept"}, []string{policyDrop}},
		{"some interface", "drop", []string{`iifname "lan*" ct state related accept`}, []string{"accept filter/forward if iifname", policyDrop}},
		{"another service", "drop", []string{"tcp dport { 21, 22 } accept", "tcp dport < 1024 accept", "udp dport 5000 accept"}, []string{policyDrop}},
		{"all high ports", "drop", []string{"tcp dport 1024-65535 accept"}, []string{byRule}},
		{"high ports by comparison", "drop", []string{"tcp dport >= 1024 accept"}, []string{byRule}},
		{"some high ports", "drop", []string{"tcp dport 50000-51000 accept"}, []string{"accept filter/forward if tcp dport", policyDrop}},
		{"named interval set", "drop", []string{"tcp dport @s accept"}, []string{"accept filter/forward if tcp dport", policyDrop}},
		{"verdict map of ports", "drop", []string{"tcp dport vmap { 22 : drop, 1024-65535 : accept }"}, []string{byRule}},
		{"concatenation that cannot be", "drop", []string{"ip saddr . tcp dport { 10.0.0.0/8 . 20-30 } accept"}, []string{policyDrop}},
		{"concatenation that may be", "drop", []string{"ip saddr . tcp dport @pairs accept"}, []string{"accept filter/forward if ip saddr . tcp dport", policyDrop}},
		{"concatenation of what is known", "drop", []string{"meta l4proto . ct state { tcp . related } accept"}, []string{byRule}},
		{"jump and return", "drop", []string{"jump sub", "accept"}, []string{byRule}},
		{"goto does not come back", "drop", []string{"goto last", "accept"}, []string{policyDrop}},
		{"jump under a condition", "drop", []string{`iifname "wan" jump last`, "ct state related accept"}, []string{byRule}},
		{"return under a condition", "drop", []string{`iifname "wan" return`, "ct state related accept"}, []string{byRule, policyDrop}},
		{"reject", "accept", []string{"ct state related reject"}, []string{"drop filter/forward"}},
		{"drop after accept by port", "accept", []string{"tcp flags & (syn | ack) == syn counter log drop"}, []string{"drop filter/forward"}},
		{"rate", "drop", []string{"limit rate 10/second ct state related accept"}, []string{"accept filter/forward if limit rate", policyDrop}},
		{"payload", "drop", []string{"@ih,0,8 1 accept"}, []string{policyDrop}},
		{"protocol of the header", "drop", []string{"ip protocol tcp ct state related accept"}, []string{byRule}},
		{"address prefix", "drop", []string{"ip saddr 10.0.0.0/8 accept"}, []string{"accept filter/forward if ip saddr", policyDrop}},
		{"other family", "drop", []string{"ip6 saddr 2001:db8::/32 accept"}, []string{policyDrop}},
		{"not a local address", "accept", []string{"fib daddr type != local ct state related drop"}, []string{"drop filter/forward"}},
		{"reverse path", "accept", []string{"fib saddr . iif oif missing drop"}, []string{"accept filter/forward policy"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := read(t, n, inForward(tt.policy, tt.rules...))
			got := told(r.Walk(HookForward, DataSYN(FamilyIPv4, 1024, ourBit), Config{}))
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestWalkRulesets sends packets through rulesets that programs generate.
func TestWalkRulesets(t *testing.T) {
	n := stage.New(t)
	data, control := DataSYN(FamilyIPv4, 1024, ourBit), ControlSYN(FamilyIPv4, PortRange{Low: 21, High: 21})
	type path struct {
		hook   Hook
		packet Packet
		want   []string
	}
	tests := []struct {
		file  string
		paths []path
	}{
		{"firewalld.nft", []path{
			{HookForward, data, []string{"accept firewalld/filter_FORWARD"}},
			{HookInput, data, []string{"accept firewalld/filter_INPUT"}},
			{HookInput, control, []string{"accept firewalld/filter_INPUT if whether it is translated", "accept firewalld/filter_IN_public_allow"}},
			{HookForward, control, []string{"accept firewalld/filter_FORWARD if whether it is translated", "drop firewalld/filter_FORWARD"}},
			{HookPrerouting, data, []string{"accept firewalld/mangle_PREROUTING policy", "accept firewalld/filter_PREROUTING policy"}},
		}},
		{"ufw.nft", []path{
			{HookForward, data, []string{"accept filter/ufw-before-forward"}},
			{HookInput, data, []string{"accept filter/ufw-before-input"}},
			{HookInput, control, []string{"accept filter/ufw-user-input"}},
			{HookForward, control, []string{"drop filter/FORWARD policy"}},
			{HookOutput, control, []string{"accept filter/OUTPUT policy"}},
		}},
		{"docker.nft", []path{
			{HookForward, data, []string{
				"accept filter/DOCKER-CT if oifname",
				"drop filter/DOCKER-ISOLATION-STAGE-2 if iifname, oifname",
				"drop filter/DOCKER if oifname, iifname",
				"accept filter/DOCKER-FORWARD if iifname", "drop filter/FORWARD policy",
			}},
			{HookForward, with(data, func(p *Packet) { p.Out = "docker0" }), []string{"accept filter/DOCKER-CT"}},
			{HookForward, with(data, func(p *Packet) { p.In = "docker0"; p.Out = "eth0" }), []string{"accept filter/DOCKER-FORWARD"}},
			{HookInput, control, nil},
		}},
	}
	for _, tt := range tests {
		r := read(t, n, fromFile(t, tt.file))
		for _, p := range tt.paths {
			if d := cmp.Diff(p.want, told(r.Walk(p.hook, p.packet, Config{}))); d != "" {
				t.Errorf("%s, %s, state %#x (-want +got):\n%s", tt.file, p.hook, p.packet.State, d)
			}
		}
	}
}

func with(p Packet, change func(*Packet)) Packet { change(&p); return p }

// TestWalkOurRules: a chain that gets our rule accepts data connections, and no
// other packet, before and after the rule is installed.
func TestWalkOurRules(t *testing.T) {
	n := stage.New(t)
	c := Config{Queue: testQueue(t, n), Chains: []ChainRef{forward}}
	n.Load(t, "flush ruleset\n"+inForward("drop", "ct state established accept"))
	look := func(name string) {
		r, err := Read(n.FD)
		if err != nil {
			t.Fatal(err)
		}
		for _, ip := range []Family{FamilyIPv4, FamilyIPv6} {
			if v := Verdicts(r.Walk(HookForward, DataSYN(ip, 1024, ourBit), c)); v != Accept {
				t.Errorf("%s: %s data: %s, want accept", name, ip, v)
			}
			if v := Verdicts(r.Walk(HookForward, ControlSYN(ip, PortRange{Low: 21, High: 21}), c)); v != Drop {
				t.Errorf("%s: %s control: %s, want drop", name, ip, v)
			}
			if v := Verdicts(r.Walk(HookForward, DataReply(ip, 1024, ourBit), c)); v != Accept {
				t.Errorf("%s: %s reply: %s, want accept", name, ip, v)
			}
			if v := Verdicts(r.Walk(HookForward, DataSYN(ip, 1024, ourBit), Config{Table: "other"})); v != Drop && name == "before" {
				t.Errorf("%s: %s data without our rule: %s, want drop", name, ip, v)
			}
		}
	}
	look("before")
	installed(t, n, c)
	look("after")
}
