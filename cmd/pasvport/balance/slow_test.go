// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

// allWarm are n servers that have been up for long.
func allWarm(n int) []int {
	part := make([]int, n)
	for i := range part {
		part[i] = warm
	}
	return part
}

// shares counts the slots of each server.
func shares(n int, slots []int) []int {
	have := make([]int, n)
	for _, s := range slots {
		have[s]++
	}
	return have
}

// TestSlowStart: a server that comes back gets its share gradually, whatever the
// method is, and only its own slots change.
func TestSlowStart(t *testing.T) {
	in := make([]bool, 3)
	for _, m := range []config.Method{config.RoundRobin, config.SourceHash, config.LeastSessions} {
		before, all := 0, choose(m, []int{1, 1, 1}, []int{300, 300, 0}, in, allWarm(3), 0)
		for _, part := range []int{1, 250, 500, 999, 1000} {
			slots := choose(m, []int{1, 1, 1}, []int{300, 300, 0}, in, []int{warm, warm, part}, 0)
			have := shares(3, slots)
			if have[2] < before || have[0]+have[1]+have[2] != 60 {
				t.Errorf("%s, part %d: slots %v, before %d", m, part, have, before)
			}
			if before = have[2]; m == config.LeastSessions {
				continue
			}
			if want := max(20*part/warm, 1); have[2] != want {
				t.Errorf("%s, part %d: %d slots, want %d", m, part, have[2], want)
			}
			for i, s := range slots {
				if s != all[i] && all[i] != 2 {
					t.Errorf("%s, part %d: slot %d moves from %d to %d", m, part, i, all[i], s)
				}
			}
		}
	}
}

// TestSlowStartAlone: servers that come back together, and one without others
// that accept sessions, have all.
func TestSlowStartAlone(t *testing.T) {
	v := three(config.RoundRobin)
	v.SlowStart, v.Servers[2].Weight = time.Minute, 0
	b, now := newBalancer(v), time.Now()
	p := b.pools[0]
	for i := range 2 {
		p.servers[i].ends[0].back = now
	}
	slots := map[byte]int{}
	for _, a := range p.rules(now.Add(time.Second))[0].Slots {
		slots[a.Addr().As4()[3]]++
	}
	if slots[1] != 30 || slots[2] != 30 {
		t.Errorf("slots %v, want 30 of each", slots)
	}
	*p.servers[1].drained = true
	for _, a := range p.rules(now)[0].Slots {
		if a != p.servers[0].ends[0].addr {
			t.Fatalf("a slot of %v", a)
		}
	}
}

// TestSlowStartTime: servers come back by a check, by undrain and by a reload.
func TestSlowStartTime(t *testing.T) {
	v := three(config.RoundRobin)
	v.SlowStart, v.Check = time.Second, config.Check{Interval: time.Hour, Rise: 1, Fall: 1}
	b, k := newBalancer(v), &kernel{}
	c := b.pools[0].servers[2].ends[0]
	for _, err := range []error{nil, ErrNoServer, nil} { // any error
		c.result(v.Check, err, time.Now())
	}
	if s := b.Servers()[2]; s.State != control.ServerSlowStart {
		t.Errorf("state %q", s.State)
	}
	k.change(t, b, v)
	if n := k.slots()[3]; n == 0 || n >= 20 {
		t.Errorf("at first %d slots", n)
	}
	v.Check.Interval = 0
	k.change(t, b, v)
	run(t, b, k)
	k.wait(t, "after a second", map[byte]int{1: 20, 2: 20, 3: 20})
	for _, drain := range []bool{true, false} {
		if err := b.Drain("a", drain); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.rules(b.pools)[0].Slots; len(n) != 60 || b.Servers()[0].State != control.ServerSlowStart {
		t.Errorf("after undrain: %v", b.Servers()[0].State)
	}
	k.wait(t, "after another", map[byte]int{1: 20, 2: 20, 3: 20})
	two := v
	two.Servers = v.Servers[:2]
	k.change(t, b, two)
	k.change(t, b, v)
	if n := k.slots()[3]; n == 0 || n >= 20 {
		t.Errorf("new by a reload: %d slots", n)
	}
}
