// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/integration/stage"
)

// TestRemoveLeftovers: what a daemon left that had the same queues and another
// name for its table is removed, and nothing else.
func TestRemoveLeftovers(t *testing.T) {
	n := stage.New(t)
	n.Load(t, adminRuleset)
	n.Load(t, "table inet somebody { chain c { type filter hook input priority 0; counter; }; }")
	config := func(table string, queue uint16, queues int) Config {
		return Config{Table: table, QueueNum: queue, Queues: queues, Claim: true, Queue: testQueue(t, n)}
	}
	neighbour := config("neighbour", 2119, 2)
	neighbour.Chains = []ChainRef{forward}
	for _, c := range []Config{neighbour, config("neighbour2", 2123, 1)} {
		installed(t, n, c)
	}
	without := list(t, n)
	for _, c := range []Config{config("lower", 2120, 2), config("upper", 2122, 4), config("same", 2121, 2)} {
		c.Chains = []ChainRef{forward}
		installed(t, n, c)
	}
	f := installed(t, n, config("now", 2121, 2))
	names, err := f.RemoveLeftovers()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"lower", "upper", "same"}, names); d != "" {
		t.Errorf("removed (-want +got):\n%s", d)
	}
	if h, err := f.Heal(); err != nil || len(h.Missing) > 0 {
		t.Errorf("healing %+v, %v, want nothing missing", h, err)
	}
	if again, err := f.RemoveLeftovers(); err != nil || len(again) > 0 {
		t.Errorf("a second time %v, %v, want nothing removed", again, err)
	}
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(without, list(t, n)); d != "" {
		t.Errorf("the rest of the ruleset (-before +after):\n%s", d)
	}
	if !strings.Contains(without, "pasvport neighbour\"") {
		t.Errorf("no rule of the neighbour in:\n%s", without)
	}
}
