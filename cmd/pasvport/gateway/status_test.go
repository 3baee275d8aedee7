// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/expect"
)

// TestList: sessions are shown once, the oldest first, and not those that both ends
// have closed.
func TestList(t *testing.T) {
	b := newBench(t, nil)
	g := b.g
	var first time.Time
	for id := range uint32(3) {
		l := b.connect(entryOf(id + 1))
		l.logIn()
		if first.IsZero() {
			first = l.session().Started
		}
		if id == 2 {
			b.ending(b.k, l.session(), expect.TCPStateTimeWait)
		}
	}
	twice := b.registry.session(entryOf(1).Original)
	b.registry.orphans.Add(twice)
	list := g.list(time.Now())
	if len(list) != 2 || list[0].ID != 1 || !list[0].Started.Equal(first) || list[1].ID != 2 {
		t.Errorf("%+v", list)
	}
	if c := list[0]; c.State != "established" || c.Login != "accepted" || c.LastCommand != "PASS" || c.NAT != control.NATDst || c.Strategy != "expectation" {
		t.Errorf("%+v", c)
	}
}

// TestLimits: how full the limits are.
func TestLimits(t *testing.T) {
	b := newBench(t, nil)
	b.announced(plainEntry(1))
	n := b.g.limits()
	if n.Sessions.Now != 1 || n.Pinholes.Now != 1 || n.ClientPinholes.Now != 1 || n.ClientSessions.Now != 1 || n.Sessions.Max != b.cfg.MaxSessions {
		t.Errorf("%+v", n)
	}
}

// TestStatus: the status of the daemon as a whole.
func TestStatus(t *testing.T) {
	b := newBench(t, func(c *config.Config) { c.LoginFailures.Most, c.LoginFailures.Block = 1, time.Minute })
	l := b.announced(plainEntry(1))
	if err := b.k.Block(l.session().Ends().Client.Addr(), time.Minute); err != nil {
		t.Fatal(err)
	}
	b.metrics.Heals.Add(2)
	b.zones.leftAlone = true
	b.zones.seen.Store(true)
	b.g.noSender = errBroken
	b.k.expected = make([]expect.Expectation, 3)
	st := b.g.Status()
	if st.Sessions != 1 || st.PinholesOpen != 1 || st.Heals != 2 || st.Fail != "open" || st.Carrier == "none" || st.Monitor {
		t.Errorf("%+v", st)
	}
	if got := st.Settings["login-failures"]; len(got) != 1 || got[0] != b.cfg.LoginFailures.String() {
		t.Errorf("settings: %v", st.Settings)
	}
	if len(st.Blocked) != 1 || len(st.Notes) != 1 || st.KeepaliveError != "broken" || st.Expectations != 3 {
		t.Errorf("%+v", st)
	}
	if len(st.Queues) != 1 || st.Queues[0].Num != 40000 || st.Queues[0].Errors != 1 || st.Queues[0].Packets == 0 {
		t.Errorf("queues: %+v", st.Queues)
	}
	closed := newBench(t, func(c *config.Config) { c.FailClosed, c.Monitor = true, true }).g.Status()
	if closed.Fail != "closed" || closed.Carrier != "none" || !closed.Monitor || len(closed.Notes) != 0 || closed.Blocked != nil {
		t.Errorf("%+v", closed)
	}
}

// TestUnblock: a blocked client is unblocked, and only such a one.
func TestUnblock(t *testing.T) {
	b := newBench(t, nil)
	a := netip.MustParseAddr("198.51.100.1")
	if err := b.k.Block(a, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := b.g.Unblock(a); err != nil || len(b.k.blocked) != 0 {
		t.Errorf("%v: blocked %v", err, b.k.blocked)
	}
	if b.g.Unblock(a) == nil {
		t.Error("one that is not blocked is unblocked")
	}
}

// TestSessionsCount: the bytes of a running transfer are requested when they are
// to be shown.
func TestSessionsCount(t *testing.T) {
	b := newBench(t, nil)
	l := b.announced(entryOf(1))
	l.accepts(client, "RETR file\r\n")
	data := dataOf(l, 50000)
	b.watcher().event(b.k, &expect.Event{Type: expect.New, Entry: data})
	data.Packets, data.Bytes = [2]uint64{3, 4}, [2]uint64{3 * 40, 4*40 + 1000}
	b.k.enter(data)
	if list := b.g.Sessions(); len(list) != 1 || !list[0].Transferring || list[0].Data.BytesReply != 1160 || list[0].BytesDown == 0 {
		t.Errorf("%+v", list)
	}
}
