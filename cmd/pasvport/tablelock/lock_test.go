// SPDX-License-Identifier: Apache-2.0

package tablelock

import (
	"fmt"
	"testing"
)

// TestQueue: locks are out of the way of queues with packets, in number and in the
// kernel's list, and differ for the names that are likely.
func TestQueue(t *testing.T) {
	tables := map[uint16]string{}
	for _, name := range []string{"pasvport", "other", "second", "ftp", "test", "pasvport2", "a", "b", "life", "wan", "lan", "dmz"} {
		n := Queue(name)
		if n < firstQueue || (n>>8^n)&15 != 15 {
			t.Errorf("queue of %q is %#x", name, n)
		}
		if tables[n] != "" {
			t.Errorf("queue %d is the lock of %q and of %q", n, tables[n], name)
		}
		tables[n] = name
	}
	all := map[uint16]bool{}
	for i := range 100000 {
		all[Queue(fmt.Sprint("table", i))] = true
	}
	if len(all) != 2048 {
		t.Errorf("%d numbers, want 2048", len(all))
	}
}

// TestOwnQueue: a daemon that has its lock's number among its queues says so, and
// not that another daemon has the table.
func TestOwnQueue(t *testing.T) {
	n := Queue("mine")
	if _, err := Take("mine", n-1, 2); err == nil || err.Error() != fmt.Sprintf(
		`queue %d is the lock of the table "mine": give this daemon another --queue-num`, n) {
		t.Errorf("error %v", err)
	}
}
