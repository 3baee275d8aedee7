// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/integration/stage"
)

// healConfig has everything that can go missing.
func healConfig(t *testing.T, n stage.Namespace) Config {
	return Config{Claim: true, Queue: testQueue(t, n), Queues: 2, Chains: []ChainRef{forward}}
}

func TestHeal(t *testing.T) {
	own := "inet pasvport "
	tests := []struct {
		name, command string
		missing       []string
	}{
		{"nothing", "add rule inet filter forward counter", nil},
		{"table", "delete table inet pasvport", []string{"table inet pasvport"}},
		{"our rule in a chain", "flush chain inet filter forward", []string{"rule of ours in chain inet filter forward"}},
		{"set in a chain", "flush chain inet filter forward; delete set inet filter pasvport4",
			[]string{"rule of ours in chain inet filter forward", "set inet filter pasvport4"}},
		{"rules of a chain", "flush chain inet pasvport divert", []string{"chain " + own + "divert (changed)"}},
		{"all rules", "flush table inet pasvport", []string{
			"chain " + own + "again (changed)", "chain " + own + "begin (changed)", "chain " + own + "claim (changed)", "chain " + own + "claim_output (changed)",
			"chain " + own + "claim_prerouting (changed)", "chain " + own + "control (changed)", "chain " + own + "data (changed)",
			"chain " + own + "divert (changed)", "chain " + own + "dropped (changed)",
			"chain " + own + "guard (changed)", "chain " + own + "guard_forward (changed)", "chain " + own + "guard_input (changed)",
			"chain " + own + "output (changed)", "chain " + own + "prerouting (changed)",
			"chain " + own + "renumber (changed)", "chain " + own + "session (changed)", "chain " + own + "syn (changed)"}},
		{"control ports", "add element inet pasvport control_ports { 99 }", []string{"set " + own + "control_ports (changed)"}},
		{"rule added", "add rule inet pasvport session accept", []string{"chain " + own + "session (changed)"}},
		{"chain added", "add chain inet pasvport more; add rule inet pasvport more drop", []string{"chain " + own + "more (added)"}},
		{"carrier", "flush chain inet pasvport begin; delete ct helper inet pasvport sane4",
			[]string{"chain " + own + "begin (changed)", "ct helper " + own + "sane4"}},
		{"dormant", "add table inet pasvport { flags dormant; }", []string{"table inet pasvport (changed)"}},
		{"pinholes", "flush set inet pasvport pinholes4", []string{"elements of open pinholes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := stage.New(t)
			n.Load(t, adminRuleset)
			f := installed(t, n, healConfig(t, n))
			for i := range 2 {
				if err := f.OpenPinhole(testPinhole(i)); err != nil {
					t.Fatal(err)
				}
			}
			once, open := list(t, n), elements(t, f)
			n.Run(t, "nft", tt.command)
			h, err := f.Heal()
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.missing, h.Missing); d != "" {
				t.Errorf("missing (-want +got):\n%s", d)
			}
			if again, err := f.Heal(); err != nil || len(again.Missing) > 0 {
				t.Errorf("second time: %+v, %v", again, err)
			}
			if d := cmp.Diff(open, elements(t, f)); d != "" {
				t.Errorf("pinholes (-before +healed):\n%s", d)
			}
			if !strings.Contains(tt.command, "inet filter") {
				if d := cmp.Diff(withoutTimes(once), withoutTimes(list(t, n))); d != "" {
					t.Errorf("ruleset (-before +healed):\n%s", d)
				}
			}
		})
	}
}

// withoutTimes removes the remaining time of elements, and sorts tables and what
// is in them.
func withoutTimes(ruleset string) string {
	tables := strings.Split(strings.NewReplacer("\n\n\t", "\ntable ", "\n\tct helper", "\ntable ct helper").Replace(ruleset), "\ntable ")
	for i, s := range tables {
		words := strings.Fields(strings.TrimPrefix(s, "table "))
		for j := range words {
			if words[j] == "expires" || words[j] == "timeout" {
				words[j+1] = "X"
			}
		}
		tables[i] = strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "expires" || w == "timeout" || w == "X" || w == "}" }), " ")
	}
	slices.Sort(tables)
	return strings.Join(tables, "\n")
}

