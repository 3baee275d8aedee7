// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// heir returns an heir for the bench's kernel.
func (b *bench) heir() *heir {
	h := &heir{
		adopter: adopter{life: b.life, ct: b.k, table: &b.registry.orphans},
	}
	return h
}

// after is a bench whose daemon starts with the kernel that another one left.
func (b *bench) after() *bench { return newBenchOn(b.t, b.k, b.cfg) }

// takenBack is a bench whose daemon has taken back what is in the kernel and what was
// handed over, and who did that.
func (b *bench) takenBack(handed legacy) (next *bench, h *heir) {
	b.t.Helper()
	next = b.after()
	h = next.heir()
	if err := h.takeBack(next.k, handed); err != nil {
		b.t.Fatal(err)
	}
	return next, h
}

// TestCrash: everything that a session needs is in the kernel: what was announced
// works after a crash, by expectation and by claim.
func TestCrash(t *testing.T) {
	for name, e := range map[string]expect.Entry{"expectation": entryOf(1), "claim": plainEntry(1)} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			l := b.announced(e)
			next, h := b.takenBack(newLegacy(nil))
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

// TestCrashRepeated: an announcement that the server repeats after a crash, as its
// acknowledgement was lost, is not refused: what it announced is open.
func TestCrashRepeated(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	at := l.next
	first := l.passive(50000)
	next, _ := b.takenBack(newLegacy(nil))
	m := &link{b: next, entry: l.entry, next: l.next, seen: l.seen}
	m.accepts(client, "NOOP\r\n")
	m.next[server] = at[server]
	if _, sent := m.say(server, announced); sent != first {
		t.Errorf("the client received %q, before that %q", sent, first)
	}
	if next.log.has("offer refused") || len(next.pinholes.All()) != 1 {
		t.Errorf("pinholes %v; the log:\n%s", next.pinholes.All(), next.log.b.String())
	}
}

// TestNotTakenBack: a connection that is over, not answered, or not of a daemon
// is not taken back; what was left alone is left alone.
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
// daemon in a file, and from there into the kernel, if the session could ask for
// it.
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
			l := b.announced(plainEntry(1))
			if n := b.g.testament.write(); n != 1 {
				t.Fatalf("%d pinholes handed over", n)
			}
			b.pinholes.CloseOf(b.k, &l.session().Owner, stopReason)
			next := b.after()
			handed := next.g.testament.read()
			tt.edit(next)
			h := next.heir()
			if err := h.takeBack(next.k, handed); err != nil {
				t.Fatal(err)
			}
			if h.open(handed); len(next.pinholes.All()) != tt.open || len(next.k.elements) != tt.open {
				t.Errorf("open: %v, in the kernel %v\n%s", next.pinholes.All(), next.k.elements, next.log.b.String())
			}
			if again := next.g.testament.read(); len(again) != 0 {
				t.Error("it serves another start")
			}
		})
	}
}

