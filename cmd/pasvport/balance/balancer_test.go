// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/rules"
)

var virtual = netip.MustParseAddr("203.0.113.171")

// three is a virtual server with three servers at 10.0.0.1 to 10.0.0.3.
func three(method config.Method) config.VirtualServer {
	v := config.VirtualServer{Name: "ftp", Listen: []netip.Addr{virtual}, Port: 21, Method: method}
	for i, name := range []string{"a", "b", "c"} {
		v.Servers = append(v.Servers, config.Server{Name: name, Weight: 1, Port: 21,
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})}})
	}
	return v
}

func newBalancer(list ...config.VirtualServer) *Balancer {
	return New(list, func(uint16) bool { return false }, slog.New(slog.DiscardHandler))
}

// kernel stores what it is given, and may refuse it.
type kernel struct {
	mu   sync.Mutex
	got  []rules.VirtualServer
	fail bool
}

func (k *kernel) apply(v rules.VirtualServer) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail {
		return errors.New("no")
	}
	k.got = append(k.got, v)
	return nil
}

// slots counts the slots of each server, by its last byte, in the last
// description; nil without any.
func (k *kernel) slots() map[byte]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.got) == 0 {
		return nil
	}
	n := map[byte]int{}
	for _, a := range k.got[len(k.got)-1].Slots {
		if a.IsValid() {
			n[a.Addr().As4()[3]]++
		}
	}
	return n
}

// change switches to another virtual server.
func (k *kernel) change(t *testing.T, b *Balancer, v config.VirtualServer) {
	t.Helper()
	err := b.Change([]config.VirtualServer{v}, func(list []rules.VirtualServer) error { return k.apply(list[0]) })
	if err != nil {
		t.Fatal(err)
	}
}

func (k *kernel) wait(t *testing.T, what string, want map[byte]int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		got := k.slots()
		same := got != nil && len(got) == len(want)
		for s, n := range want {
			same = same && got[s] == n
		}
		if same {
			return
		}
	}
	t.Fatalf("%s: slots %v, want %v", what, k.slots(), want)
}

// run runs a balancer until the test ends.
func run(t *testing.T, b *Balancer, k *kernel) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, k.apply) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestDrainAndReload(t *testing.T) {
	b, k := newBalancer(three(config.RoundRobin)), &kernel{}
	run(t, b, k)
	k.wait(t, "at first", map[byte]int{1: 20, 2: 20, 3: 20})
	if err := b.Drain("b", true); err != nil {
		t.Fatal(err)
	}
	k.wait(t, "b drained", map[byte]int{1: 30, 3: 30})
	if err := b.Drain("other/b", false); !errors.Is(err, ErrNoServer) {
		t.Errorf("an unknown server: %v, want %v", err, ErrNoServer)
	}

	// A reload keeps it drained, and doubles the weight of a.
	next := three(config.RoundRobin)
	next.Servers[0].Weight = 2
	no := errors.New("no")
	if err := b.Change([]config.VirtualServer{next}, func([]rules.VirtualServer) error { return no }); !errors.Is(err, no) {
		t.Errorf("a change that the kernel refuses: %v, want %v", err, no)
	}
	if got := b.Rules()[0].Slots; len(got) != 60 {
		t.Errorf("a change that was refused changes the slots: %v", got)
	}
	k.change(t, b, next)
	k.wait(t, "a with the double weight", map[byte]int{1: 40, 3: 20})
	if err := b.Drain("ftp/b", false); err != nil {
		t.Fatal(err)
	}
	k.wait(t, "b back", map[byte]int{1: 30, 2: 15, 3: 15})
	for _, name := range []string{"a", "b", "c"} {
		if err := b.Drain(name, true); err != nil {
			t.Fatal(err)
		}
	}
	k.wait(t, "nobody", map[byte]int{})
}

// TestBackup: a backup server gets sessions while no other one accepts any.
func TestBackup(t *testing.T) {
	v := three(config.RoundRobin)
	v.Servers[2].Backup = true
	b, k := newBalancer(v), &kernel{}
	run(t, b, k)
	k.wait(t, "at first", map[byte]int{1: 30, 2: 30})
	for _, tt := range []struct {
		name  string
		drain bool
		want  map[byte]int
	}{
		{"a", true, map[byte]int{2: 60}}, {"b", true, map[byte]int{3: 60}}, {"c", true, map[byte]int{}},
		{"c", false, map[byte]int{3: 60}}, {"b", false, map[byte]int{2: 60}}, {"a", false, map[byte]int{1: 30, 2: 30}},
	} {
		if err := b.Drain(tt.name, tt.drain); err != nil {
			t.Fatal(err)
		}
		k.wait(t, tt.name, tt.want)
	}
}

