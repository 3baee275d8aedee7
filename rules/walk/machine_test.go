// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// judged describes what a rule does to a packet: whether it matches, what
// follows, and on what that depends.
func judged(j judgement) string {
	words := []string{[...]string{"no", "maybe", "yes"}[j.match]}
	for _, b := range j.branches {
		v := map[int32]string{verdictAccept: "accept", verdictDrop: "drop", verdictReturn: "return", verdictJump: "jump", verdictGoto: "goto", verdictQueue: "queue"}[b.verdict.code]
		if b.verdict.chain != "" {
			v += " " + b.verdict.chain
		}
		if b.truth == maybe {
			v += "?"
		}
		words = append(words, v)
	}
	for _, e := range j.effects {
		v := [...]string{effectNotrack: "notrack", effectHelper: "helper", effectFlow: "flow", effectCtMark: "ct mark", effectMark: "mark", effectQueue: "queue",
			effectPayload: "writes", effectZone: "zone", effectDNAT: "dnat"}[e.kind]
		switch e.kind {
		case effectHelper, effectFlow:
			v += " " + e.name
		case effectQueue, effectDNAT:
			v += fmt.Sprintf(" %d-%d", e.low, e.high)
		case effectMark, effectCtMark:
			v += fmt.Sprintf(" %x/%x", e.value.bits, e.value.known)
		}
		words = append(words, "("+v+")")
	}
	if len(j.depends) > 0 {
		words = append(words, "if "+strings.Join(j.depends, ", "))
	}
	return strings.Join(words, " ")
}

