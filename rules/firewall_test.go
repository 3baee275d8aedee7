// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/integration/stage"
)

// forward is the chain of adminRuleset that the tests use.
var forward = ChainRef{FamilyINet, "filter", "forward"}

// list is the ruleset without counters.
func list(t *testing.T, n stage.Namespace) string {
	t.Helper()
	return n.Run(t, "nft", "-s", "list", "ruleset")
}

func TestInstallAndRemoveLeaveNothing(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	before := list(t, n)
	c := textConfigs[3].c
	c.Queue = testQueue(t, n)
	f := installed(t, n, c)
	once := list(t, n)
	if once == before {
		t.Fatal("Install changed nothing")
	}
	if err := f.Install(); err != nil {
		t.Fatalf("second Install: %v", err)
	}
	if d := cmp.Diff(once, list(t, n)); d != "" {
		t.Errorf("second Install (-once +twice):\n%s", d)
	}
	for range 2 {
		if err := f.Remove(); err != nil {
			t.Fatalf("Remove: %v", err)
		}
		if d := cmp.Diff(before, list(t, n)); d != "" {
			t.Errorf("after Remove (-want +got):\n%s", d)
		}
	}
}

// A crashed run leaves rules and sets also in chains that the next run is not
// configured for.
func TestInstallClearsLeftovers(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	before := list(t, n)
	kind := testQueue(t, n)
	first := textConfigs[3].c
	first.Queue = kind
	installed(t, n, first)
	// Rules before ours must not matter.
	n.Run(t, "nft", "insert", "rule", "inet", "filter", "forward", "ip", "ttl", "1", "drop", "comment", "mine")

	second := Config{Table: first.Table, Carrier: CarrierNone, Queue: kind}
	f := installed(t, n, second)
	if got := list(t, n); strings.Contains(got, first.Comment()) || strings.Contains(got, "sane") {
		t.Errorf("leftovers of the first run:\n%s", got)
	}
	n.Run(t, "nft", "flush", "chain", "inet", "filter", "forward")
	n.Run(t, "nft", "add", "rule", "inet", "filter", "forward", "tcp", "dport", "22", "accept", "comment", "pasvport")
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, list(t, n)); d != "" {
		t.Errorf("after Remove (-want +got):\n%s", d)
	}
}

func TestRemoveToleratesFlush(t *testing.T) {
	tests := []struct{ name, command string }{
		{"ruleset", "flush ruleset"},
		{"our table", "delete table inet pasvport"},
		{"our rules", "flush table inet pasvport"},
		{"chain", "flush chain inet filter forward"},
		{"chain and set", "flush chain inet filter forward; delete set inet filter pasvport4"},
		{"admin table", "delete table inet filter"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := stage.New(t)
			n.Load(t, adminRuleset)
			f := installed(t, n, Config{Queue: testQueue(t, n), Claim: true, Chains: []ChainRef{forward}})
			if ok, err := f.Present(); !ok || err != nil {
				t.Errorf("Present after Install: %v, %v", ok, err)
			}
			n.Run(t, "nft", tt.command)
			if ok, err := f.Present(); ok || err != nil {
				t.Errorf("Present after %s: %v, %v", tt.command, ok, err)
			}
			if err := f.Remove(); err != nil {
				t.Fatalf("Remove: %v", err)
			}
			if got := list(t, n); strings.Contains(got, "pasvport4") || strings.Contains(got, "control_ports") {
				t.Errorf("left:\n%s", got)
			}
		})
	}
}

