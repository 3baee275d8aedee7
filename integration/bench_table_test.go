// SPDX-License-Identifier: Apache-2.0

//go:build bench

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// columns are the subjects in the order of the tables; other builds follow.
var columns = []string{Direct.Name, Open.Name, KernelHelper.Name, Expectation.Name, Claim.Name, FastPath.Name, Floor.Name, FloorAnnounced.Name, Proxy.Name}

// tables formats medians with their range, ratios of the same rounds, and the
// cost of a transfer, in Markdown.
func (r *Results) tables() string {
	var out strings.Builder
	m := r.Machine
	fmt.Fprintf(&out, "Linux %s, %d × %s, %s, commit %s, %s\n", m.Kernel, m.Processors, m.Processor, m.Go, m.Commit, m.When.Format("2006-01-02"))
	subjects := r.subjects()
	isCPU := func(row *Row) bool { return strings.HasPrefix(row.Figure, "CPU") }
	r.table(&out, subjects, func(row *Row) bool { return !isCPU(row) },
		func(row *Row, c string) []float64 { return row.Figures[c] })
	r.table(&out, r.pairs("/", KernelHelper.Name, Open.Name), func(row *Row) bool { return !isCPU(row) },
		func(row *Row, pair string) []float64 {
			a, b, _ := strings.Cut(pair, "/")
			return rounds(row.Figures[a], row.Figures[b], func(a, b float64) float64 { return a / b })
		})
	r.table(&out, subjects, isCPU, func(row *Row, c string) []float64 { return row.Figures[c] })
	fmt.Fprintln(&out, "\nProcessor time for a transfer, in excess of another subject's, in us:")
	r.table(&out, r.pairs(" - ", KernelHelper.Name, Open.Name), func(row *Row) bool { return row.Figure == cpuMachine || row.Figure == cpuOurs },
		func(row *Row, pair string) []float64 {
			a, b, _ := strings.Cut(pair, " - ")
			return rounds(row.Figures[a], row.Figures[b], func(a, b float64) float64 { return (a - b) * 1e6 / perTransfers })
		})
	return out.String()
}

// compared puts this run's medians next to those of another run where both have
// them: ratios and processor time, which depend on the machine less than the
// rest.
func (r *Results) compared(file string) (string, error) {
	var before struct {
		Commit, Date string
		Tables       map[string][]map[string]json.RawMessage
	}
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &before)
	}
	if err != nil {
		return "", err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\nBeside %s of %s (before, now):\n\n| position | workload | subject | before | now |\n|---|---|---|---:|---:|\n", before.Commit, before.Date)
	now := map[string][]float64{}
	for i := range r.Rows {
		row := &r.Rows[i]
		for _, c := range r.subjects() {
			now[row.Position+row.title()+c] = row.Figures[c]
		}
		for _, c := range r.pairs("/", KernelHelper.Name, Open.Name) {
			a, b, _ := strings.Cut(c, "/")
			now[row.Position+row.title()+c] = rounds(row.Figures[a], row.Figures[b], func(a, b float64) float64 { return a / b })
		}
	}
	for _, table := range []string{"ratios", "processor"} {
		for _, row := range before.Tables[table] {
			var position, workload string
			if err := errors.Join(json.Unmarshal(row["position"], &position), json.Unmarshal(row["workload"], &workload)); err != nil {
				return "", err
			}
			for _, c := range slices.Sorted(maps.Keys(row)) {
				var was struct{ Median float64 }
				if v := now[position+workload+c]; len(v) > 0 && json.Unmarshal(row[c], &was) == nil {
					fmt.Fprintf(&out, "| %s | %s | %s | %.2f | %s |\n", position, workload, c, was.Median, spread(v))
				}
			}
		}
	}
	return out.String(), nil
}

// subjects are the subjects that have figures.
func (r *Results) subjects() (list []string) {
	have := map[string]bool{}
	for _, row := range r.Rows {
		for name := range row.Figures {
			have[name] = true
		}
	}
	for _, name := range columns {
		if have[name] {
			list = append(list, name)
			delete(have, name)
		}
	}
	return append(list, slices.Sorted(maps.Keys(have))...)
}

// pairs names each subject after one of bases, joined by between.
func (r *Results) pairs(between string, bases ...string) (list []string) {
	all := r.subjects()
	for _, base := range bases {
		at := slices.Index(all, base)
		if at < 0 {
			continue
		}
		for _, name := range all[at+1:] {
			if name != KernelHelper.Name {
				list = append(list, name+between+base)
			}
		}
	}
	return list
}

// table prints a line for each wanted row.
func (r *Results) table(out *strings.Builder, columns []string, wanted func(*Row) bool, figures func(*Row, string) []float64) {
	fmt.Fprintf(out, "\n| position | workload | %s |\n|---|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---:|", len(columns)))
	for i := range r.Rows {
		row := &r.Rows[i]
		if !wanted(row) {
			continue
		}
		fmt.Fprintf(out, "| %s | %s", row.Position, row.title())
		for _, c := range columns {
			fmt.Fprintf(out, " | %s", spread(figures(row, c)))
		}
		fmt.Fprintln(out, " |")
	}
}

// title describes the figures.
func (r *Row) title() string {
	if r.Figure == "" {
		return fmt.Sprintf("%s (%s)", r.Workload, r.Unit)
	}
	return fmt.Sprintf("%s, %s (%s)", r.Workload, r.Figure, r.Unit)
}

// rounds compares figures of the same rounds, as the machine's speed drifts.
func rounds(a, b []float64, compare func(a, b float64) float64) []float64 {
	var r []float64
	for i := range min(len(a), len(b)) {
		r = append(r, compare(a[i], b[i]))
	}
	return r
}

// spread is median [lowest..highest].
func spread(v []float64) string {
	if len(v) == 0 {
		return "–"
	}
	v = slices.Sorted(slices.Values(v))
	format := "%.0f [%.0f–%.0f]"
	if v[len(v)-1] < 20 {
		format = "%.2f [%.2f–%.2f]"
	}
	return fmt.Sprintf(format, v[len(v)/2], v[0], v[len(v)-1])
}
