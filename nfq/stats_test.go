// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseQueueStats(t *testing.T) {
	// Recorded from a kernel with two queues bound.
	const file = " 2121   9097     3 2 65531     0    12      345  1\n" +
		"65535 4294966299     0 0     0    77     0 4294967295  1\n"
	got, err := parseQueueStats(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	want := []QueueStats{
		{Num: 2121, PortID: 9097, Queued: 3, UserDropped: 12, LastID: 345},
		{Num: 65535, PortID: 4294966299, QueueDropped: 77, LastID: 4294967295},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseQueueStatsRefuses(t *testing.T) {
	for _, line := range []string{"x", "1 2 3", "65536 1 0 2 65531 0 0 1 1", "1 -2 0 2 65531 0 0 1 1"} {
		if got, err := parseQueueStats(strings.NewReader(line)); err == nil {
			t.Errorf("%q: got %+v", line, got)
		}
	}
	if got, err := parseQueueStats(strings.NewReader("")); err != nil || got != nil {
		t.Errorf("empty file: got %+v, %v", got, err)
	}
}
