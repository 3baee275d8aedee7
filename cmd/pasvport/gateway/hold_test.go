// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// TestShelf: what is held comes back in order, is limited, and is overdue in
// time.
func TestShelf(t *testing.T) {
	var s shelf
	a, b := new(session.Session), new(session.Session)
	line := halfLine{a, ftpalg.Reply}
	now := time.Now()
	if s.has(a) || s.take(line) != nil || !s.deadline().IsZero() {
		t.Error("an empty shelf has something")
	}
	for i := range uint32(3) {
		if !s.put(line, &nfq.Packet{ID: i, Data: []byte{byte(i)}}, now.Add(time.Duration(i)*time.Millisecond)) {
			t.Fatal("no room")
		}
	}
	s.put(halfLine{b, ftpalg.Original}, &nfq.Packet{ID: 9}, now.Add(time.Second))
	if !s.has(a) || !s.has(b) || s.waiting != 4 || len(s.all()) != 2 {
		t.Errorf("it has %v, %d packets", s.all(), s.waiting)
	}
	if d := s.deadline(); !d.Equal(now.Add(holdTime)) {
		t.Errorf("deadline %v, want that of the first", d.Sub(now))
	}
	if list := s.overdue(now.Add(holdTime)); len(list) != 1 || list[0] != line {
		t.Errorf("overdue: %v", list)
	}
	for i, h := range s.take(line) {
		if h.id != uint32(i) || h.data[0] != byte(i) {
			t.Errorf("packet %d is %+v", i, h)
		}
	}
	if s.has(a) || s.waiting != 1 {
		t.Error("what was taken is still there")
	}
}

// TestShelfBounds: neither one line nor all of them can take more than their
// share.
func TestShelfBounds(t *testing.T) {
	var s shelf
	now, n := time.Now(), 0
	for line := (halfLine{new(session.Session), ftpalg.Original}); s.put(line, &nfq.Packet{}, now); n++ {
	}
	if n != maxHeld {
		t.Errorf("one line holds %d packets", n)
	}
	for s.put(halfLine{new(session.Session), ftpalg.Original}, &nfq.Packet{}, now) {
	}
	if s.waiting != maxWaiting {
		t.Errorf("%d packets wait", s.waiting)
	}
}

// TestShelfFull: a half line for which there is no room is dropped at once, with
// what was held of it; its sender retransmits it.
func TestShelfFull(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	l.accepts(client, "PASV\r\n")
	if v, _ := l.say(server, "227 Entering "); v != "held" {
		t.Fatalf("half a line: %s", v)
	}
	first := b.ids
	for s := newSession(entryOf(9)); b.w.shelf.waiting < maxWaiting; s = newSession(entryOf(9)) {
		b.w.shelf.put(halfLine{s, ftpalg.Original}, &nfq.Packet{}, time.Now())
	}
	if v, _ := l.say(server, "Passive Mode "); v != "drop" {
		t.Errorf("more of it: %s", v)
	}
	if v, _ := b.verdict(first, ""); v != "drop" || b.w.shelf.has(l.session()) {
		t.Errorf("what was held of it: %s", v)
	}
	at := l.next[server] - uint32(len("227 Entering Passive Mode "))
	if p := b.sent(l.again(server, at, announced)); string(p.Payload) != told {
		t.Errorf("in one piece it is forwarded as %q", p.Payload)
	}
}
