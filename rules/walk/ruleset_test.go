// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/rules"
)

// TestNames: the names of rules and tables for an administrator.
func TestNames(t *testing.T) {
	r := assembled(t, `
table ip filter
chain ip filter FORWARD filter hook forward 0 drop
  counter
  accept
chain ip filter mine
  drop
table ip nat
chain ip nat PREROUTING nat hook prerouting -100 accept
chain ip nat extra nat hook input 100 accept
table inet filter
chain inet filter FORWARD filter hook forward 0 accept
table inet pasvport `+rules.TableComment+`
chain inet pasvport session
`)
	accept := RuleRef{ChainRef{Family: FamilyIPv4, Table: "filter", Chain: "FORWARD"}, 2}
	if got := r.Number(accept); got != 2 {
		t.Errorf("the second rule has the number %d", got)
	}
	for _, at := range []RuleRef{{accept.Chain, 9}, {ChainRef{Family: FamilyIPv4, Table: "filter", Chain: "none"}, 1}} {
		if got := r.Number(at); got != 0 {
			t.Errorf("%v does not exist, but has the number %d", at, got)
		}
	}
	for chain, want := range map[string]bool{
		"ip/filter/FORWARD": true, "ip/filter/mine": true, "ip/nat/PREROUTING": false, "inet/filter/FORWARD": false, "ip/other/FORWARD": false, "ip6/filter/FORWARD": true,
	} {
		ref, err := rules.ParseChainRef(chain)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Xtables(ref); got != want {
			t.Errorf("%s: made by iptables: %v, want %v", chain, got, want)
		}
	}
	if !r.Ours(FamilyINet, "pasvport") || r.Ours(FamilyINet, "filter") || r.Ours(FamilyIPv4, "pasvport") {
		t.Error("which table is ours?")
	}
	var chains []string
	for _, c := range r.Chains() {
		chains = append(chains, c.String())
	}
	want := "inet/filter/FORWARD inet/pasvport/session ip/filter/FORWARD ip/filter/mine ip/nat/PREROUTING ip/nat/extra"
	if d := cmp.Diff(want, strings.Join(chains, " ")); d != "" {
		t.Errorf("chains (-want +got):\n%s", d)
	}
}

// TestReachedFrom: the base chains from which packets reach a chain.
func TestReachedFrom(t *testing.T) {
	r := assembled(t, `
set inet filter v 4 : verdict
  04000000 : jump deep; * : goto last
chain inet filter pre filter hook prerouting -180 accept
  jump a
chain inet filter fwd filter hook forward 0 accept
  meta skuid => 1; cmp eq 1 00000000; goto b
chain inet filter a
  ct state => 1; lookup 1 v => 0
chain inet filter b
  jump a
  jump b
chain inet filter deep
chain inet filter last
chain inet filter alone
  jump deep
chain inet other x filter hook output 0 accept
  jump deep
`)
	for chain, want := range map[string]string{"pre": "pre", "a": "pre fwd", "b": "fwd", "deep": "pre fwd", "last": "pre fwd", "alone": ""} {
		var got []string
		for _, c := range r.reachedFrom(r.chains[ChainRef{Family: FamilyINet, Table: "filter", Chain: chain}]) {
			got = append(got, c.ref.Chain)
		}
		if d := cmp.Diff(want, strings.Join(got, " ")); d != "" {
			t.Errorf("%s is reached from (-want +got):\n%s", chain, d)
		}
	}
}