// TestHandOverDrained: drained servers are recorded in systemd's state directory
// of the unit, as the socket's directory does not outlive a stop; without one,
// next to the socket.
func TestHandOverDrained(t *testing.T) {
	for _, state := range []bool{false, true} {
		run, lib := t.TempDir(), t.TempDir()
		t.Setenv("STATE_DIRECTORY", "")
		if state {
			t.Setenv("STATE_DIRECTORY", lib+":"+t.TempDir())
		}
		b := newBench(t, func(c *config.Config) {
			c.ControlSocket = filepath.Join(run, "control.sock")
			c.VirtualServers = []config.VirtualServer{{Name: "ftp", Port: 21, Listen: []netip.Addr{netip.MustParseAddr("203.0.113.1")},
				Servers: []config.Server{{Name: "a", Port: 21, Weight: 1, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}},
					{Name: "b", Port: 21, Weight: 1, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.3")}}}}}
		})
		if err := b.balancer.Drain("ftp/b", true); err != nil {
			t.Fatal(err)
		}
		b.g.testament.write()
		if state {
			if err := os.RemoveAll(run); err != nil {
				t.Fatal(err)
			}
		}
		next := b.after()
		next.g.testament.read()
		if got := next.balancer.Drained(); len(got) != 1 || got[0] != "ftp/b" {
			t.Errorf("state directory: %t: drained %q", state, got)
		}
		again := b.after()
		if again.g.testament.read(); len(again.balancer.Drained()) != 0 {
			t.Error("it serves another start")
		}
	}
}

// TestHandOverMarked: a data connection that gets a mark is claimed, also by the
// next daemon.
func TestHandOverMarked(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(c *config.Config) { c.ControlSocket, c.Mark = filepath.Join(dir, "control.sock"), 0x10 })
	l := b.announced(entryOf(1))
	if n := b.g.testament.write(); n != 1 || !b.pinholes.Of(&l.session().Owner).Claim {
		t.Fatalf("%d pinholes handed over: %+v", n, b.pinholes.All())
	}
	b.pinholes.CloseOf(b.k, &l.session().Owner, stopReason)
	next := b.after()
	handed, h := next.g.testament.read(), next.heir()
	if err := h.takeBack(next.k, handed); err != nil {
		t.Fatal(err)
	}
	h.open(handed)
	if all := next.pinholes.All(); len(all) != 1 || !all[0].Claim {
		t.Errorf("taken over: %+v", all)
	}
}

// TestHandOverAdjusted: the daemon's own adjustments go to the next one.
func TestHandOverAdjusted(t *testing.T) {
	b := newBench(t, nil)
	b.k.noAdjust = true
	l := b.announced(entryOf(1))
	records := b.g.testament.records(time.Now())
	if len(records) != 1 || records[0].Adjusted == nil || records[0].Next[server] == nil || *records[0].Next[server] != l.next[server] {
		t.Fatalf("records: %+v", records)
	}
	clear(b.k.numbered) // only in the record
	next, _ := b.takenBack(newLegacy(records))
	s := next.registry.session(l.entry.Original)
	if s == nil || !s.Here() || next.k.numbered[1] == "" {
		t.Fatal("the next daemon does not adjust")
	}
	r := s.Acquire(new(ftpalg.Workspace))
	if a := session.Adjustments(*records[0].Adjusted); r.Adjustments() != a {
		t.Errorf("it adjusts by %v, want %v", r.Adjustments(), a)
	}
}

// TestHandOverUnanswered: a data connection whose SYN was not answered yet passes
// again, and nothing else is opened for it, even if conntrackd has deleted its entry, and
// makes it anew.
func TestHandOverUnanswered(t *testing.T) {
	for _, tt := range []struct {
		name  string
		entry expect.Entry
		lost  bool
	}{{"expectation", entryOf(1), false}, {"claim", plainEntry(1), false}, {"lost", entryOf(1), true}, {"lost claim", plainEntry(1), true}} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			l := b.announced(tt.entry)
			data := dataOf(l, 50000)
			if tt.entry.Helper == "" { // its SYN makes the entry
				b.handle(packetOf(t, data.Original, 1, 0, "", nfq.FlagSYN))
				data = *b.k.entries[data.Original]
			}
			data.TCPState = expect.TCPStateSynSent
			b.k.enter(data)
			b.k.expected = nil // used
			b.watcher().event(b.k, &expect.Event{Type: expect.New, Entry: data})
			if tt.lost {
				b.k.remove(&data)
				if b.watcher().event(b.k, &expect.Event{Type: expect.Destroy, Entry: data}); len(b.k.elements) != 0 {
					t.Errorf("without its entry there are %v", b.k.elements)
				}
			}
			records := b.g.testament.records(time.Now())
			if len(records) != 1 || len(records[0].Pinholes) != 1 || records[0].Pinholes[0].Data == nil {
				t.Fatalf("records: %+v", records)
			}
			b.k.elements = nil
			handed := newLegacy(records)
			next, h := b.takenBack(handed)
			h.open(handed)
			if tt.lost {
				if len(next.k.elements) != 0 {
					t.Errorf("without its entry there are %v", next.k.elements)
				}
				next.k.enter(data)
				next.watcher().event(next.k, &expect.Event{Type: expect.New, Entry: data})
			}
			if len(next.k.elements) != 1 || next.k.elements[0].Source.IsValid() || len(next.k.expected) != 0 {
				t.Errorf("elements %+v, expectations %v", next.k.elements, next.k.expected)
			}
			s := next.registry.session(tt.entry.Original)
			if !s.Owner.Transferring() || len(next.pinholes.All()) != 0 {
				t.Errorf("transferring: %v, pinholes %v", s.Owner.Transferring(), next.pinholes.All())
			}
			data.TCPState = expect.TCPStateSynRecv
			if next.watcher().event(next.k, &expect.Event{Type: expect.Update, Entry: data}); len(next.k.elements) != 0 {
				t.Error("the way is still open though the SYN is answered")
			}
		})
	}
}

