// SPDX-License-Identifier: Apache-2.0

//go:build bench

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestProfile shows where the time of a transfer goes, in all processes and the
// kernel, using perf with the processor clock (virtual machines often count no
// cycles).
func TestProfile(t *testing.T) {
	needPrograms(t, "perf")
	p := position("routed")
	for _, s := range []Subject{KernelHelper, Expectation} {
		t.Run(s.Name, func(t *testing.T) {
			b := newBench(t, p, s)
			transfers(PASV, 16)(t, b) // warm up
			data := filepath.Join(t.TempDir(), "perf.data")
			record := exec.Command("perf", "record", "-a", "-F", "997", "-e", "cpu-clock", "-o", data, "sleep", "1000")
			if err := record.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond) // perf does not report when it has begun
			rate := b.ask(t, request{Do: "transfers", Mode: string(PASV), Sessions: 16, Time: 3 * *benchTime})
			record.Process.Signal(os.Interrupt)
			record.Wait()
			fmt.Printf("\n%s: %.0f transfers/s\n", s.Name, float64(rate.Count)/rate.Elapsed.Seconds())
			report(t, data, "comm", 8)
			report(t, data, "comm,symbol", 45)
		})
	}
}

// report prints the first lines of perf's report by some keys.
func report(t *testing.T, data, keys string, lines int) {
	out, err := exec.Command("perf", "report", "-i", data, "--stdio", "-w", "24,50", "--sort", keys).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' || strings.Contains(line, "swapper") {
			continue
		}
		if lines--; lines < 0 {
			return
		}
		fmt.Println("  ", line)
	}
}
