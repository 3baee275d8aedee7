// SPDX-License-Identifier: Apache-2.0

//go:build bench

package integration

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// TestQueues compares more queues than processors with one queue per processor.
func TestQueues(t *testing.T) {
	results := Results{Machine: thisMachine()}
	p := position("routed")
	var benches []*bench
	for _, queues := range []int{results.Machine.Processors, 16} {
		b := &bench{subject: Subject{Name: fmt.Sprintf("%d queues", queues), Strategy: "expectation"}}
		b.site = NewSiteOnly(t, p, AllowRelated, b.subject)
		fw := b.site.Firewalls[0]
		ephemeral(t, fw, "1024 65535")
		b.daemon = b.site.StartDaemon(t, fw, "--log-level", "info", "--queues", strconv.Itoa(queues))
		b.startEnds(t, b.site.Dial(b.site.Client, IPv4, 0), b.site.Server)
		benches = append(benches, b)
	}
	for _, w := range []Workload{
		{Name: "NOOP round trip", measure: noop},
		{Name: "1 KB files, PASV, 1 sessions", measure: transfers(PASV, 1)},
		{Name: "1 KB files, PASV, 16 sessions", measure: transfers(PASV, 16)},
		{Name: "1 KB files, PASV, 64 sessions", measure: transfers(PASV, 64)},
		{Name: "new control connections", measure: logins},
	} {
		results.Rows = append(results.Rows, measure(t, p, w, benches)...)
	}
	var out strings.Builder
	names := []string{benches[0].subject.Name, benches[1].subject.Name}
	results.table(&out, names, func(*Row) bool { return true }, func(r *Row, c string) []float64 { return r.Figures[c] })
	fmt.Print(out.String())
	results.write(t)
}
