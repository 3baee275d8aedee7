// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// TestManyAdopted: 8,000 sessions, of which every tenth has announced a port, are
// live soon after conntrackd has brought their entries.
func TestManyAdopted(t *testing.T) {
	const n, holes = 8000, 800
	f := newFirewalls(t, func(c *config.Config) {
		c.MaxSessions, c.MaxPinholes, c.MaxClientPinholes = 2*n, n, n
		c.LogSessions = false
	})
	f.b.report.Log = slog.New(slog.DiscardHandler) // the lines are for debugging
	entries := make([]expect.Entry, n)
	for i := range entries {
		e := entryOf(1)
		e.ID = uint32(i + 1)
		e.Original.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 40000)
		e.Reply.Dst = e.Original.Src
		entries[i] = e
		rec := succession.Record{Original: succession.Tuple(e.Original), Reply: succession.Tuple(e.Reply),
			Engine: &ftpalg.State{Started: true, Begun: true, Answered: true, Greeted: true, Spoken: true, Login: true}}
		if i%(n/holes) == 0 {
			port := uint16(50000 + i/10)
			rec.Pinholes = []succession.Pinhole{{Source: e.Original.Src.Addr(), Public: netip.AddrPortFrom(e.Original.Dst.Addr(), port),
				Target: netip.AddrPortFrom(e.Reply.Src.Addr(), port), NAT: true, Left: time.Minute}}
		}
		f.a.peer.Tell(new(pair.Session), &rec, pair.Lazily)
	}
	f.told()
	if held := f.b.peer.Stats().Held; held < n {
		t.Fatalf("%d records are held", held)
	}
	w := f.b.watcher()
	begun := time.Now()
	for i := range entries {
		w.event(f.b.k, &expect.Event{Type: expect.New, Entry: entries[i]})
	}
	f.settle()
	took := time.Since(begun)
	s := f.b.peer.Stats()
	if got := len(f.b.registry.orphans.All()); got != n || s.TakeOver.Sessions != n || len(f.b.pinholes.All()) != holes {
		t.Errorf("%d sessions, %d in the take-over, %d pinholes", got, s.TakeOver.Sessions, len(f.b.pinholes.All()))
	}
	t.Logf("live after %v", took)
	if took > 20*time.Second { // some 50 ms on an idle machine; much more with the race detector
		t.Errorf("live after %v", took)
	}
}
