// SPDX-License-Identifier: Apache-2.0

package gateway

import (
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
	l := b.connect(plainEntry(1))
	l.logIn()
	l.passive(50000)
	n := b.g.limits()
	if n.Sessions.Now != 1 || n.Pinholes.Now != 1 || n.ClientPinholes.Now != 1 || n.ClientSessions.Now != 1 || n.Sessions.Max != b.cfg.MaxSessions {
		t.Errorf("%+v", n)
	}
}

// TestReload: settings that can change while running do; the others are named.
func TestReload(t *testing.T) {
	b := newBench(t, nil)
	g := b.g
	next := config.Default()
	next.LogSessions, next.LogTransfers = true, true
	next.MaxPinholes, next.Table = 7, "other"
	got, err := g.Reload(next)
	if err != nil || got.MaxPinholes != 7 || g.Settings().MaxPinholes != 7 || got.Table == "other" {
		t.Errorf("%v: %+v", err, got)
	}
	b.logs(`msg="configuration reloaded"`, "max-pinholes")
	b.logs(`msg="some settings need a restart"`, "table")
	if b.w.older.due == nil {
		t.Error("connections that may have passed unread are not listed")
	}
	if failText(config.Config{FailClosed: true}) == failText(config.Config{}) {
		t.Error("open is closed")
	}
}