func TestInstallRefuses(t *testing.T) {
	tests := []struct {
		name, ruleset string
		c             Config
		want          error
		object        string
	}{
		{"no chain", adminRuleset, Config{Chains: []ChainRef{{FamilyINet, "filter", "output"}}}, ErrNoChain, "inet filter output"},
		{"no table", "", Config{Chains: []ChainRef{forward}}, ErrNoChain, "inet filter forward"},
		{"wrong family", adminRuleset, Config{Chains: []ChainRef{{FamilyIPv6, "filter", "forward"}}}, ErrNoChain, "ip6 filter forward"},
		{"table of others", adminRuleset, Config{Table: "filter"}, ErrForeign, "inet filter"},
		{"set of others", adminRuleset + "add set inet filter pasvport6 { type ipv6_addr; }", Config{Chains: []ChainRef{forward}}, ErrForeign, "inet filter pasvport6"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := stage.New(t)
			n.Load(t, tt.ruleset)
			before := list(t, n)
			tt.c.Queue = testQueue(t, n)
			f := open(t, n, tt.c)
			err := f.Install()
			var op *OpError
			if !errors.Is(err, tt.want) || !errors.As(err, &op) || op.Object != tt.object {
				t.Errorf("Install: %v; want %v about %q", err, tt.want, tt.object)
			}
			if err := f.Remove(); err != nil {
				t.Errorf("Remove: %v", err)
			}
			if d := cmp.Diff(before, list(t, n)); d != "" {
				t.Errorf("changed (-want +got):\n%s", d)
			}
		})
	}
}

// A failed transaction names its message and changes nothing.
func TestInstallFailsAsAWhole(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	before := list(t, n)
	c := Config{Queue: testQueue(t, n), Chains: []ChainRef{forward}}
	f := open(t, n, c)
	// Family 255 has no helper: the kernel refuses the object.
	tab := describe(f.cfg)
	tab.objects[1].ip = 255
	f.conn.begin(&f.b, 0)
	if err := f.b.addAll(tab); err != nil {
		t.Fatal(err)
	}
	err := f.conn.commit(&f.b)
	var op *OpError
	if !errors.As(err, &op) || op.Object != "ct helper inet pasvport sane6" {
		t.Errorf("commit: %v, want an error about sane6", err)
	}
	if d := cmp.Diff(before, list(t, n)); d != "" {
		t.Errorf("changed (-want +got):\n%s", d)
	}
	// Answers to the messages after the failed one must not confuse the next
	// transaction.
	if err := f.Install(); err != nil {
		t.Errorf("Install after a failed transaction: %v", err)
	}
}

// Two daemons share a chain, while a neighbour changes the ruleset all the time.
func TestTwoDaemons(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	before := list(t, n)
	kind := testQueue(t, n)
	var fs []*Firewall
	for _, name := range []string{"pasvport", "pasvport2"} {
		fs = append(fs, open(t, n, Config{Table: name, Queue: kind, Chains: []ChainRef{forward}, Claim: true}))
	}
	var wg sync.WaitGroup
	for _, f := range fs {
		wg.Go(func() {
			for i := range 20 {
				if err := f.Install(); err != nil {
					t.Errorf("%s: Install %d: %v", f.cfg.Table, i, err)
				}
				if err := f.OpenPinhole(testPinhole(i)); err != nil {
					t.Errorf("%s: OpenPinhole %d: %v", f.cfg.Table, i, err)
				}
			}
		})
	}
	wg.Wait()
	for _, f := range fs {
		if ok, err := f.Present(); !ok || err != nil {
			t.Errorf("%s: Present: %v, %v", f.cfg.Table, ok, err)
		}
	}
	if err := fs[0].Remove(); err != nil {
		t.Fatal(err)
	}
	if ok, err := fs[1].Present(); !ok || err != nil {
		t.Errorf("the other's Remove took ours: %v, %v", ok, err)
	}
	if err := fs[1].Remove(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, list(t, n)); d != "" {
		t.Errorf("after both Removes (-want +got):\n%s", d)
	}
}