// TestMachine runs one rule on one packet. The packet is the SYN of an announced
// data connection over IPv4 from any port to one from 1024 up, unless the row has
// another.
func TestMachine(t *testing.T) {
	const ruleset = `
table inet filter
helper inet filter ftp-standard ftp
set inet filter ports 2 interval
  0016; 07d0-0bb8
set inet filter all 2 interval
  0001-ffff
set inet filter states 4 : verdict
  04000000 : accept; 02000000 : jump sub; * : drop
set inet filter known 4 : verdict
  04000000 : accept; 08000000 : drop
set inet filter newports 2 : 2
  0015 : 084b; 0016 : 0016
set inet filter verdicts 2 interval : verdict
  0400-7fff : accept; 8000-ffff : drop
chain inet filter sub
chain inet filter forward filter hook forward 0 drop
  %s
`
	data := DataSYN(FamilyIPv4, 1024, 0x04000000)
	control := ControlSYN(FamilyIPv4, PortRange{Low: 21, High: 21})
	later := DataEstablished(FamilyIPv4, 1024, 0x04000000)
	six := DataSYN(FamilyIPv6, 1024, 0)
	tests := []struct {
		name, rule string
		packet     Packet
		want       string
	}{
		{"nothing", "counter; log; last", data, "yes"},
		{"verdict", "accept", data, "yes accept"},
		{"behind a verdict nothing is looked at", "drop; meta skuid => 1; cmp eq 1 00000000", data, "yes drop"},
		{"continue", "continue; accept", data, "yes accept"},
		{"reject", "reject", data, "yes drop"},

		{"state", "ct state => 1; bitwise 1 & 06000000; cmp neq 1 00000000; accept", data, "yes accept"},
		{"other state", "ct state => 1; bitwise 1 & 02000000; cmp neq 1 00000000; accept", data, "no"},
		{"state by a comparison of all", "ct state => 1; cmp eq 1 04000000; accept", data, "yes accept"},
		{"direction", "ct direction => 1; cmp eq 1 00; accept", data, "yes accept"},
		{"direction of a reply", "ct direction => 1; cmp eq 1 00; accept", reply(later), "no"},
		{"bits of the mark", "ct mark => 1; bitwise 1 & 00000004; cmp eq 1 00000004; accept", data, "yes accept"},
		{"the mark as a whole", "ct mark => 1; cmp eq 1 01000000; accept", data, "no"},
		{"mark of which a bit is known", "ct mark => 1; cmp eq 1 00000004; accept", with(data, func(p *Packet) { p.MarkMask = 0x04000000 }), "maybe accept if ct mark"},
		{"counted bytes", "ct bytes => 1; cmp gt 1 0000000000000000; accept", data, "maybe accept if ct bytes"},
		{"zone", "ct zone => 1; cmp eq 1 0000; accept", data, "yes accept"},
		{"port that was dialled", "ct proto-dst => 1; cmp eq 1 0015; accept", control, "yes accept"},
		{"port that was dialled, of the reply direction", "ct proto-src reply => 1; cmp eq 1 0015; accept", control, "yes accept"},
		{"protocol of the connection", "ct l3proto => 1; cmp eq 1 0a; accept", data, "no"},

		{"a key of meta that is not known", "meta skuid => 1; cmp eq 1 e8030000; accept", data, "maybe accept if meta skuid"},
		{"a key of meta without a name", "meta cpu => 1; cmp eq 1 00000000; accept", data, "maybe accept if meta key 20"},
		{"interface", "meta iifname => 1; cmp eq 1 6c616e00; accept", with(data, func(p *Packet) { p.In = "lan" }), "yes accept"},
		{"beginning of an interface", "meta iifname => 1; cmp eq 1 6c61; accept", with(data, func(p *Packet) { p.In = "lan" }), "yes accept"},
		{"other interface", "meta iifname => 1; cmp eq 1 6c616e00; accept", with(data, func(p *Packet) { p.In = "lan2" }), "no"},
		{"not the loopback", "meta iif => 1; cmp neq 1 01000000; accept", data, "yes accept"},
		{"EtherType", "meta protocol => 1; cmp eq 1 86dd; accept", six, "yes accept"},

		{"port in bounds", "payload transport 2 2 => 1; range eq 1 0400 ffff; accept", data, "yes accept"},
		{"port in bounds, not", "payload transport 2 2 => 1; range neq 1 0400 ffff; accept", data, "no"},
		{"port in narrower bounds", "payload transport 2 2 => 1; range eq 1 0800 ffff; accept", data, "maybe accept if tcp dport"},
		{"port below", "payload transport 2 2 => 1; cmp lt 1 0400; accept", data, "no"},
		{"port not above", "payload transport 2 2 => 1; cmp lte 1 0400; accept", data, "maybe accept if tcp dport"},
		{"port above", "payload transport 2 2 => 1; cmp gt 1 03ff; accept", data, "yes accept"},
		{"port from there on", "payload transport 2 2 => 1; cmp gte 1 0000; accept", data, "yes accept"},
		{"both ports at once", "payload transport 0 4 => 1; cmp eq 1 00160016; accept", data, "maybe accept if tcp header"},
		{"flags", "payload transport 13 1 => 1; bitwise 1 & 17; cmp eq 1 02; accept", data, "yes accept"},
		{"flags of a later packet", "payload transport 13 1 => 1; bitwise 1 & 17; cmp eq 1 02; accept", later, "no"},
		{"protocol in the header", "payload network 9 1 => 1; cmp eq 1 06; accept", data, "yes accept"},
		{"no fragment", "payload network 6 2 => 1; bitwise 1 & 3fff; cmp eq 1 0000; accept", data, "yes accept"},
		{"next header", "payload network 6 1 => 1; cmp eq 1 11; accept", six, "no"},
		{"source address", "payload network 12 4 => 1; cmp eq 1 c0000207; accept", data, "maybe accept if ip saddr"},
		{"destination address of IPv6", "payload network 24 16 => 1; cmp eq 1 20010db8000000000000000000000001; accept", six, "maybe accept if ip6 daddr"},
		{"behind the header", "payload network 18 8 => 1; cmp eq 1 00; accept", data, "maybe accept if ip header"},
		{"payload of a SYN", "payload inner 0 1 => 1; cmp gte 1 00; accept", data, "no"},
		{"payload", "payload inner 0 1 => 1; cmp gte 1 00; accept", later, "yes accept"},
		{"link layer", "payload link 0 6 => 1; cmp eq 1 010203040506; accept", data, "maybe accept if link layer header"},

		{"register that nothing loaded", "cmp eq 1 00; accept", data, "maybe accept if a register"},
		{"register that does not exist", "ct state => 77; cmp eq 77 04000000; accept", data, "maybe accept if a register"},
		{"register that was loaded over", "meta iifname => 1; ct state => 9; cmp eq 1 00; accept", data, "maybe accept if a register"},
		{"register behind another", "ct state => 1; meta l4proto => 2; cmp eq 1 04000000; accept", data, "yes accept"},
		{"constant", "immediate 0015 => 1; cmp eq 1 0015; accept", data, "yes accept"},
		{"byte order", "ct state => 1; byteorder 1 size 4 len 4; cmp eq 1 00000004; accept", data, "yes accept"},
		{"bits that are set", "immediate 00000000 => 1; bitwise 1 & ffffffff ^ 00000004; cmp eq 1 00000004; accept", data, "yes accept"},
		{"bits of what is not known", "meta skuid => 1; bitwise 1 & 00000000 ^ 01000000; cmp eq 1 01000000; accept", data, "yes accept"},

		{"set", "payload transport 2 2 => 1; lookup 1 ports; accept", control, "no"},
		{"set, inverted", "payload transport 2 2 => 1; lookup 1 ports inverted; accept", control, "yes accept"},
		{"set that may have it", "payload transport 2 2 => 1; lookup 1 ports; accept", data, "maybe accept if tcp dport"},
		{"set of everything", "payload transport 2 2 => 1; lookup 1 all; accept", data, "yes accept"},
		{"set that is not there", "payload transport 2 2 => 1; lookup 1 none; accept", data, "maybe accept if a set that cannot be read"},
		{"verdict map", "ct state => 1; lookup 1 states => 0", data, "yes accept"},
		{"verdict map with a jump", "ct state => 1; lookup 1 states => 0", later, "yes jump sub"},
		{"verdict map, what is left", "ct state => 1; lookup 1 states => 0", control, "yes drop"},
		{"verdict map without it", "ct state => 1; lookup 1 known => 0", later, "no"},
		{"verdict map of which several fit", "payload transport 2 2 => 1; lookup 1 verdicts => 0", data, "maybe accept? drop? if tcp dport"},
		{"map", "payload transport 2 2 => 1; lookup 1 newports => 1; nat dnat 1", control, "yes accept (dnat 2123-2123)"},
		{"map that may have it", "payload transport 2 2 => 1; lookup 1 newports => 1; nat dnat 1", with(control, func(p *Packet) { p.DstPort = PortRange{Low: 20, High: 30} }),
			"maybe accept (dnat 1-65535) if tcp dport"},
		{"map without it", "payload transport 2 2 => 1; lookup 1 newports => 1; nat dnat 1", data, "no"},

		{"translation of the port", "immediate 084b => 1; nat dnat 1", control, "yes accept (dnat 2123-2123)"},
		{"translation to a range", "immediate 0400 => 1; immediate 07ff => 2; nat dnat 1 2", control, "yes accept (dnat 1024-2047)"},
		{"translation of the address", "nat dnat", control, "yes accept (dnat 0-0)"},
		{"translation of the source", "nat snat", control, "yes accept"},
		{"masquerading", "masq", control, "yes accept"},
		{"redirection", "immediate 084b => 1; redir 1", control, "yes accept (dnat 2123-2123)"},

		{"set mark", "immediate 07000000 => 1; meta mark <= 1", data, "yes (mark 07000000/ffffffff)"},
		{"set ct mark", "ct mark => 1; bitwise 1 & fffffffb ^ 01000000; ct mark <= 1", data, "yes (ct mark 01000000/ffffffff)"},
		{"set something else of meta", "immediate 00000000 => 1; meta cpu <= 1", data, "yes"},
		{"zone is set", "immediate 0100 => 1; ct zone <= 1", data, "yes (zone)"},
		{"notrack", "notrack", data, "yes (notrack)"},
		{"queue", "queue 2121", data, "yes queue (queue 2121-2121)"},
		{"queues", "queue 2121-2124", data, "yes queue (queue 2121-2124)"},
		{"header is written", "payload write 1", data, "yes (writes)"},
		{"flow table", "flow_offload ft", data, "yes (flow ft)"},
		{"helper", "objref helper ftp-standard", data, "yes (helper ftp)"},
		{"helper that is not there", "objref helper none", data, "yes (helper )"},
		{"counter object", "objref counter c; accept", data, "yes accept"},
		{"quota object", "objref quota q; accept", data, "maybe accept if quota"},
		{"limit object", "objref limit l; drop", data, "maybe drop if limit rate"},
		{"connlimit object", "objref connlimit l; drop", data, "maybe drop if ct count"},
		{"limit", "limit; accept", data, "maybe accept if limit rate"},
		{"quota", "quota; accept", data, "maybe accept if quota"},
		{"connection count", "connlimit; drop", data, "maybe drop if ct count"},
		{"set that is filled", "dynset s; accept", data, "yes accept"},
		{"set with a limit for each", "dynset s limit; drop", data, "maybe drop if amounts in set s"},
		{"a part of many", "numgen => 1; cmp eq 1 00000000; accept", data, "maybe accept if numgen"},
		{"hash", "hash => 1; cmp eq 1 00000000; accept", data, "maybe accept if hash"},
		{"route", "rt => 1; cmp eq 1 00000000; accept", data, "maybe accept if rt"},
		{"address of a group", "fib type daddr => 1; cmp eq 1 05000000; drop", data, "no"},
		{"reverse path", "fib oif saddr => 1; cmp eq 1 00000000; drop", data, "no"},
		{"reverse path, as a flag", "fib oif present => 1; cmp eq 1 00000000; drop", data, "no"},

		{"expression that is not known", "quux; accept", data, "maybe accept if quux"},
		{"expression that is known by name", "osf; accept", data, "maybe accept if osf"},
		{"register that it may have loaded", "ct state => 1; xfrm; cmp eq 1 04000000; accept", data, "maybe accept if ipsec"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := assembled(t, fmt.Sprintf(ruleset, tt.rule))
			c := r.chains[forward]
			got := judged(r.judge(c, &c.rules[0], &tt.packet, HookForward))
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", tt.rule, d)
			}
		})
	}
}

