// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
)

// Case describes what a test tried, for the count at the end. Empty fields are
// not counted.
type Case struct {
	Position, Subject string
	Allow             Allow
	Mode              Mode
	Family            Family
	Server, Client    string
	// Kind is what was tried: transfer, refusal, ...
	Kind string
	// State is what a session was in the middle of, Failover how another firewall
	// of a pair took it over, Sync conntrackd's mode, and Flags are the daemons'
	// flags.
	State, Failover, Sync, Flags string
}

// tally counts the cases of the whole run.
type tally struct {
	mu     sync.Mutex
	passed int
	failed int
	// by counts passed cases per dimension and value.
	by map[string]map[string]int
}

var cases tally

// Count adds a case when its test has ended, unless it was skipped.
func (c Case) Count(t *testing.T) {
	t.Cleanup(func() {
		if t.Skipped() {
			return
		}
		cases.add(c, t.Failed())
	})
}

func (c *tally) add(k Case, failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if failed {
		c.failed++
		return
	}
	c.passed++
	if c.by == nil {
		c.by = make(map[string]map[string]int)
	}
	family := ""
	if k.Family != 0 {
		family = k.Family.String()
	}
	for dimension, value := range map[string]string{"position": k.Position, "strategy": k.Subject,
		"allow": string(k.Allow), "mode": string(k.Mode), "family": family,
		"server": k.Server, "client": k.Client, "kind": k.Kind,
		"state": k.State, "failover": k.Failover, "conntrackd": k.Sync, "flags": k.Flags} {
		if value == "" {
			continue
		}
		if c.by[dimension] == nil {
			c.by[dimension] = make(map[string]int)
		}
		c.by[dimension][value]++
	}
}

// report prints the counts, and writes them to $PASVPORT_REPORT.
func (c *tally) report() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.passed+c.failed == 0 {
		return nil
	}
	c.write(os.Stdout)
	path := os.Getenv("PASVPORT_REPORT")
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	c.write(f)
	return f.Close()
}

func (c *tally) write(w io.Writer) {
	fmt.Fprintf(w, "integration cases: %d passed, %d failed\n", c.passed, c.failed)
	for _, dimension := range []string{"kind", "strategy", "allow", "position", "mode", "family", "server", "client", "state", "failover", "conntrackd", "flags"} {
		values := make([]string, 0, len(c.by[dimension]))
		for v := range c.by[dimension] {
			values = append(values, v)
		}
		slices.Sort(values)
		for _, v := range values {
			fmt.Fprintf(w, "%-10s %-22s %6d\n", dimension, v, c.by[dimension][v])
		}
	}
}