// TestFindings: conflicts that depend on the configuration and on the place of
// the rule.
func TestFindings(t *testing.T) {
	const pre, raw = "chain inet t c filter hook prerouting -150 accept\n  ", "chain inet t c filter hook prerouting -300 accept\n  "
	bare := Config{Mark: ourBit, Queues: 2}
	tests := []struct {
		name, ruleset string
		c             Config
		want          []Conflict
	}{
		{"queue below ours", pre + "queue 2120", bare, []Conflict{{Kind: ConflictHook, Sure: true}}},
		{"queue of ours", pre + "queue 2122", bare, []Conflict{{Kind: ConflictQueue, Sure: true, Queue: 2122}, {Kind: ConflictHook, Sure: true}}},
		{"queues around ours", pre + "queue 2000-3000", bare, []Conflict{{Kind: ConflictQueue, Sure: true, Queue: 2121}, {Kind: ConflictHook, Sure: true}}},
		{"queue above ours", pre + "queue 2123", bare, []Conflict{{Kind: ConflictHook, Sure: true}}},
		{"queue in another hook", "chain inet t c filter hook forward 0 accept\n  queue 2123", bare, nil},
		{"header changed beside ours", pre + controlPort + "payload write 1", bare, []Conflict{{Kind: ConflictHook, Sure: true}}},
		{"header changed elsewhere", "chain inet t c filter hook forward 0 accept\n  payload write 1", bare, nil},
		{"of data connections alone", pre + ctRelated + "payload write 1", bare, nil},
		{"behind destination translation", "chain inet t c filter hook prerouting -90 accept\n  drop", bare, nil},
		{"in a chain of type nat", "chain inet t c nat hook prerouting -150 accept\n  drop", bare, nil},
		{"notrack with a condition", raw + fromLAN + "notrack", bare, []Conflict{{Kind: ConflictNotrack, Depends: []string{"iifname"}}}},
		{"notrack in a table of IPv6", "chain ip6 t c filter hook prerouting -300 accept\n  notrack", bare, []Conflict{{Kind: ConflictNotrack, Sure: true}}},
		{"in a table of another family", "chain bridge t c filter hook prerouting -300 accept\n  notrack", bare, nil},
		{"in our table", "table inet t " + rules.TableComment + "\n" + raw + "notrack", bare, nil},
		{"our rule in a chain", raw + "notrack # pasvport pasvport", bare, nil},
		{"rule of another daemon", raw + "notrack # pasvport other", bare, []Conflict{{Kind: ConflictNotrack, Sure: true}}},
		{"flow table where there is a carrier", "chain inet t c filter hook forward 0 accept\n  flow_offload ft", bare, nil},
		{"flow table without", "chain inet t c filter hook forward 0 accept\n  flow_offload ft", Config{Carrier: rules.CarrierNone}, []Conflict{{Kind: ConflictFlow, Sure: true, Name: "ft"}}},
		{"mark overwritten that is not ours", "chain inet t c filter hook forward 0 accept\n  ct mark => 1; bitwise 1 & ffffff00 ^ 00000000; ct mark <= 1", Config{Mark: 1}, nil},
		{"mark overwritten, without a bit of ours", "chain inet t c filter hook forward 0 accept\n  immediate 01000000 => 1; ct mark <= 1", Config{}, nil},
		{"helper where no carrier is", "helper inet t h ftp\nchain inet t c filter hook prerouting 0 accept\n  objref helper h", Config{Carrier: rules.CarrierNone},
			[]Conflict{{Kind: ConflictHelper, Sure: true, Name: "ftp"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := assembled(t, tt.ruleset).Conflicts(tt.c)
			for i := range got {
				got[i].At = RuleRef{}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestNeighbours: base chains with rules between conntrack and destination
// translation.
func TestNeighbours(t *testing.T) {
	r := assembled(t, `
chain inet t mangle filter hook prerouting -150 accept
  counter
chain inet t empty filter hook prerouting -149 accept
chain inet t raw filter hook prerouting -300 accept
  counter
chain inet t late filter hook prerouting -100 accept
  counter
chain inet t nat nat hook prerouting -150 accept
  counter
chain inet t fwd filter hook forward -150 accept
  counter
chain ip6 t out filter hook output -120 accept
  counter
chain bridge t br filter hook prerouting -150 accept
  counter
chain inet t plain
  counter
table inet pasvport `+rules.TableComment+`
chain inet pasvport prerouting filter hook prerouting -150 accept
  counter
`)
	want := []Neighbour{
		{ChainRef{Family: FamilyINet, Table: "t", Chain: "mangle"}, HookPrerouting, -150},
		{ChainRef{Family: FamilyIPv6, Table: "t", Chain: "out"}, HookOutput, -120},
	}
	if d := cmp.Diff(want, r.Neighbours()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// FuzzRuleset: whatever the ruleset contains, it can be read and walked.
func FuzzRuleset(f *testing.F) {
	named := func(more ...byte) []byte {
		return append(appendString(appendString(nil, 1, "filter"), 2, "forward"), more...)
	}
	f.Add(named(), named(), named(), named(), named())
	lookup := appendAttr(nil, unix.NFTA_LIST_ELEM, appendAttr(appendString(nil, unix.NFTA_EXPR_NAME, "lookup"), unix.NFTA_EXPR_DATA,
		appendString(appendUint32(appendUint32(nil, unix.NFTA_LOOKUP_SREG, 1), unix.NFTA_LOOKUP_DREG, 0), unix.NFTA_LOOKUP_SET, "forward")))
	f.Add(named(), named(), named(appendAttr(nil, unix.NFTA_RULE_EXPRESSIONS, lookup)...), named(),
		appendAttr(nil, unix.NFTA_SET_ELEM_LIST_ELEMENTS, appendAttr(nil, unix.NFTA_LIST_ELEM, appendAttr(nil, unix.NFTA_SET_ELEM_KEY, appendAttr(nil, unix.NFTA_DATA_VALUE, []byte{0, 21})))))
	f.Fuzz(func(t *testing.T, table, chain, rule, set, elements []byte) {
		r := newRuleset()
		r.addTable(FamilyINet, table)
		r.addChain(FamilyINet, chain)
		for _, c := range r.chains {
			c.base, c.hook = true, HookForward
		}
		r.addSet(FamilyINet, set)
		for _, s := range r.sets {
			s.addElements(FamilyINet, elements)
			s.finish()
		}
		r.addRule(FamilyINet, rule)
		r.addObject(FamilyINet, set)
		for _, ip := range []Family{FamilyIPv4, FamilyIPv6} {
			for _, w := range r.Walk(HookForward, DataSYN(ip, 1024, ourBit), Config{}) {
				if len(w.Outcomes) == 0 {
					t.Errorf("no outcome in %v", w.Base)
				}
			}
		}
		r.Conflicts(Config{Mark: ourBit})
		for ref, c := range r.chains {
			for _, rule := range c.rules {
				r.Words(RuleRef{ref, rule.handle})
			}
		}
	})
}
