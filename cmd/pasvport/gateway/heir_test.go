// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// heir is who takes back what is in the bench's kernel.
func (b *bench) heir() *heir {
	h := &heir{
		adopter: adopter{life: b.life, ct: b.k, table: &b.registry.orphans},
		ports:   &b.g.ports,
	}
	return h
}

// after is a bench whose daemon begins with the kernel that another one left.
func (b *bench) after() *bench { return newBenchOn(b.t, b.k, b.cfg) }

// TestCrash: all that a session needs is in the kernel: what was announced works after
// a crash, by expectation and by claim.
func TestCrash(t *testing.T) {
	for name, e := range map[string]expect.Entry{"expectation": entryOf(1), "claim": plainEntry(1)} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			l := b.connect(e)
			l.logIn()
			l.passive(50000)
			next := b.after()
			h := next.heir()
			if err := h.takeBack(next.k, newLegacy(nil)); err != nil {
				t.Fatal(err)
			}
			h.logTakenBack()
			next.logs(`msg="taken back"`, "sessions=1", "pinholes=1")
			all := next.pinholes.All()
			if len(all) != 1 || all[0].Public.Port() != 50000 || all[0].Owner.ID != 1 || all[0].Mode != ftpalg.Passive {
				t.Fatalf("pinholes: %+v", all)
			}
			m := &link{b: next, entry: l.entry, next: l.next, seen: l.seen}
			m.accepts(client, "NOOP\r\n")
			if next.registry.orphans.Find(e.Original) != nil || m.session() == nil {
				t.Error("its worker does not have it")
			}
		})
	}
}

// TestNotTakenBack: what is over, not answered, or of no daemon is not taken back; what
// was left alone is left alone.
func TestNotTakenBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*bench, *expect.Entry)
		want int
		left succession.Left
	}{
		{"open", func(*bench, *expect.Entry) {}, 1, succession.LeftNot},
		{"closed", func(_ *bench, e *expect.Entry) { e.TCPState = expect.TCPStateTimeWait }, 0, 0},
		{"not answered", func(_ *bench, e *expect.Entry) { e.Status = 0 }, 0, 0},
		{"a check of a server", func(b *bench, _ *expect.Entry) { b.k.left[1] = "" }, 0, 0},
		{"no daemon was here", func(b *bench, _ *expect.Entry) { b.k.noTable = true }, 0, 0},
		{"in a zone that cannot be told", func(b *bench, e *expect.Entry) { e.Original.Zone, e.Reply.Zone, b.zones.leftAlone = 5, 5, true }, 0, 0},
		{"encrypted", func(b *bench, _ *expect.Entry) { b.k.left[1] = succession.LeftEncrypted.String() }, 1, succession.LeftEncrypted},
		{"foreign", func(b *bench, _ *expect.Entry) { b.k.left[1] = succession.LeftForeign.String() }, 1, succession.LeftForeign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			e := entryOf(1)
			tt.edit(b, &e)
			b.k.enter(e)
			h := b.heir()
			if err := h.takeBack(b.k, newLegacy(nil)); err != nil {
				t.Fatal(err)
			}
			all := h.table.All()
			if len(all) != tt.want || tt.want > 0 && all[0].Left() != tt.left {
				t.Errorf("taken back: %d sessions", len(all))
			}
		})
	}
}

// TestHandOver: what a stop closes and the kernel does not know goes to the next
// daemon in a file, and from there into the kernel, if it could be asked for.
func TestHandOver(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		edit func(*bench)
		open int
	}{
		{"as it was", func(*bench) {}, 1},
		{"another connection with the same ports", func(b *bench) { b.k.entries[plainEntry(1).Original].ID = 7 }, 0},
		{"port not permitted any more", func(b *bench) { b.settings().policy.MinDataPort = 60000 }, 0},
		{"without claims", func(b *bench) { b.plan.rules.Claim = false }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, func(c *config.Config) { c.ControlSocket = filepath.Join(dir, "control.sock") })
			l := b.connect(plainEntry(1))
			l.logIn()
			l.passive(50000)
			if n := (&testament{b.services, b.registry}).write(); n != 1 {
				t.Fatalf("%d pinholes handed over", n)
			}
			b.pinholes.CloseOf(b.k, &l.session().Owner, stopReason)
			next := b.after()
			handed := (&testament{next.services, next.registry}).read()
			tt.edit(next)
			h := next.heir()
			if err := h.takeBack(next.k, handed); err != nil {
				t.Fatal(err)
			}
			if h.open(handed); len(next.pinholes.All()) != tt.open || len(next.k.elements) != tt.open {
				t.Errorf("open: %v, in the kernel %v\n%s", next.pinholes.All(), next.k.elements, next.log.b.String())
			}
			if again := (&testament{next.services, next.registry}).read(); len(again) != 0 {
				t.Error("it is good for another start")
			}
		})
	}
}

// TestHandOverAdjusted: adjustments that a daemon makes itself go to the next one.
func TestHandOverAdjusted(t *testing.T) {
	b := newBench(t, nil)
	b.k.noAdjust = true
	l := b.connect(entryOf(1))
	l.logIn()
	l.passive(50000)
	records := (&testament{b.services, b.registry}).records(time.Now())
	if len(records) != 1 || records[0].Adjusted == nil || records[0].Next[server] == nil || *records[0].Next[server] != l.next[server] {
		t.Fatalf("records: %+v", records)
	}
	clear(b.k.numbered) // only the record says it
	next := b.after()
	h := next.heir()
	if err := h.takeBack(next.k, newLegacy(records)); err != nil {
		t.Fatal(err)
	}
	s := next.registry.session(l.entry.Original)
	if s == nil || !s.Here() || next.k.numbered[1] == "" {
		t.Fatal("the next daemon does not adjust")
	}
	r := s.Acquire(new(ftpalg.Workspace))
	if a := session.Adjustments(*records[0].Adjusted); r.Adjustments() != a {
		t.Errorf("it adjusts by %v, want %v", r.Adjustments(), a)
	}
}

// TestSpecOf: what an expectation says of its pinhole.
func TestSpecOf(t *testing.T) {
	s := newSession(entryOf(1))
	client := s.Ends().Client.Addr()
	for _, tt := range []struct {
		x    expect.ExpectationInfo
		mode ftpalg.Mode
		to   netip.AddrPort
		port uint16
	}{
		{expect.ExpectationInfo{Expected: expect.Tuple{Src: netip.AddrPortFrom(client, 0), Dst: ap("203.0.113.1:50000")}, NAT: true, To: ap("10.0.0.2:50000")}, ftpalg.Passive, ap("10.0.0.2:50000"), 0},
		{expect.ExpectationInfo{Expected: expect.Tuple{Src: ap("10.0.0.2:20"), Dst: netip.AddrPortFrom(client, 6000)}, Mask: expect.Tuple{Src: ap("255.255.255.255:65535")}}, ftpalg.Active, netip.AddrPortFrom(client, 6000), 20},
		{expect.ExpectationInfo{Expected: expect.Tuple{Src: ap("10.0.0.2:0"), Dst: ap("203.0.113.9:6000")}, NAT: true, Direction: expect.Reply, To: netip.AddrPortFrom(client, 6000)}, ftpalg.Active, netip.AddrPortFrom(client, 6000), 0},
	} {
		if p := specOf(&tt.x, s); p.Mode != tt.mode || p.Target != tt.to || p.Port != tt.port || p.Public != tt.x.Expected.Dst {
			t.Errorf("%+v: %+v", tt.x, p)
		}
	}
}