// TestBeforeConntrack: before conntrack no packet has a connection, and a rule
// that asks for one does not match.
func TestBeforeConntrack(t *testing.T) {
	for rule, want := range map[string]string{
		"ct state => 1; bitwise 1 & 01000000; cmp neq 1 00000000; accept": "yes accept", // invalid
		"ct state => 1; bitwise 1 & 04000000; cmp neq 1 00000000; accept": "no",
		"ct mark => 1; cmp eq 1 00000000; accept":                         "no",
		"payload transport 2 2 => 1; cmp gte 1 0400; notrack":             "yes (notrack)",
	} {
		r := assembled(t, "table inet filter\nchain inet filter forward filter hook prerouting -300 accept\n "+rule)
		p := DataSYN(FamilyIPv4, 1024, 0)
		p.place(HookPrerouting, -300)
		c := r.chains[forward]
		if got := judged(r.judge(c, &c.rules[0], &p, HookPrerouting)); got != want {
			t.Errorf("%s: %s, want %s", rule, got, want)
		}
	}
}

// TestConcatenation: a concatenated key is compared part by part.
func TestConcatenation(t *testing.T) {
	const ruleset = `
table inet filter
set inet filter pairs 8
  c000020704000000; 0a00000104000000
chain inet filter forward filter hook forward 0 drop
  payload network 12 4 => 8; lookup 8 pairs; accept
  payload network 12 4 => 1; ct state => 9; lookup 1 pairs; accept
`
	from := func(a string) Packet {
		return with(DataSYN(FamilyIPv4, 1024, 0), func(p *Packet) { p.Src = addr(a) })
	}
	tests := []struct {
		name   string
		rule   int
		packet Packet
		want   string
	}{
		{"both fit", 1, from("192.0.2.7"), "yes accept"},
		{"the first does not fit", 1, from("192.0.2.8"), "no"},
		{"the second does not fit", 1, with(from("192.0.2.7"), func(p *Packet) { p.State = StateNew }), "no"},
		{"the first is not known", 1, DataSYN(FamilyIPv4, 1024, 0), "maybe accept if ip saddr . ct state"},
		{"the second was never loaded", 0, from("192.0.2.7"), "maybe accept if ip saddr . a register"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := assembled(t, ruleset)
			c := r.chains[forward]
			if got := judged(r.judge(c, &c.rules[tt.rule], &tt.packet, HookForward)); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
