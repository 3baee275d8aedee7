// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// TestPresent: conntrack loses a connection while an announcement of it is being
// handled, and picks it up. The announcement is opened for the session of the new
// entry, which knows what was said.
func TestPresent(t *testing.T) {
	for _, tt := range []struct {
		name  string
		again func(*expect.Entry) // the entry that exists then
		owner uint32              // of what is opened; 0: nothing is
	}{
		{"picked up", func(*expect.Entry) {}, 2},
		{"not answered yet", func(e *expect.Entry) { e.Status = 0 }, 0},
		{"translated otherwise", func(e *expect.Entry) { e.Reply.Src = ap("10.0.0.3:21") }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			l := b.connect(plainEntry(1))
			l.logIn()
			l.accepts(client, "PASV\r\n")
			again := plainEntry(2)
			again.Original, again.Reply, again.Liberal = l.entry.Original, l.entry.Reply, true
			tt.again(&again)
			first, lost := l.session(), false
			b.k.inSync = func() {
				if lost {
					return
				}
				lost = true
				b.lose(l)
				b.k.enter(again)
			}
			v, sent := l.say(server, "227 Entering Passive Mode (203,0,113,1,195,80).\r\n")
			if v != "accept" || sent != "227 Entering Passive Mode (203,0,113,1,195,80).\r\n" {
				t.Errorf("%s, forwarded as %q", v, sent)
			}
			all := b.pinholes.All()
			if tt.owner == 0 {
				if s := l.session(); s != nil {
					t.Errorf("session %d was made from an entry that does not continue it", s.ID())
				}
				if b.sweeper().sweep(time.Now()); len(b.pinholes.All()) != 0 || len(b.k.elements) != 0 {
					t.Errorf("open for a session that is gone: %v", b.k.elements)
				}
				return
			}
			s := l.session()
			if len(all) != 1 || all[0].Owner.ID != tt.owner || s == first || s.ID() != tt.owner {
				t.Fatalf("open: %v, for %v", all, s.ID())
			}
			b.k.inSync = nil
			l.accepts(client, "RETR file\r\n")
			if !s.TransferWaits() {
				t.Error("the new session does not read on")
			}
		})
	}
}

// TestPresentFull: a session that may not be read any more, as others came first,
// is not.
func TestPresentFull(t *testing.T) {
	b := newBench(t, func(c *config.Config) { c.MaxSessions = 1 })
	l := b.connect(plainEntry(1))
	l.logIn()
	l.accepts(client, "PASV\r\n")
	b.k.inSync = func() {
		b.k.inSync = nil
		b.lose(l)
		b.begin(&b.registry.orphans, newSession(entryOf(7)))
		again := plainEntry(2)
		again.Original, again.Reply, again.Liberal = l.entry.Original, l.entry.Reply, true
		b.k.enter(again)
	}
	l.accepts(server, "227 Entering Passive Mode (203,0,113,1,195,80).\r\n")
	if l.session() != nil || b.k.left[2] != succession.LeftAlone.String() {
		t.Errorf("it is read, or left as %q", b.k.left[2])
	}
	b.logs(`msg="control connection not read"`)
	if all := b.pinholes.All(); len(all) != 1 || all[0].Owner.ID != 1 {
		t.Errorf("open: %v", all)
	}
	if b.sweeper().sweep(time.Now()); len(b.k.elements) != 0 {
		t.Errorf("open for a session that is gone: %v", b.k.elements)
	}
}

// ofQueue is the id of an entry whose packets go to one of two queues.
func ofQueue(i int) (id uint32) {
	for id = 1; rules.QueueOf(id, 2) != i; id++ {
	}
	return id
}

// announcedElsewhere is a session that has announced a port, in the table of a second
// queue that is not served; the packets of its entry are those of the i-th of the two.
func (b *bench) announcedElsewhere(i int) (l *link, second *session.Table, s *session.Session) {
	e := entryOf(ofQueue(i))
	e.Liberal = true
	l = b.announced(e)
	second = new(session.Table)
	b.registry.queues = append(b.registry.queues, second)
	return l, second, second.Move(e.Original, b.w.table)
}

