// SPDX-License-Identifier: Apache-2.0

//go:build bench

package integration

import (
	"fmt"
	"slices"
	"strings"
)

// columns are the subjects in the order of the tables.
var columns = []string{Direct.Name, Open.Name, KernelHelper.Name, Expectation.Name, Claim.Name, FastPath.Name, Proxy.Name}

// tables are medians with their range, ratios of the same rounds, and what a
// transfer costs, in Markdown.
func (r *Results) tables() string {
	var out strings.Builder
	m := r.Machine
	fmt.Fprintf(&out, "Linux %s, %d × %s, %s, commit %s, %s\n", m.Kernel, m.Processors, m.Processor, m.Go, m.Commit, m.When.Format("2006-01-02"))
	isCPU := func(row *Row) bool { return strings.HasPrefix(row.Figure, "CPU") }
	r.table(&out, columns, func(row *Row) bool { return !isCPU(row) },
		func(row *Row, c string) []float64 { return row.Figures[c] })
	r.table(&out, []string{"expectation/kernel", "claim/kernel", "fast-path/kernel", "expectation/open", "fast-path/open", "ftp-proxy/kernel"},
		func(row *Row) bool { return !isCPU(row) && len(row.Figures[KernelHelper.Name]) > 0 },
		func(row *Row, c string) []float64 {
			a, b, _ := strings.Cut(c, "/")
			return ratios(row.Figures[a], row.Figures[b])
		})
	r.table(&out, columns, isCPU, func(row *Row, c string) []float64 { return row.Figures[c] })
	return out.String()
}

// table has a line for each row that is wanted.
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

// title says what the figures are.
func (r *Row) title() string {
	if r.Figure == "" {
		return fmt.Sprintf("%s (%s)", r.Workload, r.Unit)
	}
	return fmt.Sprintf("%s, %s (%s)", r.Workload, r.Figure, r.Unit)
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
		return "–"
	}
	v = slices.Sorted(slices.Values(v))
	format := "%.0f [%.0f–%.0f]"
	if v[len(v)-1] < 20 {
		format = "%.2f [%.2f–%.2f]"
	}
	return fmt.Sprintf(format, v[len(v)/2], v[0], v[len(v)-1])
}
