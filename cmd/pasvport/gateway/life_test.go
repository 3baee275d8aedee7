// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/expect"
)

// TestLife: a session begins and ends once, and leaves nothing behind.
func TestLife(t *testing.T) {
	b := newBench(t, nil)
	l := b.announced(plainEntry(1))
	s := l.session()
	if b.present.Living() != 1 || b.metrics.Sessions.Load() != 1 || b.metrics.SessionsTotal.Load() != 1 {
		t.Error("it does not count")
	}
	b.ending(b.k, s, expect.TCPStateFinWait)
	if len(b.k.elements) != 0 || b.metrics.Sessions.Load() != 1 {
		t.Errorf("while it is closed: elements %v", b.k.elements)
	}
	b.ending(b.k, s, expect.TCPStateTimeWait)
	b.logs(`msg="session ended"`, "cause=closed", "user=ada")
	if b.present.Living() != 0 {
		t.Error("it counts though both ends have closed it")
	}
	for range 2 {
		b.end(b.k, s)
	}
	if l.session() != nil || b.metrics.Sessions.Load() != 0 || b.lost.Find(s.Original(), s.Started) != nil {
		t.Error("something is left of it")
	}
}

// TestRoom: sessions above the limits are not read. They pass unread, or wait.
func TestRoom(t *testing.T) {
	for _, tt := range []struct {
		name    string
		edit    func(*config.Config)
		verdict string
		reason  report.Reason
	}{
		{"all", func(c *config.Config) { c.MaxSessions = 1 }, "accept", report.ReasonSessions},
		{"of one client", func(c *config.Config) { c.MaxClientSessions = 1 }, "accept", report.ReasonClientSessions},
		{"fail closed", func(c *config.Config) { c.MaxSessions, c.FailClosed = 1, true }, "drop", report.ReasonSessions},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.edit)
			b.connect(entryOf(1)).logIn()
			e := entryOf(2)
			e.Original.Src = netip.AddrPortFrom(entryOf(1).Original.Src.Addr(), 40001)
			e.Reply.Dst = e.Original.Src
			l := b.connect(e)
			if v, _ := l.say(client, "PORT 198,51,100,1,200,10\r\n"); v != tt.verdict || len(b.k.expected) != 0 {
				t.Errorf("%s, expectations %v", v, b.k.expected)
			}
			if l.session() != nil || (b.k.left[2] == "") == (tt.verdict == "accept") {
				t.Errorf("it is kept, or left as %q", b.k.left[2])
			}
			b.logs(`msg="control connection not read"`, "reason="+tt.reason.String())
		})
	}
}

// TestSurplus: of the sessions that both ends have closed no more are kept than
// may be read.
func TestSurplus(t *testing.T) {
	b := newBench(t, func(c *config.Config) { c.MaxSessions = 2 })
	for id := range uint32(5) {
		l := b.connect(entryOf(id + 1))
		l.accepts(server, "220 ready\r\n")
		b.ending(b.k, l.session(), expect.TCPStateTimeWait)
	}
	if n := len(b.w.table.All()); n > 3 {
		t.Errorf("%d sessions are kept", n)
	}
}

// TestRemember: only a connection that no end has begun to close is remembered.
func TestRemember(t *testing.T) {
	for state, want := range map[uint8]bool{expect.TCPStateEstablished: true, expect.TCPStateFinWait: false, expect.TCPStateClose: false} {
		b := newBench(t, nil)
		l := b.connect(entryOf(1))
		l.logIn()
		s := l.session()
		s.SetState(state)
		b.remember(s)
		if got := b.lost.Find(s.Reply(), s.Started) != nil; got != want {
			t.Errorf("state %d: remembered %v", state, got)
		}
	}
}

// TestAdoptEndsOthers: a connection that another table still has is over.
func TestAdoptEndsOthers(t *testing.T) {
	b := newBench(t, nil)
	old := newSession(entryOf(1))
	b.registry.orphans.Add(old)
	e := entryOf(1)
	e.ID = 2
	r := b.w.adopt(&e, nil, old.Started)
	defer r.Release()
	if table, s := b.registry.find(e.Original); s != r.Session || table != b.w.table || b.registry.orphans.Find(e.Original) != nil {
		t.Error("the old one is still there")
	}
}
