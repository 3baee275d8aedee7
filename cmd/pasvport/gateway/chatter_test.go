// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"
	"time"
)

func TestChatter(t *testing.T) {
	var c chatter
	now := time.Unix(1000, 0)
	written := 0
	for range 3 * maxSaid {
		if _, ok := c.may(now); ok {
			written++
		}
		now = now.Add(saidIn / (4 * maxSaid))
	}
	if written != maxSaid {
		t.Errorf("%d lines were written, want %d", written, maxSaid)
	}
	for i, want := range []int{2 * maxSaid, 0} {
		now = now.Add(saidIn)
		if unsaid, ok := c.may(now); !ok || unsaid != want {
			t.Errorf("line %d: %v, says that %d were not written, want %d", i, ok, unsaid, want)
		}
	}
}
