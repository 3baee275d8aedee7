// SPDX-License-Identifier: Apache-2.0

// Plot draws what scripts/bench has measured.
//
//	plot ratios FILE.json... OUT.svg
//	plot scale FILE.json OUT.svg
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Row is as in integration/bench_test.go.
type Row struct {
	Position, Workload, Figure, Unit string
	Figures                          map[string][]float64
}

func main() {
	err := errors.New("usage: plot ratios|scale FILE.json... OUT.svg")
	if n := len(os.Args) - 1; n >= 3 {
		rows, readErr := read(os.Args[2:n])
		err = readErr
		draw := map[string]func([]Row, string) error{"ratios": ratios, "scale": scale}[os.Args[1]]
		if err == nil && draw != nil {
			err = draw(rows, os.Args[n])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func read(files []string) (rows []Row, err error) {
	for _, file := range files {
		var r struct{ Rows []Row }
		b, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(b, &r)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		rows = append(rows, r.Rows...)
	}
	return rows, nil
}

// spread returns the median, and how far below and above it the figures extend.
func spread(v []float64) (median, low, high float64) {
	v = slices.Sorted(slices.Values(v))
	median = v[len(v)/2]
	return median, median - v[0], v[len(v)-1] - median
}
