// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/rules"
)

const (
	ctNew         = "ct state => 1; bitwise 1 & 08000000; cmp neq 1 00000000; "
	ctRelated     = "ct state => 1; bitwise 1 & 04000000; cmp neq 1 00000000; "
	ctEstablished = "ct state => 1; bitwise 1 & 02000000; cmp neq 1 00000000; "
	fromLAN       = "meta iifname => 1; cmp eq 1 6c616e00; "
	markSeven     = "meta mark => 1; cmp eq 1 07000000; "
	controlPort   = "payload transport 2 2 => 1; cmp eq 1 0015; "
	dnatted       = "ct status => 1; bitwise 1 & 20000000; cmp neq 1 00000000; "
)

// TestFollow: chains, jumps and priorities.
func TestFollow(t *testing.T) {
	// A chain of jumps: each chain but the last jumps to the next.
	deep := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "chain inet filter c%d\n  jump c%d\n", i, i+1)
		}
		fmt.Fprintf(&b, "chain inet filter c%d\n  accept\nchain inet filter forward filter hook forward 0 drop\n  jump c0\n", n)
		return b.String()
	}
	data := DataSYN(FamilyIPv4, 1024, ourBit)
	tests := []struct {
		name, ruleset string
		hooks         []Hook
		packet        Packet
		want          []string
	}{
		{"no chains", "", []Hook{HookForward}, data, nil},
		{"two chains of a hook", "chain inet filter late filter hook forward 10 drop\nchain ip other early filter hook forward -10 accept",
			[]Hook{HookForward}, data, []string{"accept other/early policy", "drop filter/late policy"}},
		{"by name where the priority is one", "chain inet b x filter hook forward 0 drop\nchain inet a x filter hook forward 0 accept",
			[]Hook{HookForward}, data, []string{"accept a/x policy", "drop b/x policy"}},
		{"chain of the other family", "chain ip6 six forward filter hook forward 0 drop", []Hook{HookForward}, data, nil},
		{"chain of a bridge", "chain bridge br forward filter hook forward 0 drop", []Hook{HookForward}, data, nil},
		{"chain of type nat", "chain inet filter pre nat hook prerouting -100 drop", []Hook{HookPrerouting}, data, nil},
		{"chain of type route", "chain inet filter out route hook output -150 drop", []Hook{HookOutput}, data, []string{"drop filter/out policy"}},
		{"a path", "chain inet filter in filter hook input 0 drop\nchain inet filter pre filter hook prerouting -150 accept",
			[]Hook{HookPrerouting, HookInput}, data, []string{"accept filter/pre policy", "drop filter/in policy"}},
		{"our own table", "table inet pasvport " + rules.TableComment + "\nchain inet pasvport forward filter hook forward 0 drop", []Hook{HookForward}, data, nil},
		{"a table of that name", "table inet pasvport mine\nchain inet pasvport forward filter hook forward 0 drop",
			[]Hook{HookForward}, data, []string{"drop pasvport/forward policy"}},

		{"jump to a chain that ends", "chain inet filter sub\n  " + ctNew + "drop\nchain inet filter forward filter hook forward 0 drop\n  jump sub\n  accept",
			[]Hook{HookForward}, data, []string{"accept filter/forward"}},
		{"jump to a chain that returns", "chain inet filter sub\n  return\n  drop\nchain inet filter forward filter hook forward 0 drop\n  jump sub\n  accept",
			[]Hook{HookForward}, data, []string{"accept filter/forward"}},
		{"goto", "chain inet filter sub\n  return\nchain inet filter forward filter hook forward 0 drop\n  goto sub\n  accept",
			[]Hook{HookForward}, data, []string{"drop filter/forward policy"}},
		{"goto within a jump", "chain inet filter c\n  return\nchain inet filter b\n  goto c\n  drop\nchain inet filter forward filter hook forward 0 drop\n  jump b\n  accept",
			[]Hook{HookForward}, data, []string{"accept filter/forward"}},
		{"jump to a chain that is not there", "chain inet filter forward filter hook forward 0 drop\n  jump none\n  accept",
			[]Hook{HookForward}, data, []string{"accept filter/forward"}},
		{"return in a base chain", "chain inet filter forward filter hook forward 0 drop\n  return\n  accept", []Hook{HookForward}, data, []string{"drop filter/forward policy"}},
		{"jump perhaps, accept there", "chain inet filter sub\n  accept\nchain inet filter forward filter hook forward 0 drop\n  " + fromLAN + "jump sub",
			[]Hook{HookForward}, data, []string{"accept filter/sub if iifname", "drop filter/forward policy"}},
		{"the same verdict in any case", "chain inet filter forward filter hook forward 0 accept\n  " + fromLAN + "accept\n  accept",
			[]Hook{HookForward}, data, []string{"accept filter/forward if iifname", "accept filter/forward"}},
		{"to another program", "chain inet filter forward filter hook forward 0 drop\n  queue 7", []Hook{HookForward}, data, []string{"unsure filter/forward"}},

		{"as deep as the kernel goes", deep(15), []Hook{HookForward}, data, []string{"accept filter/c15"}},
		{"deeper", deep(30), []Hook{HookForward}, data, []string{"unsure filter/c16 if more rules than can be followed"}},
		{"in a circle", "chain inet filter a\n  jump b\nchain inet filter b\n  jump a\nchain inet filter forward filter hook forward 0 drop\n  jump a",
			[]Hook{HookForward}, data, []string{"unsure filter/a if more rules than can be followed"}},

		{"a mark that an earlier chain set", "chain inet filter pre filter hook prerouting -150 accept\n  immediate 07000000 => 1; meta mark <= 1\n" +
			"chain inet filter forward filter hook forward 0 drop\n  " + markSeven + "accept",
			[]Hook{HookPrerouting, HookForward}, data, []string{"accept filter/pre policy", "accept filter/forward"}},
		{"a mark that it perhaps set", "chain inet filter pre filter hook prerouting -150 accept\n  " + fromLAN + "immediate 07000000 => 1; meta mark <= 1\n" +
			"chain inet filter forward filter hook forward 0 drop\n  " + markSeven + "accept",
			[]Hook{HookPrerouting, HookForward}, data, []string{"accept filter/pre policy", "accept filter/forward if meta mark", "drop filter/forward policy"}},

		{"of all devices", "chain netdev dev in filter hook ingress 0 drop lan wan", []Hook{HookIngress}, data, []string{"drop dev/in policy if iifname", "accept dev/in past if iifname"}},
		{"of all devices, with a rule", "chain netdev dev in filter hook ingress 0 accept lan wan\n  drop", []Hook{HookIngress}, data, []string{"drop dev/in if iifname", "accept dev/in past if iifname"}},
		{"of this device", "chain netdev dev in filter hook ingress 0 drop lan wan", []Hook{HookIngress}, with(data, func(p *Packet) { p.In = "wan" }), []string{"drop dev/in policy"}},
		{"of another device", "chain netdev dev in filter hook ingress 0 drop lan", []Hook{HookIngress}, with(data, func(p *Packet) { p.In = "wan" }), nil},

		{"where our rule is", "chain inet filter forward filter hook forward 0 drop\n  accept # pasvport pasvport", []Hook{HookForward}, data, []string{"accept filter/forward"}},
		{"our rule is for first packets", "chain inet filter forward filter hook forward 0 drop\n  accept # pasvport pasvport",
			[]Hook{HookForward}, DataEstablished(FamilyIPv4, 1024, ourBit), []string{"drop filter/forward policy"}},
		{"our rule is for data", "chain inet filter forward filter hook forward 0 drop\n  accept # pasvport pasvport",
			[]Hook{HookForward}, ControlSYN(FamilyIPv4, PortRange{Low: 21, High: 21}), []string{"drop filter/forward policy"}},
		{"rule of another daemon", "chain inet filter forward filter hook forward 0 drop\n  " + ctNew + "accept # pasvport other", []Hook{HookForward}, data, []string{"drop filter/forward policy"}},

		{"not known whether translated", "chain inet filter forward filter hook forward 0 drop\n  " + dnatted + "accept", []Hook{HookForward},
			ControlSYN(FamilyIPv4, PortRange{Low: 21, High: 21}), []string{"accept filter/forward if whether it is translated", "drop filter/forward policy"}},
		{"not translated", "chain inet filter forward filter hook forward 0 drop\n  " + dnatted + "accept", []Hook{HookForward},
			with(ControlSYN(FamilyIPv4, PortRange{Low: 21, High: 21}), func(p *Packet) { p.Translation = NoTranslation }), []string{"drop filter/forward policy"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := assembled(t, "table inet filter\n"+tt.ruleset)
			if d := cmp.Diff(tt.want, told(r.Follow(tt.hooks, tt.packet, Config{}))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestFollowEnds: the walk gives up on a ruleset that would take forever.
func TestFollowEnds(t *testing.T) {
	// Sixteen chains, each with two possible jumps to the next: 2^16 ways.
	var b strings.Builder
	for i := range 15 {
		fmt.Fprintf(&b, "chain inet filter c%d\n%s", i, strings.Repeat(fmt.Sprintf("  meta skuid => 1; cmp eq 1 00000000; jump c%d\n", i+1), 4))
	}
	b.WriteString("chain inet filter c15\n  counter\nchain inet filter forward filter hook forward 0 accept\n  jump c0\n")
	walks := assembled(t, b.String()).Walk(HookForward, DataSYN(FamilyIPv4, 1024, 0), Config{})
	if len(walks) != 1 || walks[0].Verdict() != Unsure || walks[0].Outcomes[0].Depends[0] != "meta skuid" && walks[0].Outcomes[0].Depends[0] != "more rules than can be followed" {
		t.Errorf("walks %+v", walks)
	}
}

// TestVerdicts: one chain that drops is enough, and one that may drop makes the
// verdict unsure.
func TestVerdicts(t *testing.T) {
	chain := func(verdicts ...Verdict) (w ChainWalk) {
		for _, v := range verdicts {
			w.Outcomes = append(w.Outcomes, Outcome{Verdict: v})
		}
		return w
	}
	tests := []struct {
		name  string
		walks []ChainWalk
		want  Verdict
	}{
		{"no chain", nil, Accept},
		{"all accept", []ChainWalk{chain(Accept), chain(Accept, Accept)}, Accept},
		{"one drops", []ChainWalk{chain(Accept), chain(Drop), chain(Accept, Drop)}, Drop},
		{"one may drop", []ChainWalk{chain(Accept, Drop), chain(Accept)}, Unsure},
		{"one may drop, and another does", []ChainWalk{chain(Accept, Drop), chain(Drop)}, Drop},
		{"to another program", []ChainWalk{chain(Unsure)}, Unsure},
	}
	for _, tt := range tests {
		if got := Verdicts(tt.walks); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestRated: whether only amounts decide.
func TestRated(t *testing.T) {
	tests := []struct {
		o    Outcome
		want bool
	}{
		{Outcome{}, false},
		{Outcome{Depends: []string{"limit rate"}}, true},
		{Outcome{Depends: []string{"match hashlimit"}}, true},
		{Outcome{Depends: []string{"match recent"}}, false},
		{Outcome{Depends: []string{"amounts in set meter"}}, true},
		{Outcome{Depends: []string{"quota", "ct count"}}, true},
		{Outcome{Depends: []string{"limit rate", "iifname"}}, false},
		{Outcome{After: []string{"limit rate"}}, true},
		{Outcome{Depends: []string{"limit rate"}, After: []string{"ip saddr"}}, false},
	}
	for _, tt := range tests {
		if got := tt.o.Rated(); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.o, got, tt.want)
		}
	}
}

// TestAfter: an outcome knows what the rules before it depended on that may have
// ended the way.
func TestAfter(t *testing.T) {
	r := assembled(t, "chain inet filter forward filter hook forward 0 accept\n  limit; accept\n  "+ctRelated+"drop\n")
	walks := r.Walk(HookForward, DataSYN(FamilyIPv4, 1024, 0), Config{})
	got := walks[0].Outcomes[1]
	if got.Verdict != Drop || !got.Rated() {
		t.Errorf("outcome %+v, want one that a rate decides", got)
	}
}

// TestIntervals: the bounds of elements, whatever order the kernel lists their
// marks in.
func TestIntervals(t *testing.T) {
	const ruleset = `
set inet filter s 2 interval : verdict
  0016 : accept; 0100-01ff : drop; 0200-02ff : accept; ff00-ffff : drop
`
	s := assembled(t, ruleset).sets[setRef{FamilyINet, "filter", "s"}]
	port := func(p uint16) []value { return []value{port2("port", PortRange{Low: p, High: p})} }
	for p, want := range map[uint16]int32{0x15: verdictContinue, 0x16: verdictAccept, 0x17: verdictContinue, 0xff: verdictContinue, 0x100: verdictDrop, 0x1ff: verdictDrop,
		0x200: verdictAccept, 0x2ff: verdictAccept, 0x300: verdictContinue, 0xfeff: verdictContinue, 0xff00: verdictDrop, 0xffff: verdictDrop} {
		got := int32(verdictContinue)
		for _, h := range s.find(port(p)) {
			if h.truth != yes {
				t.Errorf("port %#x: %v", p, h.truth)
			}
			got = h.element.verdict.code
		}
		if got != want {
			t.Errorf("port %#x: verdict %d, want %d", p, got, want)
		}
	}
	if got := s.contains([]value{port2("port", PortRange{Low: 0x100, High: 0x1ff})}); got != yes {
		t.Errorf("a range that one element covers: %v", got)
	}
	if got := s.contains([]value{port2("port", PortRange{Low: 0x300, High: 0x3ff})}); got != no {
		t.Errorf("a range that no element touches: %v", got)
	}
	if got := s.contains([]value{unknown("port", 2)}); got != maybe {
		t.Errorf("an unknown port: %v", got)
	}
}

// TestTranslationWays: what chains of type nat do to the destination.
func TestTranslationWays(t *testing.T) {
	const pre = "chain ip nat pre nat hook prerouting -100 accept\n  "
	const other = "chain ip nat2 pre nat hook prerouting -90 accept\n  "
	ftp := PortRange{Low: 21, High: 21}
	tests := []struct {
		name, ruleset string
		done          truth
		port          PortRange
	}{
		{"no chain", "", no, PortRange{}},
		{"another port is dialled", pre + "payload transport 2 2 => 1; cmp eq 1 0050; nat dnat", no, PortRange{}},
		{"address alone", pre + controlPort + "nat dnat", yes, ftp},
		{"port", pre + controlPort + "immediate 084b => 1; nat dnat 1", yes, PortRange{Low: 2123, High: 2123}},
		{"perhaps", pre + fromLAN + "immediate 084b => 1; nat dnat 1", maybe, PortRange{Low: 2123, High: 2123}},
		{"two rules, two ports", pre + fromLAN + "immediate 084b => 1; nat dnat 1\n  immediate 0015 => 1; nat dnat 1", maybe, PortRange{Low: 1, High: 65535}},
		{"the first chain that does", pre + "nat dnat\n" + other + "immediate 084b => 1; nat dnat 1", yes, ftp},
		{"in a chain of type filter", "chain ip x pre filter hook prerouting -100 accept\n  nat dnat", no, PortRange{}},
		{"for IPv6", "chain ip6 nat pre nat hook prerouting -100 accept\n  nat dnat", no, PortRange{}},
		{"in output", "chain ip nat out nat hook output -100 accept\n  nat dnat", no, PortRange{}},
		{"ours", "table ip nat " + rules.TableComment + "\n" + pre + "nat dnat", no, PortRange{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := assembled(t, tt.ruleset).Translation([]Hook{HookPrerouting, HookForward}, ControlSYN(FamilyIPv4, ftp), Config{})
			if got.done != tt.done || got.port != tt.port || got.May() != (tt.done != no) {
				t.Errorf("%+v, want %v to %v", got, tt.done, tt.port)
			}
		})
	}
	servers := Config{VirtualServers: []rules.VirtualServer{{Name: "ftp"}}}
	if got := assembled(t, "").Translation([]Hook{HookPrerouting}, ControlSYN(FamilyIPv4, ftp), servers); got.done != maybe {
		t.Errorf("with virtual servers: %+v", got)
	}
	var nothing Translation
	if !nothing.May() || NoTranslation.May() {
		t.Error("an unknown translation must be possible, and one known not to exist must not")
	}
}
