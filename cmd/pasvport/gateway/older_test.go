// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"

	"github.com/pasvport/pasvport/expect"
)

// TestStarted: which connections are seen from their first byte on, before the
// older ones are listed and after.
func TestStarted(t *testing.T) {
	events, err := expect.Listen(1, 1)
	if err != nil {
		t.Skip(err)
	}
	defer events.Close()
	g := &Gateway{events: events, orphans: &worker{}}
	w := &worker{g: g, heard: func(*expect.Event) {}}
	o := &g.older
	want := func(when string, id uint32, want bool) {
		t.Helper()
		if got := w.started(&expect.Entry{ID: id}); got != want {
			t.Errorf("%s: connection %d: %v, want %v", when, id, got, want)
		}
	}
	want("before the first list", 1, false)

	l := newOlderListing()
	o.listing = l
	o.begins(2)
	want("before they are listed", 2, true)
	answer := make(chan bool)
	go func() { answer <- w.started(&expect.Entry{ID: 3}) }()
	<-l.wanted
	o.mu.Lock()
	o.ids, o.listing = map[uint32]struct{}{1: {}}, nil
	o.mu.Unlock()
	close(l.done)
	if !<-answer {
		t.Error("a connection of which the list says nothing has not begun under our rules")
	}
	want("listed", 1, false)
	want("listed", 2, true)
	if w.started(&expect.Entry{ID: 4, Liberal: true}) {
		t.Error("a connection that was picked up in the middle is seen from its start")
	}
}
