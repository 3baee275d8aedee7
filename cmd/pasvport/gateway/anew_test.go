// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// anew makes conntrackd make the entry of a connection anew, as it was before its
// numbers were adjusted. It returns the connection with that entry.
func (b *bench) anew(l *link) *link {
	b.t.Helper()
	w, e := b.watcher(), *l.entry
	w.event(b.k, &expect.Event{Type: expect.Destroy, Entry: e})
	b.k.remove(&e)
	delete(b.k.adjusted, e.Original)
	e.ID, e.Adj = e.ID+100, [2]expect.SeqAdj{}
	b.k.enter(e)
	w.event(b.k, &expect.Event{Type: expect.New, Entry: e})
	if !b.peer.Settle(10 * time.Second) {
		b.t.Fatal("events were not handled within 10 s")
	}
	return &link{b: b, entry: &e, next: l.next}
}

// TestAnewInQueue: a packet that may have been queued before conntrackd made the entry
// anew has the old one, which adjusts otherwise. It is retransmitted.
func TestAnewInQueue(t *testing.T) {
	for _, tt := range []struct {
		name  string
		begin func(*bench) *link
		want  string
	}{
		{"adjusted", func(b *bench) *link { return b.announced(entryOf(1)) }, "drop"},
		{"not adjusted", func(b *bench) *link { l := b.connect(entryOf(1)); l.logIn(); return l }, "accept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFirewalls(t, nil).a
			l := tt.begin(b)
			b.q.late = true
			m := b.anew(l)
			for range 2 {
				if v, _ := b.handle(m.packet(client, "NOOP\r\n", nfq.FlagACK)); v != tt.want {
					t.Errorf("before the mark: %s, want %s", v, tt.want)
				}
			}
			b.q.late = false
			m.accepts(client, "NOOP\r\n")
			b.q.late = true
			m = b.anew(m)
			m.session().Started = time.Now().Add(-2 * anewFor)
			m.accepts(server, "200 ok\r\n") // the mark was lost
		})
	}
}

// TestAnewWhileAdjusted: conntrackd makes the entry anew before the kernel is told of an
// adjustment, which the announcement's own entry does not get. The announcement is
// retransmitted, and has the adjustment of the new one.
func TestAnewWhileAdjusted(t *testing.T) {
	b := newFirewalls(t, nil).a
	l := b.connect(entryOf(1))
	l.logIn()
	l.accepts(client, "PASV\r\n")
	b.k.beforeAdjust = func() {
		b.k.beforeAdjust = nil
		e := *l.entry
		e.ID += 100
		b.k.entries[e.Original], b.k.entries[e.Reply] = &e, &e
	}
	p := l.packet(server, announced, nfq.FlagACK)
	if v, sent := b.handle(p); v != "drop" {
		t.Fatalf("%s, as %q", v, sent)
	}
	m := b.anew(l)
	if _, sent := m.say(server, announced); sent != told || len(b.pinholes.All()) != 1 {
		t.Errorf("repeated it is %q; open is %v", sent, b.pinholes.All())
	}
	if adj := b.k.adjusted[l.entry.Original][expect.Reply]; adj.Before != 0 || adj.After != 3 {
		t.Errorf("the kernel adjusts by %+v", adj)
	}
}

// TestAnewWhileAwaited: the kernel adjusts before it is waited for the other firewall, and
// conntrackd makes the entry anew meanwhile. The announcement is retransmitted.
func TestAnewWhileAwaited(t *testing.T) {
	b := newFirewalls(t, nil).a
	l := b.connect(entryOf(1))
	l.logIn()
	l.accepts(client, "PASV\r\n")
	before := b.peer.Stats().Waits
	b.k.beforeAdjust = func() {
		b.k.beforeAdjust = nil
		if n := b.peer.Stats().Waits; n != before {
			t.Error("it was waited for the other firewall before the kernel adjusts")
		}
		b.w.table.Remove(l.session()) // as its end was read
	}
	if v, sent := b.handle(l.packet(server, announced, nfq.FlagACK)); v != "drop" {
		t.Errorf("%s, as %q", v, sent)
	}
	if b.k.beforeAdjust != nil || b.peer.Stats().Waits != before+1 {
		t.Error("the kernel does not adjust, or it was not waited for the other firewall")
	}
}

// TestAnewWhileOffered: conntrackd makes the entry anew while an announcement is read.
func TestAnewWhileOffered(t *testing.T) {
	b := newFirewalls(t, nil).a
	l := b.connect(entryOf(1))
	l.logIn()
	l.accepts(client, "PASV\r\n")
	var m *link
	b.k.inSync = func() {
		b.k.inSync = nil
		m = b.anew(l)
	}
	if v, sent := b.handle(l.packet(server, announced, nfq.FlagACK)); v != "drop" || len(b.pinholes.All()) != 0 {
		t.Fatalf("%s, as %q; open is %v", v, sent, b.pinholes.All())
	}
	if _, sent := m.say(server, announced); sent != told || len(b.pinholes.All()) != 1 {
		t.Errorf("repeated it is %q; open is %v", sent, b.pinholes.All())
	}
}

// TestAnewWhileRefused: a session is over when the refusal of its announcement has closed
// that: the session of the new entry has it open. It must read the refusal, too.
func TestAnewWhileRefused(t *testing.T) {
	b := newFirewalls(t, nil).a
	l := b.connect(entryOf(1))
	l.logIn()
	l.say(client, "PORT 198,51,100,1,200,10\r\n")
	if len(b.pinholes.All()) != 1 {
		t.Fatal("nothing is open")
	}
	s := l.session()
	b.k.beforeDelete = func() { b.w.table.Remove(s) }
	if v, _ := l.say(server, "500 no\r\n"); v != "drop" {
		t.Errorf("%s", v)
	}
}

// TestAnewUnread: the events are late, and may report that conntrackd has made the entry
// of an adjusted session anew. What the kernel does shows it.
func TestAnewUnread(t *testing.T) {
	b := newFirewalls(t, nil).a
	l := b.announced(entryOf(1))
	b.k.slow = true
	if v, _ := b.handle(l.packet(client, "NOOP\r\n", nfq.FlagACK)); v != "drop" {
		t.Errorf("not adjusted by its entry: %s", v)
	}
	e := *l.entry
	e.Adj = b.k.adjusted[e.Original]
	b.k.enter(e)
	l.accepts(client, "NOOP\r\n")
}

// TestAnewElsewhere: the session is in the table of the queue that got the packets of the
// old entry. The queue of the new one takes it from there.
func TestAnewElsewhere(t *testing.T) {
	b := newBench(t, nil)
	l, _, s := b.announcedElsewhere(0)
	if rules.QueueOf(l.entry.ID, 2) != 0 {
		t.Fatal("it is the second queue's")
	}
	l.accepts(client, "NOOP\r\n")
	if table, now := b.registry.find(l.entry.Original); table != b.w.table || now != s || len(b.pinholes.All()) != 1 {
		t.Errorf("another session, or queue, has it: %t, %t; open: %v", now != s, table != b.w.table, b.pinholes.All())
	}
}
