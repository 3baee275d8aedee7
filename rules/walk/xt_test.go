// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/integration/stage"
	"github.com/pasvport/pasvport/rules"
)

// TestWalkXtables: rules that iptables-nft made, whose matches the kernel runs as
// xtables matches.
func TestWalkXtables(t *testing.T) {
	stage.Need(t, "iptables-nft")
	n := stage.New(t)
	data, control := DataSYN(FamilyIPv4, 1024, ourBit), ControlSYN(FamilyIPv4, PortRange{Low: 21, High: 21})
	byRule, byPolicy := "accept filter/FORWARD", "drop filter/FORWARD policy"
	for _, tt := range []struct {
		rule   string
		packet Packet
		want   []string
	}{
		{"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", data, []string{byRule}},
		{"-m conntrack --ctstate ESTABLISHED -j ACCEPT", data, []string{byPolicy}},
		{"-m conntrack ! --ctstate NEW,INVALID -j ACCEPT", data, []string{byRule}},
		{"-m conntrack --ctstate DNAT -j ACCEPT", data, []string{byRule + " if whether it is translated", byPolicy}},
		{"-m conntrack --ctstatus EXPECTED -j ACCEPT", data, []string{byRule}},
		{"-m conntrack --ctstatus SEEN_REPLY,ASSURED -j ACCEPT", data, []string{byPolicy}},
		{"-m conntrack --ctdir ORIGINAL -j ACCEPT", data, []string{byRule}},
		{"-m conntrack --ctdir REPLY -j ACCEPT", data, []string{byPolicy}},
		{"-p tcp -m conntrack --ctorigdstport 21 -j ACCEPT", control, []string{byRule}},
		{"-p tcp -m conntrack --ctorigdstport 21 -j ACCEPT", data, []string{byPolicy}},
		{"-p tcp -m conntrack --ctorigdstport 20:30 -j ACCEPT", control, []string{byRule}},
		{"-p tcp -m conntrack --ctrepldstport 21 -j ACCEPT", data, []string{byRule + " if match conntrack", byPolicy}},
		{"-m conntrack --ctstate RELATED -m helper --helper ftp -j ACCEPT", data, []string{byPolicy}},
		{"-p tcp --syn -m tcpmss --mss 1:535 -j ACCEPT", data, []string{byPolicy}},
		{"-p tcp --syn -m tcpmss ! --mss 536:65535 -j ACCEPT", data, []string{byPolicy}},
		{"-m pkttype --pkt-type broadcast -j ACCEPT", data, []string{byPolicy}},
		{"-m addrtype --dst-type BROADCAST -j ACCEPT", data, []string{byPolicy}},
		{"-m addrtype --dst-type UNICAST -j ACCEPT", data, []string{byRule}},
		{"-m hashlimit --hashlimit-above 10/sec --hashlimit-name x -j DROP", data, []string{"drop filter/FORWARD if match hashlimit", byPolicy}},
		{"-m state --state RELATED -j ACCEPT", data, []string{byRule}},
		{"-p tcp --dport 21 -m conntrack --ctstate NEW -j ACCEPT", control, []string{byRule}},
		{"-p tcp --dport 21 -m conntrack --ctstate NEW -j ACCEPT", data, []string{byPolicy}},
		{"-p tcp --dport 1024:65535 -j ACCEPT", data, []string{byRule}},
		{"-p tcp --syn -j ACCEPT", data, []string{byRule}},
		{"-p udp --dport 5000 -j ACCEPT", data, []string{byPolicy}},
		{"-p tcp -m multiport --dports 20:21,80 -j ACCEPT", control, []string{byRule}},
		{"-p tcp -m multiport --dports 22,80 -j ACCEPT", control, []string{byPolicy}},
		{"-p tcp -m multiport --ports 50000:50010 -j ACCEPT", data, []string{byRule + " if match multiport", byPolicy}},
		{"-m addrtype --dst-type LOCAL -j ACCEPT", data, []string{byPolicy}},
		{"-m connmark --mark 0x4000000/0x4000000 -j ACCEPT", data, []string{byRule}},
		{"-m mark --mark 0x1 -j ACCEPT", data, []string{byPolicy}},
		{"-m comment --comment words -j ACCEPT", data, []string{byRule}},
		{"-m recent --name seen --rcheck -j ACCEPT", data, []string{byRule + " if match recent", byPolicy}},
		{"-m conntrack --ctstate RELATED -j REJECT", data, []string{"drop filter/FORWARD"}},
		{"! -i lo -m conntrack --ctstate RELATED -j ACCEPT", data, []string{byRule}},
		{"! -i lo+ -m conntrack --ctstate RELATED -j ACCEPT", data, []string{byRule + " if iifname", byPolicy}},
		{"-i eth+ -m conntrack --ctstate RELATED -j ACCEPT", data, []string{byRule + " if iifname", byPolicy}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			n.Run(t, "iptables-nft", "-F", "FORWARD")
			n.Run(t, "iptables-nft", "-P", "FORWARD", "DROP")
			args := append([]string{"iptables-nft", "-A", "FORWARD"}, strings.Fields(tt.rule)...)
			if out, err := n.Try(args...); err != nil {
				t.Skipf("this kernel or iptables does not accept the rule: %s", out)
			}
			r, err := Read(n.FD)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, told(r.Walk(HookForward, tt.packet, Config{}))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestConflicts: each rule is reported for what it does to FTP, and only where it
// can match it.
func TestConflicts(t *testing.T) {
	n := stage.New(t)
	for _, tt := range []struct {
		name, rules string
		want        []Conflict
	}{
		{"helper", `chain pre { type filter hook prerouting priority -180; tcp dport 21 ct helper set "h"; }`, []Conflict{{Kind: ConflictHelper, Sure: true, Name: "ftp"}}},
		{"helper beside ours", `chain pre { type filter hook prerouting priority -150; tcp dport 21 ct helper set "h"; }`, []Conflict{{Kind: ConflictHelper, Name: "ftp", Depends: []string{"the order of chains of one priority"}}}},
		{"helper behind ours", `chain pre { type filter hook prerouting priority 0; tcp dport 21 ct helper set "h"; }`, []Conflict{{Kind: ConflictLate, Sure: true, Name: "ftp"}}},
		{"helper at input", `chain in { type filter hook input priority -160; tcp dport 21 ct helper set "h"; }`, []Conflict{{Kind: ConflictLate, Sure: true, Name: "ftp"}}},
		{"helper of another port", `chain pre { type filter hook prerouting priority -180; tcp dport 2100 ct helper set "h"; }`, nil},
		{"helper in a jumped chain", `chain pre { tcp dport { 20-22 } ct helper set "h"; }
			chain by { iifname vmap { "a" : jump pre }; }
			chain p { type filter hook prerouting priority -180; ct state new goto by; }`, []Conflict{{Kind: ConflictHelper, Sure: true, Name: "ftp"}}},
		{"helper in a chain that later ones jump to", `chain pre { tcp dport { 20-22 } ct helper set "h"; }
			chain p { type filter hook prerouting priority 10; ct state new goto pre; }`, []Conflict{{Kind: ConflictLate, Sure: true, Name: "ftp"}}},
		{"notrack", `chain pre { type filter hook prerouting priority raw; tcp dport 21 notrack; }`, []Conflict{{Kind: ConflictNotrack, Sure: true}}},
		{"notrack of high ports", `chain pre { type filter hook prerouting priority raw; tcp dport 5000-6000 notrack; }`,
			[]Conflict{{Kind: ConflictNotrack, Depends: []string{"tcp dport"}}}},
		{"notrack of replies", `chain out { type filter hook output priority raw; tcp sport 21 notrack; }`, []Conflict{{Kind: ConflictNotrack, Sure: true}}},
		{"notrack of dns", `chain pre { type filter hook prerouting priority raw; udp dport 53 notrack; }`, nil},
		{"mark overwritten", `chain f { type filter hook forward priority 0; tcp dport 21 ct mark set 0x1; }`, []Conflict{{Kind: ConflictMark, Sure: true}}},
		{"mark kept", `chain f { type filter hook forward priority 0; ct mark set ct mark | 0x1; }`, nil},
		{"our bit cleared", `chain f { type filter hook forward priority 0; ct mark set ct mark & 0xfbffffff; }`, []Conflict{{Kind: ConflictMark, Sure: true}}},
		{"mark saved", `chain f { type filter hook forward priority 0; iifname "lan" ct mark set meta mark; }`,
			[]Conflict{{Kind: ConflictMark, Depends: []string{"iifname"}}}},
		{"whole mark compared", `chain f { type filter hook forward priority 0; tcp dport 21 ct mark 0x1 accept; }`, []Conflict{{Kind: ConflictRead}}},
		{"mark not zero", `chain f { type filter hook forward priority 0; ct mark != 0 accept; }`, []Conflict{{Kind: ConflictRead}}},
		{"one bit of the mark", `chain f { type filter hook forward priority 0; ct mark & 0x1 == 0x1 accept; }`, nil},
		{"our bit, for --allow mark", `chain f { type filter hook forward priority 0; ct mark & 0x04000000 == 0x04000000 accept; }`, nil},
		{"neighbour that drops", `chain p { type filter hook prerouting priority mangle; ct state invalid drop; tcp flags & (fin|syn) == syn tcp option maxseg size 1-500 drop; }`, nil},
		{"neighbour that drops many", `chain p { type filter hook prerouting priority mangle; ct state invalid drop; tcp flags & (fin|syn) == syn limit rate over 5/second drop; }`,
			[]Conflict{{Kind: ConflictHook, Depends: []string{"limit rate"}}}},
		{"our bits copied", `chain p { type filter hook prerouting priority 0; meta mark set ct mark; }`, []Conflict{{Kind: ConflictCopy, Sure: true}}},
		{"other bits copied", `chain p { type filter hook prerouting priority 0; meta mark set ct mark & 0x000000ff; }`, nil},
		{"neighbour that lets pass", `chain p { type filter hook prerouting priority mangle; meta mark set 1; ct state established accept; }`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := read(t, n, "table inet t {\n"+`ct helper h { type "ftp" protocol tcp; }`+"\n"+tt.rules+"\n}")
			got := r.Conflicts(Config{Mark: 0x04000000})
			for i := range got {
				if got[i].At.Handle == 0 || got[i].At.Chain.Table != "t" || r.Words(got[i].At) == "" {
					t.Errorf("conflict at %+v: %q", got[i].At, r.Words(got[i].At))
				}
				got[i].At = RuleRef{}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestConflictZone: a rule that sets a zone is a conflict only where the kernel
// does not report the zone of a queued packet.
func TestConflictZone(t *testing.T) {
	n := stage.New(t)
	for _, tt := range []struct {
		name, rules string
		want        []Conflict
	}{
		{"all", `chain pre { type filter hook prerouting priority raw; ct zone set 7; }`, []Conflict{{Kind: ConflictZone, Sure: true}}},
		{"one direction", `chain pre { type filter hook prerouting priority raw; tcp dport 21 ct original zone set 7; }`, []Conflict{{Kind: ConflictZone, Sure: true}}},
		{"other packets", `chain pre { type filter hook prerouting priority raw; udp dport 53 ct zone set 7; }`, nil},
		{"asked for, not set", `chain pass { type filter hook forward priority 0; ct zone 7 accept; }`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := read(t, n, "table inet t {\n"+tt.rules+"\n}")
			got := r.Conflicts(Config{OneZone: true})
			for i := range got {
				got[i].At = RuleRef{}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if got := r.Conflicts(Config{Mark: 0x04000000}); len(got) != 0 {
				t.Errorf("conflicts where zones are served: %+v", got)
			}
		})
	}
}

// TestConflictsOurOwn: a second daemon's table, and our own, are no conflict; its
// queues are, if they overlap with ours.
func TestConflictsOurOwn(t *testing.T) {
	n := stage.New(t)
	installed(t, n, Config{Queue: testQueue(t, n), Chains: nil})
	r, err := Read(n.FD)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Conflicts(Config{Mark: 0x04000000}); len(got) != 0 {
		t.Errorf("conflicts with ourselves: %+v", got)
	}
	if got := r.Neighbours(); len(got) != 0 {
		t.Errorf("we are our own neighbours: %+v", got)
	}
}

// TestConflictExpressions: expressions that this kernel does not offer, in the
// messages that it would send.
func TestConflictExpressions(t *testing.T) {
	chain := &walkChain{ref: forward, base: true, hook: HookForward}
	r := &Ruleset{chains: map[ChainRef]*walkChain{forward: chain}, tables: map[tableRef]string{}}
	for _, tt := range []struct {
		expr walkExpr
		want Conflict
	}{
		{walkExpr{"flow_offload", appendString(nil, 1, "fast")}, Conflict{Kind: ConflictFlow, Sure: true, Name: "fast"}},
		{walkExpr{"queue", appendUint16(appendUint16(nil, unix.NFTA_QUEUE_NUM, 2120), unix.NFTA_QUEUE_TOTAL, 4)},
			Conflict{Kind: ConflictQueue, Sure: true, Queue: 2121}},
	} {
		chain.rules = []walkRule{{handle: 1, exprs: []walkExpr{tt.expr}}}
		tt.want.At = RuleRef{forward, 1}
		if d := cmp.Diff([]Conflict{tt.want}, r.Conflicts(Config{Queues: 2, Carrier: rules.CarrierNone})); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.expr.name, d)
		}
		for _, c := range []rules.Carrier{rules.CarrierSane, rules.CarrierBare} { // which a flowtable leaves alone
			if got := r.Conflicts(Config{Queues: 2, Carrier: c}); tt.want.Kind == ConflictFlow && len(got) != 0 {
				t.Errorf("%s with carrier %d: %+v", tt.expr.name, c, got)
			}
		}
	}
}
