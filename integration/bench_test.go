// SPDX-License-Identifier: Apache-2.0

//go:build bench

package integration

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

var (
	benchRounds = flag.Int("bench.rounds", 5, "rounds of each subject")
	benchTime   = flag.Duration("bench.time", time.Second, "time of one round of transfers")
	benchJSON   = flag.String("bench.json", "", "file for all figures")
)

// Open is a firewall that lets everything through, for comparison.
var Open = Subject{Name: "open"}

// workload is something to measure: it returns one figure per call.
type workload struct {
	Name     string
	Unit     string
	Position string
	measure  func(*testing.T, *bench) float64
	// rewritten is set where nothing works without rewriting, so Open cannot
	// be measured.
	rewritten bool
}

// row are the figures of one workload, by subject.
type row struct {
	Workload, Unit, Position string
	Figures                  map[string][]float64
}

// TestBench measures all subjects in turn, round by round, so that whatever
// else happens on the machine happens to all of them.
func TestBench(t *testing.T) {
	subjects := []Subject{Open, KernelHelper, Expectation, Claim}
	var rows []row
	for _, position := range []string{"routed", "masquerade"} {
		benches := map[string]*bench{}
		for _, s := range subjects {
			benches[s.Name] = newBench(t, position, s)
		}
		for _, w := range workloads(position) {
			rows = append(rows, measure(t, w, subjects, benches))
		}
	}
	fmt.Print(table(rows))
	if *benchJSON != "" {
		b, err := json.MarshalIndent(rows, "", "\t")
		if err == nil {
			err = os.WriteFile(*benchJSON, append(b, '\n'), 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func measure(t *testing.T, w workload, subjects []Subject, benches map[string]*bench) row {
	r := row{w.Name, w.Unit, w.Position, map[string][]float64{}}
	for range *benchRounds {
		for _, s := range subjects {
			if w.rewritten && s.Name == Open.Name {
				continue
			}
			r.Figures[s.Name] = append(r.Figures[s.Name], w.measure(t, benches[s.Name]))
		}
	}
	return r
}

// workloads are those of a position.
func workloads(position string) []workload {
	var list []workload
	add := func(name, unit string, rewritten bool, f func(*testing.T, *bench) float64) {
		list = append(list, workload{name, unit, position, f, rewritten})
	}
	add("NOOP p50", "us", false, func(t *testing.T, b *bench) float64 { return b.noop(t, 0.5) })
	add("NOOP p99", "us", false, func(t *testing.T, b *bench) float64 { return b.noop(t, 0.99) })
	for _, mode := range []Mode{PASV, PORT} {
		for _, sessions := range []int{1, 16, 64} {
			name := fmt.Sprintf("1 KB transfers %s, %d sessions", mode, sessions)
			add(name, "/s", mode == PORT && position != "routed",
				func(t *testing.T, b *bench) float64 { return b.transfers(t, mode, sessions) })
		}
	}
	add("new control connections", "/s", false, func(t *testing.T, b *bench) float64 { return b.logins(t) })
	add("1 GB", "MB/s", false, func(t *testing.T, b *bench) float64 { return b.bulk(t) })
	return list
}

// table prints medians with their range, and the ratio to the in-kernel helper
// of the same rounds.
func table(rows []row) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "position\tworkload\topen\tkernel\texpectation\tclaim\texpectation/kernel\tclaim/kernel")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s (%s)", r.Position, r.Workload, r.Unit)
		for _, s := range []string{"open", "kernel", "expectation", "claim"} {
			fmt.Fprintf(w, "\t%s", spread(r.Figures[s]))
		}
		for _, s := range []string{"expectation", "claim"} {
			fmt.Fprintf(w, "\t%s", spread(ratios(r.Figures[s], r.Figures["kernel"])))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return out.String()
}

// ratios are round by round: the machine's speed drifts.
func ratios(a, b []float64) []float64 {
	var r []float64
	for i := range min(len(a), len(b)) {
		r = append(r, a[i]/b[i])
	}
	return r
}

// spread is median [lowest..highest].
func spread(v []float64) string {
	if len(v) == 0 {
		return "-"
	}
	v = slices.Sorted(slices.Values(v))
	format := "%.0f [%.0f..%.0f]"
	if v[len(v)-1] < 10 {
		format = "%.2f [%.2f..%.2f]"
	}
	return fmt.Sprintf(format, v[len(v)/2], v[0], v[len(v)-1])
}
