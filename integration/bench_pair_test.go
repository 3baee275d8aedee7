// SPDX-License-Identifier: Apache-2.0

//go:build bench

package integration

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pairBench is a pair with a load generator.
type pairBench struct {
	*bench
	f *FirewallPair
}

func newPairBench(t *testing.T, name, program string, strange bool, flags ...string) *pairBench {
	subject := Expectation
	subject.Program = program
	flags = append([]string{"--log-level", "info", "--metrics", scaleMetrics, "--max-sessions", "200000", "--max-client-sessions", "200000"}, flags...)
	f := NewPairOnly(t, pairNAT, AllowRelated, subject, PairConf{}, flags...)
	f.strange = strange
	f.StartDaemons(t)
	subject.Name = name
	b := &pairBench{&bench{subject: subject, site: f.Site, clientHost: f.Client, daemon: f.Machines[0].daemon}, f}
	b.startEnds(t, f.Dial(f.Client, IPv4, 0), f.Server)
	return b
}

// TestBenchPair measures what the other firewall costs: daemons with and without
// a peer in turn, with conntrackd and keepalived, with and without the fast path, and
// other builds with a peer.
func TestBenchPair(t *testing.T) {
	results := Results{Machine: thisMachine()}
	var names []string
	var benches []*pairBench
	type side struct {
		name    string
		strange bool
		flags   []string
		program string
	}
	sides := []side{
		{"alone", true, nil, ""}, {"peer", false, nil, ""}, {"peer, never waits", false, []string{"--peer-wait", "never"}, ""},
		{"alone, fast path", true, []string{"--fast-path", "auto"}, ""}, {"peer, fast path", false, []string{"--fast-path", "auto"}, ""},
	}
	for _, other := range otherBuilds(t) {
		sides = append(sides, side{"peer, " + other.Name, false, nil, other.Program})
	}
	for _, c := range sides {
		names, benches = append(names, c.name), append(benches, newPairBench(t, c.name, c.program, c.strange, c.flags...))
	}
	row := func(b *pairBench, w string, figures []Figure) {
		for _, f := range figures {
			name := strings.TrimSpace(w + " " + f.Name)
			i := slices.IndexFunc(results.Rows, func(r Row) bool { return r.Workload == name })
			if i < 0 {
				i = len(results.Rows)
				results.Rows = append(results.Rows, Row{Position: b.site.Position.Name, Workload: name, Unit: f.Unit, Figures: map[string][]float64{}})
			}
			results.Rows[i].Figures[b.subject.Name] = append(results.Rows[i].Figures[b.subject.Name], f.Value)
		}
	}
	for range *benchRounds {
		for _, w := range []struct {
			name string
			do   func(*testing.T, *bench) []Figure
		}{
			{"NOOP round trip", noop},
			{"PASV to 227", func(t *testing.T, b *bench) []Figure { return roundTrip(t, b, "pasv") }},
			{"1 KB files, PASV, 1 session", func(t *testing.T, b *bench) []Figure { return transfers(PASV, 1)(t, b)[:1] }},
			{"1 KB files, PASV, 16 sessions", func(t *testing.T, b *bench) []Figure { return transfers(PASV, 16)(t, b)[:1] }},
			{"1 KB files, PORT, 16 sessions", func(t *testing.T, b *bench) []Figure { return transfers(PORT, 16)(t, b)[:1] }},
		} {
			for _, b := range benches {
				row(b, w.name, w.do(t, b.bench))
			}
		}
	}
	var out strings.Builder
	all := func(*Row) bool { return true }
	results.table(&out, names, all, func(r *Row, c string) []float64 { return r.Figures[c] })
	results.table(&out, []string{"peer/alone", "peer, never waits/alone", "peer, fast path/alone, fast path"}, all, func(r *Row, c string) []float64 {
		a, b, _ := strings.Cut(c, "/")
		return rounds(r.Figures[a], r.Figures[b], func(a, b float64) float64 { return a / b })
	})
	fmt.Print(out.String())
	results.write(t)
}

// TestBenchPairTakes measures the memory per session, with and without a peer,
// and how soon after conntrackd's commit sessions are live on the other machine.
func TestBenchPairTakes(t *testing.T) {
	const sessions = 8000
	live := func(h *Host) float64 { return h.metrics(t)["go_memstats_next_gc_bytes"] / 2 }
	var each [2][2]float64
	for i, strange := range []bool{true, false} {
		t.Run(fmt.Sprint(strange), func(t *testing.T) {
			b := newPairBench(t, "", "", strange)
			var before [2]float64
			for j, m := range b.f.Machines {
				before[j] = live(m.Host)
			}
			b.ask(t, request{Do: "hold", Sessions: sessions})
			time.Sleep(3 * time.Second) // time for late reports to the peer
			for j, m := range b.f.Machines {
				each[i][j] = (live(m.Host) - before[j]) / sessions
			}
			if strange {
				return
			}
			m := b.f.Machines[1]
			if err := waitFor(30*time.Second, "conntrackd has all", func() bool { return m.cached(t) >= sessions }); err != nil {
				t.Fatalf("%v: %d", err, m.cached(t))
			}
			takes(t, m, sessions)
			fmt.Printf("live heap of the machine that has taken over: %.0f bytes for a session\n", (live(m.Host)-before[1])/sessions)
		})
	}
	fmt.Printf("live heap for a session: %.0f bytes without a peer; with one %.0f on the machine that has it, %.0f on the other\n",
		each[0][0], each[1][0], each[1][1])
}

// cached is how many entries of the other machine conntrackd has.
func (m *PairMachine) cached(t *testing.T) int {
	c, err := m.unpacked("conntrackd", "-C", m.Dir+"/conntrackd.conf", "-s", "cache")
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Run(10*time.Second, c)
	if err != nil {
		t.Fatal(out)
	}
	_, external, _ := strings.Cut(out, "cache:external")
	_, number, _ := strings.Cut(external, "active objects:")
	n := 0
	fmt.Sscan(number, &n)
	return n
}

// takes makes conntrackd commit, and measures until all sessions are live.
func takes(t *testing.T, m *PairMachine, sessions int) {
	c, err := m.unpacked("conntrackd", "-C", m.Dir+"/conntrackd.conf", "-c")
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	var entered time.Duration
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = waitFor(30*time.Second, "commit", func() bool { return m.entries() >= sessions })
		entered = time.Since(begun)
	}()
	if out, err := m.Run(30*time.Second, c); err != nil {
		t.Fatal(out)
	}
	var taken time.Duration
	if err := waitFor(30*time.Second, "sessions", func() bool { return m.metrics(t)["pasvport_sessions"] >= float64(sessions) }); err != nil {
		t.Fatal(err)
	}
	taken = time.Since(begun)
	<-done
	fmt.Printf("%d sessions: in conntrack %v after the begin of the commit, live %v after it\n", sessions,
		entered.Round(time.Millisecond), taken.Round(time.Millisecond))
}

// entries is how many entries conntrack has.
func (h *Host) entries() (n int) {
	_ = h.Do(func() error {
		b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		n, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		return err
	})
	return n
}
