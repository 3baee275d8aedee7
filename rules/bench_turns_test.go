// SPDX-License-Identifier: Apache-2.0

//go:build bench

package rules

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

var passingRounds = flag.Int("passing.rounds", 400, "rounds of packets with each ruleset")

// passingBatch is how many packets a round has.
const passingBatch = 250

// TestPassing measures what our rules cost a packet that is not FTP, on its way
// from one interface of the firewall to another, with conntrack: with our table
// and without, in turn, so that other load on the machine affects both.
func TestPassing(t *testing.T) {
	list := passages()
	by := map[string]*passage{}
	for _, p := range list {
		p.open(t)
		by[p.name] = p
	}
	times := map[*passage][]float64{} // nanoseconds for a packet, by round
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range *passingRounds {
		for _, p := range list {
			start := time.Now()
			for range passingBatch {
				p.send(t)
			}
			times[p] = append(times[p], float64(time.Since(start))/passingBatch)
		}
	}
	fmt.Printf("| packet | ns | over without our table (ns) | quartiles |\n|---|---:|---:|---:|\n")
	for _, p := range list {
		base := by[p.base]
		if base == nil {
			fmt.Printf("| %s | %.0f | – | |\n", p.name, quartiles(times[p])[1])
			continue
		}
		over := make([]float64, len(times[p]))
		for i := range over {
			over[i] = times[p][i] - times[base][i]
		}
		q := quartiles(over)
		fmt.Printf("| %s | %.0f | %.0f | %.0f to %.0f |\n", p.name, quartiles(times[p])[1], q[1], q[0], q[2])
	}
}

// quartiles are the first, the median and the third.
func quartiles(list []float64) (q [3]float64) {
	s := slices.Sorted(slices.Values(list))
	for i := range q {
		q[i] = s[(i+1)*len(s)/4]
	}
	return q
}