// TestHandOverAfterCrash: what the kernel kept is newer than what was handed
// over.
func TestHandOverAfterCrash(t *testing.T) {
	b := newBench(t, nil)
	l := b.announced(plainEntry(1))
	handed := newLegacy(b.g.testament.records(time.Now()))
	l.passive(50001)
	next, h := b.takenBack(handed)
	h.open(handed)
	if all := next.pinholes.All(); len(all) != 1 || all[0].Public.Port() != 50001 || next.metrics.Pinholes.Open.Load() != 1 {
		t.Errorf("open: %v, in the kernel %v", all, next.k.elements)
	}
}

// TestHandOverLeft: a session that was left alone is left alone again, for the
// reason that was handed over.
func TestHandOverLeft(t *testing.T) {
	for _, left := range []succession.Left{succession.LeftEncrypted, succession.LeftForeign, succession.LeftAlone} {
		b := newBench(t, nil)
		b.k.noTable = true // a stop has removed what it had
		e := entryOf(1)
		b.k.enter(e)
		record := succession.Record{Original: succession.Tuple(e.Original), Reply: succession.Tuple(e.Reply), ID: 1, Left: left}
		if err := b.heir().takeBack(b.k, newLegacy([]succession.Record{record})); err != nil {
			t.Fatal(err)
		}
		if s := b.registry.session(e.Original); s == nil || s.Left() != left || b.k.left[1] != left.String() {
			t.Errorf("left as %q, want %q", b.k.left[1], left)
		}
	}
}

// TestHandOverOutOfStep: an end that has sent something while no one adjusted
// sequence numbers is reset, as the other end has it in the wrong place.
func TestHandOverOutOfStep(t *testing.T) {
	for name, lost := range map[string]uint32{"in step": 0, "out of step": 10} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.k.noAdjust = true
			l := b.announced(entryOf(1))
			records := b.g.testament.records(time.Now())
			next, _ := b.takenBack(newLegacy(records))
			m := &link{b: next, entry: l.entry, next: l.next}
			m.next[server] += lost
			p := m.packet(server, "226 done\r\n", nfq.FlagACK)
			next.ids += 1000 // its verdicts are new
			p.ID = next.ids
			if v, _ := next.handle(p); (v == reset) != (lost > 0) {
				t.Errorf("the next packet: %s", v)
			}
		})
	}
}

// TestNotesOnly: after a crash the notes in the kernel say how sequence numbers
// were adjusted.
func TestNotesOnly(t *testing.T) {
	b := newBench(t, nil)
	b.k.noAdjust = true
	l := b.announced(entryOf(1))
	next, _ := b.takenBack(newLegacy(nil))
	s := next.registry.session(l.entry.Original)
	if !s.Here() {
		t.Fatal("the next daemon does not adjust")
	}
	r := s.Acquire(new(ftpalg.Workspace))
	if a := r.Adjustments(); a[ftpalg.Reply].After != 3 {
		t.Errorf("it adjusts by %v", a)
	}
}