// A rule that replaced a deleted one between our look and our transaction must
// survive: the kernel refuses an old generation.
func TestOldGeneration(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	f := installed(t, n, Config{Queue: testQueue(t, n), Chains: []ChainRef{forward}})
	inv, err := f.conn.takeInventory(f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(inv.rules) != 2 || len(inv.sets) != 2 || !inv.table {
		t.Errorf("inventory: %+v", inv)
	}
	n.Run(t, "nft", "add", "table", "inet", "other")
	f.conn.begin(&f.b, inv.generation)
	inv.clear(&f.b, f.cfg)
	if err := f.conn.commit(&f.b); !errors.Is(err, unix.ERESTART) {
		t.Errorf("commit with an old generation: %v, want %v", err, unix.ERESTART)
	}
	if err := f.Remove(); err != nil {
		t.Errorf("Remove: %v", err)
	}
}

// onlyNetAdmin makes this thread run as nobody, with CAP_NET_ADMIN or no
// capability.
func onlyNetAdmin(caps uint32) error {
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return err
	}
	// The raw call affects this thread alone.
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
		return e
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: caps, Permitted: caps}}
	return unix.Capset(&hdr, &data[0])
}

func TestRights(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	kind := testQueue(t, n)
	t.Run("CAP_NET_ADMIN is enough", func(t *testing.T) {
		n.In(t, func() error {
			if err := onlyNetAdmin(1 << unix.CAP_NET_ADMIN); err != nil {
				return err
			}
			if _, err := Probe(); err != nil {
				return fmt.Errorf("probe: %w", err)
			}
			f, err := Open(Config{Queue: kind, Chains: []ChainRef{forward}, Claim: true})
			if err != nil {
				return err
			}
			defer f.Close()
			return errors.Join(f.Install(), f.OpenPinhole(testPinhole(1)), f.ClosePinhole(testPinhole(1)), f.Remove())
		})
	})
	t.Run("nothing is not", func(t *testing.T) {
		n.In(t, func() error {
			if err := onlyNetAdmin(0); err != nil {
				return err
			}
			if _, err := Probe(); !errors.Is(err, unix.EPERM) {
				return fmt.Errorf("probe: %v, want EPERM", err)
			}
			f, err := Open(Config{Queue: kind})
			if err != nil {
				return err
			}
			defer f.Close()
			if err := f.Install(); !errors.Is(err, unix.EPERM) {
				return fmt.Errorf("install: %v, want EPERM", err)
			}
			runtime.KeepAlive(f)
			return nil
		})
	})
}

// TestHasTarget: asking the kernel for an xtables target gives the same answer as
// a rule with it.
func TestHasTarget(t *testing.T) {
	n := stage.New(t)
	c, err := dial(n.FD)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	p := prober{conn: c}
	tried := p.xtables(queue(QueueXT, 0, true))
	if asked := c.hasTarget("NFQUEUE", 3); (asked == nil) != (tried == nil) {
		t.Errorf("asked: %v, tried: %v", asked, tried)
	}
	for revision, name := range []string{"NOSUCH", 200: "NFQUEUE"} {
		if name != "" && c.hasTarget(name, uint32(revision)) == nil {
			t.Errorf("%s exists in revision %d", name, revision)
		}
	}
}

// The kernel may lack one kind of queue, but not both.
func TestProbe(t *testing.T) {
	n := stage.New(t)
	f, err := probe(n.FD)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", f)
	for name, ok := range map[string]bool{
		"NativeQueue": f.NativeQueue, "SaneIPv4": f.SaneIPv4, "SaneIPv6": f.SaneIPv6,
		"Bare": f.Bare, "InnerHeader": f.InnerHeader, "Hash": f.Hash, "MaxSegment": f.MaxSegment,
	} {
		if missing := f.Missing[name]; ok != (missing == nil) {
			t.Errorf("%s: %v, but the kernel's answer is %v", name, ok, missing)
		}
	}
	if !f.NativeQueue && !f.XTQueue && f.Missing["XTQueue"] == nil {
		t.Error("no queue and no reason")
	}
	if got := list(t, n); got != "" {
		t.Errorf("Probe left:\n%s", got)
	}
	// Install can use what Probe finds.
	kind := testQueue(t, n)
	for _, c := range []Carrier{CarrierSane, CarrierBare, CarrierNone} {
		if c == CarrierSane && !(f.SaneIPv4 && f.SaneIPv6) || c == CarrierBare && !f.Bare {
			continue
		}
		installed(t, n, Config{Carrier: c, Queue: kind, Queues: 2})
	}
}
