// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// contentsOf is the kernel's contents of a table, made from the messages for it.
func contentsOf(t *testing.T, tab table) contents {
	t.Helper()
	b := filled(func(b *batch) {
		if err := b.addAll(tab); err != nil {
			t.Fatal(err)
		}
	})
	var held contents
	for m := range messages(b.buf) {
		if m.typ>>8 != unix.NFNL_SUBSYS_NFTABLES {
			continue
		}
		switch a := collect(m.body[4:]); m.typ & 0xff {
		case unix.NFT_MSG_NEWTABLE:
			held.addFlags(a)
		case unix.NFT_MSG_NEWCHAIN:
			held.addChain(a)
		case unix.NFT_MSG_NEWSET:
			held.addSet(a)
		case unix.NFT_MSG_NEWOBJ:
			held.addObject(a)
		}
	}
	return held
}

// TestMakeWay: what both a table and the next one have stays, above all base
// chains and helpers: the kernel drops waiting packets when one is deleted. The
// rest is deleted, and the table itself only where necessary.
func TestMakeWay(t *testing.T) {
	before := Config{Claim: true, Stale: true}
	tests := []struct {
		name   string
		next   Config
		change func(*inventory)
		gone   []string // deleted base chains and objects
		table  string   // operation on the table
	}{
		{"the same again", before, nil, nil, "flush"},
		{"other ports", Config{Claim: true, Stale: true, Ports: []PortRange{{2121, 2121}}}, nil, nil, "flush"},
		{"no claims", Config{Stale: true}, nil, []string{"chain claim_prerouting", "chain claim_output"}, "flush"},
		{"another carrier", Config{Claim: true, Stale: true, Carrier: CarrierBare}, nil, []string{"object sane4", "object sane6"}, "flush"},
		{"virtual servers", Config{Claim: true, Stale: true, VirtualServers: virtualServers}, nil, nil, "flush"},
		{"priority changed by somebody", before, func(inv *inventory) {
			for i := range inv.held.chains {
				if inv.held.chains[i].name == "output" {
					inv.held.chains[i].priority++
				}
			}
		}, []string{"chain output"}, "flush"},
		{"policy changed by somebody", before, func(inv *inventory) {
			for i := range inv.held.chains {
				if inv.held.chains[i].name == "prerouting" {
					inv.held.chains[i].accepts = false
				}
			}
		}, []string{"chain prerouting"}, "flush"},
		{"hook taken away by somebody", before, func(inv *inventory) {
			for i := range inv.held.chains {
				if inv.held.chains[i].name == "prerouting" {
					inv.held.chains[i].base = false
				}
			}
		}, []string{"chain prerouting"}, "flush"},
		{"dormant", before, func(inv *inventory) { inv.held.flags = 1 }, nil, "delete"},
		{"somebody else's table", before, func(inv *inventory) { inv.table, inv.foreign, inv.held = false, true, contents{} }, nil, "delete"},
		{"no table", before, func(inv *inventory) { inv.table, inv.held = false, contents{} }, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inv := inventory{table: true, held: contentsOf(t, describe(before.WithDefaults()))}
			if tt.change != nil {
				tt.change(&inv)
			}
			had := len(inv.held.chains)
			tab := describe(tt.next.WithDefaults())
			b := filled(func(b *batch) { inv.makeWay(b, &tab) })
			var gone []string
			about, chainsGone, setsGone := "", 0, 0
			for _, op := range operations(b) {
				name := op[strings.LastIndex(op, " ")+1:]
				switch {
				case strings.HasPrefix(op, "delete table"):
					about = "delete"
				case strings.HasPrefix(op, "flush table"):
					about = "flush"
				case strings.HasPrefix(op, "delete set"):
					setsGone++
				case strings.HasPrefix(op, "delete object"):
					gone = append(gone, "object "+name)
				case strings.HasPrefix(op, "delete chain"):
					chainsGone++
					i := slices.IndexFunc(inv.held.chains, func(c heldChain) bool { return c.name == name })
					if c := inv.held.chains[i]; c.base || c.hooknum != 0 || c.priority != 0 {
						gone = append(gone, "chain "+name)
					}
				default:
					t.Errorf("operation %q", op)
				}
			}
			if about != tt.table {
				t.Errorf("the table: %q, want %q", about, tt.table)
			}
			if d := cmp.Diff(tt.gone, gone); d != "" {
				t.Errorf("gone (-want +got):\n%s", d)
			}
			if about == "flush" && setsGone != len(inv.held.sets) {
				t.Errorf("%d sets go of %d", setsGone, len(inv.held.sets))
			}
			// What stays is not added again, and vice versa.
			stay := 0
			for _, c := range tab.chains {
				if c.there {
					stay++
				}
			}
			if want := had - chainsGone; about == "flush" && stay != want || about != "flush" && stay != 0 {
				t.Errorf("%d chains stay, of %d with %d deleted", stay, had, chainsGone)
			}
			if tab.there != (about == "flush") {
				t.Errorf("the table stays: %v", tab.there)
			}
		})
	}
}

// TestClear: in tables of others what is ours is deleted, and nothing else.
func TestClear(t *testing.T) {
	inv := inventory{
		table: true,
		rules: []ruleHandle{{forward, 5}, {ChainRef{FamilyIPv6, "six", "pass"}, 9}},
		sets:  []set{newSet(FamilyINet, "filter", "pasvport4", dataType{})},
		taken: []set{newSet(FamilyINet, "filter", "pasvport6", dataType{})},
	}
	b := filled(func(b *batch) { inv.clear(b, Config{}.WithDefaults()) })
	want := []string{"delete rule from chain inet filter forward", "delete rule from chain ip6 six pass", "delete set inet filter pasvport4",
		"delete table inet pasvport"}
	if d := cmp.Diff(want, operations(b)); d != "" {
		t.Errorf("operations (-want +got):\n%s", d)
	}
	inv.table = false
	if b := filled(func(b *batch) { inv.clear(b, Config{}.WithDefaults()) }); slices.Contains(operations(b), want[3]) {
		t.Error("a table that is not ours was deleted")
	}
}
