// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/rules"
)

// TestWay: the command of a data connection decides its direction; the end of one
// by the kernel is reported once; the next daemon knows it.
func TestWay(t *testing.T) {
	b := newBench(t, func(c *config.Config) { c.OneWay = true })
	w := b.watcher()
	l := b.announced(entryOf(1))
	data := dataOf(l, 50000)
	b.k.enter(data)
	w.event(b.k, &expect.Event{Type: expect.New, Entry: data})
	data.TCPState = expect.TCPStateSynRecv
	w.event(b.k, &expect.Event{Type: expect.Update, Entry: data})
	if got := b.k.ways[9]; got != rules.WayUndecided {
		t.Errorf("before the command %v", got)
	}
	l.accepts(client, "STOR file\r\n")
	if got := b.k.ways[9]; got != rules.WayOriginal {
		t.Errorf("after STOR %v", got)
	}
	b.k.wrong = []uint32{9, 4711}
	s := b.sweeper()
	for range 2 {
		s.sweep(time.Now())
	}
	b.logs(`msg="data connection ended"`, "reason=wrong-way")
	if n := b.metrics.Decisions()["wrong-way"]; n != 1 {
		t.Errorf("reported %d times", n)
	}
	b.k.wrong = nil

	// A daemon that finds data connections, and one that is gone.
	b.k.ways[10] = rules.WayReply
	after := b.after()
	if err := after.heir().takeBack(after.k, nil); err != nil {
		t.Fatal(err)
	}
	if _, there := b.k.ways[10]; there {
		t.Error("a connection that is gone is kept")
	}
	if o, _ := after.pinholes.Ways.Of(9); o == nil || b.k.ways[9] != rules.WayOriginal {
		t.Errorf("the next daemon has %v, %v", o, b.k.ways[9])
	}
	after.watcher().event(after.k, &expect.Event{Type: expect.Destroy, Entry: data})
	if len(b.k.ways) > 0 {
		t.Errorf("kept: %v", b.k.ways)
	}
}