// watched runs Watch until the end of the test.
func watched(t *testing.T, f *Firewall) <-chan Healing {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	healings := make(chan Healing, 10000)
	done := make(chan error, 1)
	go func() {
		done <- f.Watch(ctx, func(h Healing, err error) {
			if err != nil {
				t.Errorf("heal: %v", err)
			}
			healings <- h
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return healings
}

// next waits for a healing.
func next(t *testing.T, healings <-chan Healing) Healing {
	t.Helper()
	select {
	case h := <-healings:
		return h
	case <-time.After(20 * time.Second):
		t.Fatal("not healed")
		return Healing{}
	}
}

// The administrator's chain disappears, the rest of our rules stays; it comes
// back.
func TestWatchChainGoesAndComes(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	f := installed(t, n, healConfig(t, n))
	p := testPinhole(0)
	if err := f.OpenPinhole(p); err != nil {
		t.Fatal(err)
	}
	healings := watched(t, f)
	n.Run(t, "nft", "flush ruleset")
	h := next(t, healings)
	if !slices.Equal(h.NoChain, []ChainRef{forward}) || !slices.Equal(h.Missing, []string{"table inet pasvport"}) {
		t.Fatalf("after flush ruleset: %+v", h)
	}
	want := []string{"inet pasvport pinholes4 192.0.2.1 198.51.100.1:50000"}
	if d := cmp.Diff(want, elements(t, f)); d != "" {
		t.Errorf("without the chain (-want +got):\n%s", d)
	}
	// Opened meanwhile, for the existing chain and for the missing one.
	if err := f.OpenPinhole(testPinhole(2)); err != nil {
		t.Fatal(err)
	}
	n.Load(t, adminRuleset)
	if h = next(t, healings); len(h.NoChain) > 0 || h.Pinholes != 4 {
		t.Fatalf("after the chain came back: %+v", h)
	}
	want = []string{
		"inet filter pasvport4 192.0.2.1 10.0.0.7:40000", "inet filter pasvport4 192.0.2.1 10.0.0.7:40002",
		"inet pasvport pinholes4 192.0.2.1 198.51.100.1:50000", "inet pasvport pinholes4 192.0.2.1 198.51.100.1:50002",
	}
	if d := cmp.Diff(want, elements(t, f)); d != "" {
		t.Errorf("with the chain again (-want +got):\n%s", d)
	}
}

// Our own transactions do not wake Watch, and an intact ruleset is left alone.
func TestWatchIgnoresOurselves(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	f := installed(t, n, healConfig(t, n))
	w, err := watchOthers(f.cfg.NetNS, f.conn)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for i := range 50 {
		if err := f.OpenPinhole(testPinhole(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Install(); err != nil {
		t.Fatal(err)
	}
	// Another program's event arrives first, so none of ours arrived before.
	n.Run(t, "nft", "add rule inet filter forward counter")
	if _, err := w.recv(); err != nil {
		t.Fatal(err)
	}
	port, err := f.conn.port()
	if err != nil || port == 0 {
		t.Fatalf("port %d, %v", port, err)
	}
	if by := binary.NativeEndian.Uint32(w.in[12:]); by == port { // nlmsg_pid
		t.Error("woken by our own transaction")
	}
	before, _ := f.conn.generation()
	if h, err := f.Heal(); err != nil || len(h.Missing) > 0 {
		t.Errorf("healed an intact ruleset: %+v, %v", h, err)
	}
	if after, _ := f.conn.generation(); after != before {
		t.Errorf("the ruleset went from generation %d to %d", before, after)
	}
}

// A pinhole that is announced while our table is missing opens.
func TestOpenPinholeHeals(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	f := installed(t, n, healConfig(t, n))
	for i, command := range []string{"flush ruleset", "delete table inet pasvport"} {
		n.Run(t, "nft", command)
		if err := f.OpenPinhole(testPinhole(2 * i)); err != nil {
			t.Fatalf("after %s: %v", command, err)
		}
		if err := f.Renumber(uint32(i), "zero"); err != nil {
			t.Fatalf("after %s: %v", command, err)
		}
	}
	if got := elements(t, f); len(got) != 2 {
		t.Errorf("open: %q", got)
	}
	n.Run(t, "nft", "delete table inet pasvport")
	for _, note := range []string{"first", "second"} {
		if err := f.Renumber(7, note); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Renumbered()
	if d := cmp.Diff(map[uint32]string{0: "zero", 1: "zero", 7: "second"}, got); d != "" || err != nil {
		t.Errorf("renumbered: %v (-want +got):\n%s", err, d)
	}
}

// What is opened before Install is installed with it; after Remove there is no
// place for it.
func TestOpenBeforeInstall(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	f := open(t, n, healConfig(t, n))
	if err := errors.Join(f.OpenPinhole(testPinhole(0)), f.Renumber(7, "seven"), f.Install()); err != nil {
		t.Fatal(err)
	}
	if got := elements(t, f); len(got) != 2 {
		t.Errorf("open: %q", got)
	}
	ids, err := f.Renumbered()
	if d := cmp.Diff(map[uint32]string{7: "seven"}, ids); d != "" || err != nil {
		t.Errorf("renumbered: %v (-want +got):\n%s", err, d)
	}
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := f.OpenPinhole(testPinhole(0)); !errors.Is(err, unix.ENOENT) {
		t.Errorf("after Remove: %v, want ENOENT", err)
	}
}

// What a crashed daemon left open is open for the next one, for the remaining
// time, and with its note.
func TestInstallCarriesPinholesOver(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	c := healConfig(t, n)
	first := installed(t, n, c)
	for i := range 4 {
		p := testPinhole(i)
		p.Timeout, p.Note = 50*time.Second, fmt.Sprintf("number %d", i)
		if err := first.OpenPinhole(p); err != nil {
			t.Fatal(err)
		}
	}
	before := elements(t, first)
	second := installed(t, n, c)
	if d := cmp.Diff(before, elements(t, second)); d != "" {
		t.Errorf("carried over (-want +got):\n%s", d)
	}
	es, err := second.Elements()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		if !strings.HasPrefix(e.Note, "number ") || e.Expires < 40*time.Second || e.Expires > 50*time.Second {
			t.Errorf("element %+v", e)
		}
	}
	for i := range 4 {
		if err := second.ClosePinhole(testPinhole(i)); err != nil {
			t.Fatal(err)
		}
	}
	n.Run(t, "nft", "flush ruleset")
	n.Load(t, adminRuleset)
	if _, err := second.Heal(); err != nil {
		t.Fatal(err)
	}
	if got := elements(t, second); got != nil {
		t.Errorf("closed, and put back: %q", got)
	}
}

func TestReconfigure(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	c := healConfig(t, n)
	f := installed(t, n, c)
	if err := f.OpenPinhole(testPinhole(0)); err != nil {
		t.Fatal(err)
	}
	next := c
	next.Ports, next.Chains = []PortRange{{2121, 2122}}, []ChainRef{{FamilyINet, "filter", "input"}}
	if err := f.Reconfigure(next); err != nil {
		t.Fatal(err)
	}
	got := list(t, n)
	for _, want := range []string{"2121-2122", `accept comment "pasvport pasvport"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if chain := n.Run(t, "nft", "list", "chain", "inet", "filter", "forward"); strings.Contains(chain, "pasvport4") {
		t.Errorf("still in the chain that is no longer configured:\n%s", chain)
	}
	if es := elements(t, f); len(es) != 2 {
		t.Errorf("pinholes: %q", es)
	}
	next.Chains = []ChainRef{{FamilyINet, "filter", "nowhere"}}
	next.Ports = []PortRange{{99, 99}}
	if err := f.Reconfigure(next); err == nil {
		t.Error("a chain that does not exist: no error")
	}
	if d := cmp.Diff(withoutTimes(got), withoutTimes(list(t, n))); d != "" {
		t.Errorf("a failed change changed (-before +after):\n%s", d)
	}
	if h, err := f.Heal(); err != nil || len(h.Missing) > 0 {
		t.Errorf("Heal afterwards: %+v, %v", h, err)
	}
}

// Another program's ruleset change may find many pinholes open at once.
func TestHealManyPinholes(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	f := installed(t, n, healConfig(t, n))
	const many = 5000
	for i := range many {
		if err := f.OpenPinhole(testPinhole(i)); err != nil {
			t.Fatal(err)
		}
	}
	n.Run(t, "nft", "flush ruleset")
	n.Load(t, adminRuleset)
	start := time.Now()
	h, err := f.Heal()
	if err != nil || h.Pinholes != 2*many {
		t.Fatalf("%+v, %v", h, err)
	}
	t.Logf("%d elements put back in %v", h.Pinholes, time.Since(start))
	if got := elements(t, f); len(got) != 2*many {
		t.Errorf("%d elements", len(got))
	}
}