// TestStrayed: the copy of a packet by which conntrack picked a connection up is in the
// first queue when the connection's own queue has the session. It leaves that one and
// its pinhole alone.
func TestStrayed(t *testing.T) {
	b := newBench(t, nil)
	l, own, s := b.announcedElsewhere(1)
	if id := l.again(client, l.next[client]-6, "PASV\r\n"); b.q.verdicts[id][0] != "drop" {
		t.Errorf("the copy: %v", b.q.verdicts[id])
	}
	table, now := b.registry.find(l.entry.Original)
	if table != own || now != s || len(b.pinholes.All()) != 1 {
		t.Errorf("another session, or queue, has it: %t, %t; open: %v", now != s, table != own, b.pinholes.All())
	}
	// A session of an earlier entry is over.
	again := *l.entry
	again.ID, again.Liberal = l.entry.ID+1, true
	b.k.enter(again)
	l.accepts(client, "NOOP\r\n")
	if table, now = b.registry.find(l.entry.Original); table != b.w.table || now == s {
		t.Error("the session of an earlier entry still exists")
	}
}

// TestStrayedFirst: such a copy was read when the session was there already, and the
// first queue got that. The connection's own queue takes it from there, with its pinhole.
func TestStrayedFirst(t *testing.T) {
	b := newBench(t, nil)
	e := entryOf(ofQueue(1))
	e.Liberal = true
	l := b.announced(e)
	first := new(session.Table)
	b.registry.queues = []*session.Table{first, b.w.table}
	s := first.Move(l.entry.Original, b.w.table)
	l.accepts(client, "NOOP\r\n")
	if table, now := b.registry.find(l.entry.Original); table != b.w.table || now != s || len(b.pinholes.All()) != 1 {
		t.Errorf("another session, or queue, has it: %t, %t; open: %v", now != s, table != b.w.table, b.pinholes.All())
	}
	// While the first queue reads it, a packet has to wait.
	first.Move(l.entry.Original, b.w.table)
	r := s.Acquire(new(ftpalg.Workspace))
	if id := l.again(client, l.next[client]-6, "NOOP\r\n"); b.q.verdicts[id][0] != "drop" {
		t.Errorf("a packet of a session that is being read: %v", b.q.verdicts[id])
	}
	r.Release()
	if l.accepts(client, "NOOP\r\n"); l.session() != s || len(b.pinholes.All()) != 1 {
		t.Errorf("the session has ended; open: %v", b.pinholes.All())
	}
}

// TestLookUp: a session is the one of its packet's entry; a failed look-up is
// reported, and the packet passes.
func TestLookUp(t *testing.T) {
	b := newBench(t, func(c *config.Config) { c.ResetStale = false })
	l := b.connect(entryOf(1))
	b.k.getErr = unix.ENOBUFS
	l.accepts(client, "NOOP\r\n")
	b.logs(`msg="conntrack look-up failed"`, "no buffer space")
	b.k.getErr = nil
	// The event of another worker's look-up, or of an earlier daemon's session,
	// has brought it while conntrack was asked.
	s := newSession(entryOf(1))
	b.k.beforeGet = func(expect.Tuple) { b.registry.orphans.Add(s) }
	l.accepts(client, "NOOP\r\n")
	if l.session() != s || b.metrics.SessionsTotal.Load() != 0 {
		t.Error("there is another session for the same entry")
	}
}

// TestAdjustedSyncs: a session adjusted in the kernel is looked up again after
// handling events: without its entry its bytes would go to the wrong place.
func TestAdjustedSyncs(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	synced := 0
	b.k.inSync = func() { synced++ }
	l.accepts(client, "NOOP\r\n")
	if synced != 0 {
		t.Error("a packet waits for events for nothing")
	}
	l.accepts(server, "200 fine\r\n")
	l.passive(50000)
	synced = 0
	l.accepts(client, "NOOP\r\n")
	if synced != 1 {
		t.Errorf("events are waited for %d times", synced)
	}
	b.k.inSync = func() { b.k.inSync = nil; b.lose(l) }
	if v, _ := l.say(client, "NOOP\r\n"); v == "changed" || l.session() != nil {
		t.Errorf("%s, though its entry is gone", v)
	}
}
