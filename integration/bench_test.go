// SPDX-License-Identifier: Apache-2.0

//go:build bench

package integration

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

var (
	benchRounds    = flag.Int("bench.rounds", 5, "rounds of each subject")
	benchTime      = flag.Duration("bench.time", time.Second, "time of one round of transfers")
	benchPositions = flag.String("bench.positions", "routed,masquerade", "where the firewall stands")
	benchWorkloads = flag.String("bench.workloads", "", "only workloads whose name matches")
	benchSubject   = flag.String("bench.subjects", ".", "only subjects whose name matches")
	benchAgainst   = flag.String("bench.against", "", "other builds of pasvport, each NAME=FILE, to measure beside this one")
	benchJSON      = flag.String("bench.json", "", "file for all figures")
)

// Results are all figures of a run.
type Results struct {
	Machine Machine
	Rows    []Row
}

// Machine is the machine that ran the benchmark.
type Machine struct {
	Kernel, Processor, Go, Commit string
	Processors                    int
	When                          time.Time
}

// Row is the figures of one workload by subject, one figure per round.
type Row struct {
	Position, Workload, Figure, Unit string
	Figures                          map[string][]float64
}

// Figure is something that a workload measures.
type Figure struct {
	Name, Unit string
	Value      float64
}

// Workload is something to measure.
type Workload struct {
	Name    string
	measure func(*testing.T, *bench) []Figure
	// rewritten marks workloads that need rewriting.
	rewritten bool
	// started marks workloads that start the subject, which applies to pasvport
	// only.
	started bool
}

// TestBench measures all subjects in turn, round by round, so that other load on
// the machine affects all of them alike.
func TestBench(t *testing.T) {
	results := Results{Machine: thisMachine()}
	wanted, err := regexp.Compile(*benchWorkloads)
	if err != nil {
		t.Fatalf("-bench.workloads: %v", err)
	}
	for _, name := range strings.Split(*benchPositions, ",") {
		t.Run(name, func(t *testing.T) { // ends its networks, and what conntrack knows of them
			p := position(name)
			var benches []*bench
			for _, s := range benchSubjects(t, p) {
				benches = append(benches, newBench(t, p, s))
			}
			for _, w := range workloads(p) {
				if wanted.MatchString(w.Name) {
					results.Rows = append(results.Rows, measure(t, p, w, benches)...)
				}
			}
		})
	}
	fmt.Print(results.tables())
	if text, err := results.compared("../docs/bench.json"); err != nil {
		t.Error(err)
	} else {
		fmt.Print(text)
	}
	results.write(t)
}

func (r *Results) write(t *testing.T) {
	if *benchJSON == "" {
		return
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = os.WriteFile(*benchJSON, append(b, '\n'), 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

func measure(t *testing.T, p Position, w Workload, benches []*bench) []Row {
	var rows []Row
	for range *benchRounds {
		for _, b := range benches {
			if w.rewritten && !b.subject.rewrites() || w.started && b.subject.Strategy == "" {
				continue
			}
			for i, f := range w.measure(t, b) {
				if i == len(rows) {
					rows = append(rows, Row{p.Name, w.Name, f.Name, f.Unit, map[string][]float64{}})
				}
				rows[i].Figures[b.subject.Name] = append(rows[i].Figures[b.subject.Name], f.Value)
			}
		}
	}
	return rows
}

// workloads are those of a position.
func workloads(p Position) []Workload {
	list := []Workload{
		// Measured before conntrack fills up with the connections of other
		// workloads: at its start the daemon lists the entries of its namespace.
		{Name: "start to first transfer", measure: firstTransfer, started: true},
		{Name: "NOOP round trip", measure: noop},
	}
	for _, mode := range []Mode{PASV, PORT} {
		for _, sessions := range []int{1, 16, 64} {
			list = append(list, Workload{
				Name: fmt.Sprintf("1 KB files, %s, %d sessions", mode, sessions), measure: transfers(mode, sessions),
				rewritten: mode == PORT && p.Hidden,
			})
		}
	}
	return append(list,
		Workload{Name: "new control connections", measure: logins},
		Workload{Name: "1 GB file", measure: bulk})
}

func noop(t *testing.T, b *bench) []Figure { return roundTrip(t, b, "noop") }

func roundTrip(t *testing.T, b *bench, do string) []Figure {
	a := b.ask(t, request{Do: do, Count: 2000})
	at := func(q float64) float64 { return float64(a.Times[int(q*float64(len(a.Times)))].Nanoseconds()) / 1000 }
	return []Figure{{"p50", "us", at(0.5)}, {"p99", "us", at(0.99)}}
}

// The processor time of this many transfers: of the whole machine, and of the
// subject and the load generator together. The two are nearly the same on an idle
// machine; the second ignores other load.
const (
	perTransfers = 10_000
	cpuMachine   = "CPU per 10000, machine"
	cpuOurs      = "CPU per 10000, subject and load generator"
)

// transfers also measures their cost: the whole machine, its softirqs, where the
// packets of all namespaces are handled, the subject's processes, and the load
// generator's.
func transfers(m Mode, sessions int) func(*testing.T, *bench) []Figure {
	return func(t *testing.T, b *bench) []Figure {
		before := b.cost(t)
		a := b.ask(t, request{Do: "transfers", Mode: string(m), Sessions: sessions, Time: *benchTime})
		used := b.cost(t).minus(before)
		each := perTransfers / float64(a.Count)
		return []Figure{
			{"", "/s", float64(a.Count) / a.Elapsed.Seconds()},
			{cpuMachine, "s", used.machine * each},
			{"CPU per 10000, softirq", "s", used.softirq * each},
			{"CPU per 10000, subject", "s", used.subject * each},
			{"CPU per 10000, load generator", "s", used.load * each},
			{cpuOurs, "s", (used.subject + used.load) * each},
		}
	}
}

// logins opens control connections and measures from the SYN to the last reply.
func logins(t *testing.T, b *bench) []Figure {
	a := b.ask(t, request{Do: "logins", Time: *benchTime})
	return []Figure{{"", "/s", float64(a.Count) / a.Elapsed.Seconds()}}
}

func bulk(t *testing.T, b *bench) []Figure {
	a := b.ask(t, request{Do: "bulk", Mode: string(PASV)})
	return []Figure{{"", "MB/s", float64(a.Count) / 1e6 / a.Elapsed.Seconds()}}
}

// firstTransfer stops the daemon and measures from the start of the process to
// the end of the first transfer of a new session.
func firstTransfer(t *testing.T, b *bench) []Figure {
	b.restart(t)
	start := time.Now()
	b.start(t)
	ready := time.Since(start)
	b.ask(t, request{Do: "first", Mode: string(PASV)})
	return []Figure{
		{"ready", "ms", float64(ready.Microseconds()) / 1000},
		{"", "ms", float64(time.Since(start).Microseconds()) / 1000},
	}
}

func thisMachine() Machine {
	m := Machine{Go: runtime.Version(), Processors: runtime.NumCPU(), When: time.Now().UTC().Truncate(time.Second)}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(b), "model name")
		line, _, _ := strings.Cut(rest, "\n")
		_, m.Processor, _ = strings.Cut(line, ": ")
	}
	if out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out))
	}
	return m
}