// TestDataTakenBack: data connections go to their sessions, except those that are
// over, and those of others.
func TestDataTakenBack(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	open, over, other := dataOf(l, 50000), dataOf(l, 50001), dataOf(l, 50002)
	open.TCPState, over.TCPState, other.TCPState = expect.TCPStateEstablished, expect.TCPStateTimeWait, expect.TCPStateEstablished
	other.Master = entryOf(9).Original
	for _, e := range []expect.Entry{open, over, other} {
		b.k.enter(e)
	}
	if err := b.heir().takeBack(b.k, newLegacy(nil)); err != nil {
		t.Fatal(err)
	}
	if list := b.pinholes.Data.Tuples(); len(list) != 1 || list[0] != open.Original {
		t.Errorf("data connections: %v", list)
	}
	if s := l.session(); !s.Owner.Transferring() {
		t.Error("its session does not have it")
	}
}

// TestEndedMeanwhile: what a session had announced that ended while no daemon was here does
// not stay open, by expectation or by claim.
func TestEndedMeanwhile(t *testing.T) {
	for name, e := range map[string]expect.Entry{"expectation": entryOf(1), "claim": plainEntry(1)} {
		b := newBench(t, nil)
		b.announced(e)
		if len(b.k.expected)+len(b.k.elements) == 0 {
			t.Fatalf("%s: nothing is open", name)
		}
		e.TCPState = expect.TCPStateTimeWait
		b.k.enter(e)
		b.takenBack(newLegacy(nil))
		if len(b.k.expected)+len(b.k.elements) > 0 {
			t.Errorf("%s: open are %v and %v", name, b.k.expected, b.k.elements)
		}
	}
}

// TestElementsClosed: what is open for no session any more, or has an unreadable
// note, is closed; what is in a chain of the administrator is not judged.
func TestElementsClosed(t *testing.T) {
	b := newBench(t, nil)
	b.announced(plainEntry(1))
	mine := b.k.elements[0]
	gone, odd, forward := mine, mine, mine
	gone.Dest, gone.Note = ap("203.0.113.1:50001"), strings.Replace(mine.Note, "1", "7", 1)
	odd.Dest, odd.Note = ap("203.0.113.1:50002"), "what"
	forward.Dest, forward.Forward = ap("10.0.0.2:50003"), true
	b.k.elements = append(b.k.elements, gone, odd, forward)
	next, _ := b.takenBack(newLegacy(nil))
	var ports []uint16
	for _, e := range next.k.elements {
		ports = append(ports, e.Dest.Port())
	}
	if slices.Sort(ports); !slices.Equal(ports, []uint16{50000, 50003}) {
		t.Errorf("open: %v (the note is %q)", ports, mine.Note)
	}
	if all := next.pinholes.All(); len(all) != 1 || all[0].Public != mine.Dest {
		t.Errorf("taken back: %v", all)
	}
}

// TestTestamentFails: a daemon that cannot hand over reports that, and one that
// cannot read the file starts without it.
func TestTestamentFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(c *config.Config) { c.ControlSocket = filepath.Join(file, "control.sock") })
	b.announced(plainEntry(1))
	if n := b.g.testament.write(); n != 0 {
		t.Errorf("%d pinholes handed over into nothing", n)
	}
	b.logs(`msg="the next daemon cannot be told what is open"`)
	b = newBench(t, func(c *config.Config) { c.ControlSocket = filepath.Join(dir, "control.sock") })
	path, err := b.g.testament.path()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("what\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l := b.g.testament.read(); len(l) != 0 {
		t.Errorf("taken over: %v", l)
	}
	b.logs(`msg="not taken over from the daemon before"`)
}

// TestSpecOf: the pinhole of an expectation.
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
