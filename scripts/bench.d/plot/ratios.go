// SPDX-License-Identifier: Apache-2.0

package main

import (
	"image/color"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// The bars of each workload, side by side; all are ratios to base.
const base = "kernel"

var bars = []struct {
	subject string
	color   color.Color
}{
	{"open", color.Gray{180}},
	{"expectation", color.RGBA{40, 90, 160, 255}},
	{"claim", color.RGBA{110, 170, 60, 255}},
	{"fast-path", color.RGBA{150, 60, 140, 255}},
	{"ftp-proxy", color.RGBA{200, 110, 40, 255}},
}

// ratios draws transfers per second and the like as bars, relative to the
// in-kernel helper, with the range over the rounds.
func ratios(rows []Row, out string) error {
	rows = comparable(rows)
	p := plot.New()
	p.Title.Text = "relative to the in-kernel helper (1.0): median and range over the rounds"
	p.Y.Label.Text = "ratio"
	p.Y.Min, p.Y.Max = 0, 1.6 // more if a range exceeds it
	p.Add(plotter.NewGrid())
	const width = 6.0
	for i, b := range bars {
		offset := vg.Points(width * (float64(i) - float64(len(bars)-1)/2))
		values, errs := make(plotter.Values, len(rows)), make(plotter.YErrors, len(rows))
		for j := range rows {
			if r := relative(rows[j].Figures[b.subject], rows[j].Figures[base]); len(r) > 0 {
				values[j], errs[j].Low, errs[j].High = spread(r)
			}
		}
		chart, err := plotter.NewBarChart(values, vg.Points(width))
		if err != nil {
			return err
		}
		chart.Color, chart.Offset, chart.LineStyle.Width = b.color, offset, 0
		whiskers, err := plotter.NewYErrorBars(&shifted{values, errs, float64(i) - float64(len(bars)-1)/2})
		if err != nil {
			return err
		}
		whiskers.CapWidth = vg.Points(2)
		p.Add(chart, whiskers)
		p.Legend.Add(b.subject, chart)
	}
	p.Legend.Top = true
	names := make([]string, len(rows))
	for i, r := range rows {
		names[i] = r.Position + "\n" + strings.NewReplacer(", ", "\n", "new control", "new\ncontrol").Replace(r.Workload)
	}
	p.NominalX(names...)
	return p.Save(vg.Points(75*float64(len(rows))), vg.Points(320), out)
}

// comparable are the rows in which more is better.
func comparable(rows []Row) (list []Row) {
	for _, r := range rows {
		if r.Figure == "" && len(r.Figures[base]) > 0 && (r.Unit == "/s" || r.Unit == "MB/s") {
			list = append(list, r)
		}
	}
	return list
}

// relative are ratios round by round.
func relative(a, b []float64) (list []float64) {
	for i := range min(len(a), len(b)) {
		list = append(list, a[i]/b[i])
	}
	return list
}

// shifted moves error bars to the bars of a group.
type shifted struct {
	plotter.Values
	plotter.YErrors
	by float64
}

func (s *shifted) Len() int { return s.Values.Len() }

func (s *shifted) XY(i int) (x, y float64) { return float64(i) + s.by*6/72, s.Values[i] }
