// SPDX-License-Identifier: Apache-2.0

package tablelock

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/integration/stage"
)

// TestQueue: locks do not collide with queues with packets, in number and in the
// kernel's list, and differ for likely names.
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

// TestOwnQueue: a daemon whose queues include its lock's number reports that, and
// not that another daemon has the table.
func TestOwnQueue(t *testing.T) {
	n := Queue("mine")
	if _, err := Take("mine", n-1, 2); err == nil || err.Error() != fmt.Sprintf(
		`queue %d is the lock of the table "mine": give this daemon another --queue-num`, n) {
		t.Errorf("error %v", err)
	}
}

// TestHeld: a lock is one network namespace's, and is had once.
func TestHeld(t *testing.T) {
	stage.Alone(t, func() error {
		if Held("mine") {
			t.Error("held by no one")
		}
		l, err := Take("mine", 2121, 4)
		if err != nil {
			return err
		}
		if !Held("mine") || Held("other") {
			t.Errorf("held: mine %v, other %v", Held("mine"), Held("other"))
		}
		if _, err := Take("mine", 3000, 1); err == nil || !strings.Contains(err.Error(), `another pasvport has the table "mine"`) {
			t.Errorf("taken twice: %v", err)
		}
		if err := l.Close(); err != nil {
			return err
		}
		if Held("mine") {
			t.Error("held after it was given back")
		}
		return nil
	})
}
