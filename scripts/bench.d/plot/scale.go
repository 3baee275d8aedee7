// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// perPacket are the rows that must not depend on the number of sessions.
var perPacket = []string{"NOOP round trip p50", "1 KB files, PASV, 16 sessions", "time of a packet in the daemon"}

// scale draws each figure against the number of sessions, relative to that with
// the fewest. The figures of a row are by number of sessions.
func scale(rows []Row, out string) error {
	p := plot.New()
	p.Title.Text = "cost against idle control connections, relative to the fewest"
	p.X.Label.Text, p.Y.Label.Text = "idle control connections", "ratio"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Min, p.Y.Max = 0, 2
	p.Add(plotter.NewGrid())
	var lines []any
	for _, r := range rows {
		if !slices.Contains(perPacket, r.Workload) {
			continue
		}
		var points plotter.XYs
		for n, v := range r.Figures {
			sessions, err := strconv.ParseFloat(n, 64)
			if err != nil {
				return fmt.Errorf("%s: %w", r.Workload, err)
			}
			median, _, _ := spread(v)
			points = append(points, plotter.XY{X: sessions, Y: median})
		}
		sort.Slice(points, func(i, j int) bool { return points[i].X < points[j].X })
		first := points[0].Y
		for i := range points {
			points[i].Y /= first
		}
		lines = append(lines, r.Workload, points)
	}
	if len(lines) == 0 {
		return errors.New("no figures of the scale test in it")
	}
	if err := plotutil.AddLinePoints(p, lines...); err != nil {
		return err
	}
	p.Legend.Top = true
	return p.Save(vg.Points(520), vg.Points(300), out)
}