// TestChangeAlone: while the kernel gets other virtual servers, it is not given
// the slots of the old ones; what came last would stay.
func TestChangeAlone(t *testing.T) {
	b, k := newBalancer(three(config.RoundRobin)), &kernel{}
	run(t, b, k)
	k.wait(t, "at first", map[byte]int{1: 20, 2: 20, 3: 20})
	next := three(config.RoundRobin)
	next.Servers[0].Weight = 2
	err := b.Change([]config.VirtualServer{next}, func(list []rules.VirtualServer) error {
		k.apply(list[0])
		if err := b.Drain("b", true); err != nil {
			return err
		}
		time.Sleep(5 * pause)
		if got := k.slots(); got[1] != 30 {
			t.Errorf("in the middle of a change the slots are %v", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	k.wait(t, "b drained", map[byte]int{1: 40, 3: 20})
}

// TestRetry: what the kernel refuses is retried.
func TestRetry(t *testing.T) {
	b, k := newBalancer(three(config.RoundRobin)), &kernel{fail: true}
	run(t, b, k)
	time.Sleep(50 * time.Millisecond)
	k.mu.Lock()
	k.fail = false
	k.mu.Unlock()
	k.wait(t, "after a failure", map[byte]int{1: 20, 2: 20, 3: 20})
}

func TestLeastSessions(t *testing.T) {
	b, k := newBalancer(three(config.LeastSessions)), &kernel{}
	run(t, b, k)
	k.wait(t, "at first", map[byte]int{1: 20, 2: 20, 3: 20})
	dialled := netip.AddrPortFrom(virtual, 21)
	server := netip.MustParseAddrPort("10.0.0.1:21")
	for range 50 {
		b.Began(dialled, server)
	}
	k.wait(t, "a with 50 sessions", map[byte]int{2: 30, 3: 30})
	if got := b.Sessions(); got != 50 {
		t.Errorf("%d sessions, want 50", got)
	}
	for range 50 {
		b.Ended(dialled, server)
	}
	k.wait(t, "a without sessions", map[byte]int{1: 20, 2: 20, 3: 20})
	b.Began(server, server) // not balanced
	if len(b.sessions) != 0 {
		t.Errorf("counted: %v", b.sessions)
	}
}

// TestRestore: what an earlier run has recorded holds until checks say otherwise.
func TestRestore(t *testing.T) {
	v := three(config.RoundRobin)
	v.Check = config.Check{Interval: time.Hour, Timeout: time.Second, Rise: 1, Fall: 1}
	b := newBalancer(v)
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(v.Servers[i].Addrs[0], 21) }
	parked := []rules.Parked{{Server: at(0), Why: whyDrained}, {Server: at(1), Why: whyBoth}, {Server: netip.MustParseAddrPort("10.9.9.9:21"), Why: whyDown}}
	b.Restore(b.Rules()[0], parked)
	if got := b.Rules()[0].Parked; len(got) != 2 || got[0] != parked[0] || got[1] != parked[1] {
		t.Errorf("parked %v, want %v", got, parked[:2])
	}
	want := []control.ServerState{control.ServerDrained, control.ServerDrained, control.ServerUp}
	for i, s := range b.Servers() {
		if s.State != want[i] || s.Up != (i != 1) {
			t.Errorf("server %s is %s, up %v, want %s", s.Name, s.State, s.Up, want[i])
		}
	}
	// Without checks no one would ever find out that a server is up again.
	v.Check = config.Check{}
	(&kernel{}).change(t, b, v)
	if !b.Servers()[1].Up {
		t.Error("a server that is not checked any more stays down")
	}
}

// TestRiseAndFall: the first check decides alone, later ones in a row.
func TestRiseAndFall(t *testing.T) {
	k := config.Check{Rise: 2, Fall: 3}
	no := errors.New("no")
	e := &end{up: true}
	now := time.Now()
	for i, step := range []struct {
		err error
		up  bool
	}{
		{no, false}, {nil, false}, {no, false}, {nil, false}, {nil, true},
		{no, true}, {no, true}, {nil, true}, {no, true}, {no, true}, {no, false},
	} {
		now = now.Add(time.Second)
		was := e.up
		if changed := e.result(k, step.err, now); changed != (was != step.up) || e.up != step.up {
			t.Errorf("step %d: up %v, changed %v, want up %v", i, e.up, changed, step.up)
		}
		if was != e.up && e.since != now {
			t.Errorf("step %d: since %v, want %v", i, e.since, now)
		}
	}
}
