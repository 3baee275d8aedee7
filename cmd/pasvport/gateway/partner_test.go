// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/fastpath"
	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// firewalls are two benches that form a pair, each with a kernel of its own, and
// a link between them.
type firewalls struct {
	a, b *bench
	cut  func() // also stops the link
	last uint16 // port of the last session sent to the peer
}

// longTimeout is conntrack's timeout of an established connection.
const longTimeout = 5 * 24 * time.Hour

// newFirewalls returns a pair. The first one has the address of the sessions.
func newFirewalls(t *testing.T, edit func(*config.Config)) *firewalls {
	t.Helper()
	f := new(firewalls)
	for i, b := range []**bench{&f.a, &f.b} {
		*b = paired(t, i, edit)
		peer := (*b).peer
		ctx, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = peer.Run(ctx) })
		end := sync.OnceFunc(func() { stop(); wg.Wait(); peer.Close() })
		t.Cleanup(end)
		if i == 0 {
			f.cut = end
		}
	}
	eventually(t, "the link is up", func() bool { return !f.a.peer.Alone() && !f.b.peer.Alone() })
	eventually(t, "the other firewall answers in time", func() bool { // otherwise nothing waits for it
		rec, _ := f.another()
		waits, began := f.a.peer.Stats().Waits, time.Now()
		f.a.peer.Wait(f.a.peer.Tell(new(pair.Session), &rec, pair.Awaited))
		return f.a.peer.Stats().Waits > waits && time.Since(began) < 25*time.Millisecond
	})
	return f
}

// another is a record of another session, which has no entry.
func (f *firewalls) another() (succession.Record, expect.Tuple) {
	f.last++
	t := expect.Tuple{Src: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), f.last), Dst: ap("192.0.2.2:21")}
	return succession.Record{Original: succession.Tuple(t), Reply: succession.Tuple(t.Reverse())}, t
}

// paired is the first or the second one of a pair, not connected to the other one
// yet.
func paired(t *testing.T, which int, edit func(*config.Config)) *bench {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("0123456789abcdef", 4)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pid := os.Getpid() // no other process has these addresses
	at := func(which int) string {
		return fmt.Sprintf("127.%d.%d.%d:%d", 1+pid>>16&63, pid>>8&255, pid&255, 40021+which)
	}
	b := newBench(t, func(c *config.Config) {
		c.PeerListen, c.Peer, c.PeerKey = at(which), at(1-which), key
		if edit != nil {
			edit(c)
		}
	})
	if err := b.g.openPair(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.peer.Close)
	b.entries.established = longTimeout
	return b
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// told waits until the second firewall has handled everything that the first one
// knows, including one last session that has no entry there.
func (f *firewalls) told() {
	f.a.t.Helper()
	f.a.g.lanes.tellLate()
	rec, last := f.another()
	reached := make(chan struct{})
	f.b.k.mu.Lock()
	f.b.k.beforeGet = func(t expect.Tuple) {
		if t == last {
			close(reached)
		}
	}
	f.b.k.mu.Unlock()
	f.a.peer.Tell(new(pair.Session), &rec, pair.Lazily)
	select {
	case <-reached:
	case <-time.After(10 * time.Second):
		f.a.t.Fatal("records were not handled within 10 s")
	}
	f.settle()
}

// settle waits until the second firewall has handled its kernel's events.
func (f *firewalls) settle() {
	f.a.t.Helper()
	if !f.b.peer.Settle(10 * time.Second) {
		f.a.t.Fatal("events were not handled within 10 s")
	}
}

// moves makes conntrackd bring the entry of a connection to the second firewall,
// which now has the address. It returns the connection as it is there.
func (f *firewalls) moves(l *link) *link {
	f.a.t.Helper()
	f.told()
	e := *l.entry
	e.ID += 100
	e.Timeout = time.Minute
	f.b.k.enter(e)
	f.b.watcher().event(f.b.k, &expect.Event{Type: expect.New, Entry: e})
	f.settle()
	f.b.ids += 1000
	return &link{b: f.b, entry: &e, next: l.next}
}

// TestFailover: a session continues at the other firewall, in the middle of a
// dialogue: what was announced is open there, and what is announced there has the
// sequence numbers that its client expects.
func TestFailover(t *testing.T) {
	for _, tt := range []struct {
		name     string
		entry    expect.Entry
		noAdjust bool // the first kernel does not adjust sequence numbers
		stale    bool // conntrackd brings the entry as it was before that
	}{
		{"translated", entryOf(1), false, false},
		{"translated, and the entry is older than what is told", entryOf(1), false, true},
		{"plain", plainEntry(1), false, false},
		{"adjusted by the daemon", entryOf(1), true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFirewalls(t, nil)
			f.a.k.noAdjust, f.b.k.noAdjust = tt.noAdjust, tt.noAdjust
			l := f.a.announced(tt.entry)
			if adj := f.a.k.adjusted[l.entry.Original]; adj != ([2]expect.SeqAdj{}) && !tt.stale {
				l.entry.Adj, l.entry.Status = adj, l.entry.Status|expect.StatusSeqAdjust // conntrackd has it, too
			}
			m := f.moves(l)
			s := m.session()
			if s == nil || !s.Pair.Standby() || s.Here() {
				t.Fatal("it is not a standby session here")
			}
			all := f.b.pinholes.All()
			if len(all) != 1 || all[0].Public != f.a.pinholes.All()[0].Public || all[0].Target != f.a.pinholes.All()[0].Target || all[0].Owner != &s.Owner {
				t.Fatalf("open: %v", all)
			}
			if (len(f.b.k.expected) == 1) != (tt.entry.Helper != "") || len(f.b.k.elements) == 0 {
				t.Errorf("in the kernel: %v, %v", f.b.k.expected, f.b.k.elements)
			}
			if v, _ := m.say(client, "RETR file\r\n"); v == "drop" || s.Pair.Standby() || s.Here() != tt.noAdjust {
				t.Errorf("the next packet: %s; it is the other's: %v; adjusted here: %v", v, s.Pair.Standby(), s.Here())
			}
			if d := f.b.k.timeout(m.entry.Original); d != longTimeout {
				t.Errorf("the entry has the timeout %v", d)
			}
			m.say(server, "150 go\r\n")
			m.say(server, "226 done\r\n")
			m.say(client, "PASV\r\n")
			p := m.packet(server, strings.Replace(announced, "10,0,0,2", strings.ReplaceAll(tt.entry.Reply.Src.Addr().String(), ".", ","), 1), nfq.FlagACK)
			seq := p.Seq
			_, sent := f.b.handle(p)
			if tt.entry.Reply.Src != tt.entry.Original.Dst && sent != told {
				t.Errorf("the client received %q", sent)
			}
			if tt.noAdjust && f.b.sent(p.ID).Seq != seq+3 {
				t.Errorf("at %d, want it after what the first firewall made longer", f.b.sent(p.ID).Seq-seq)
			}
			if adj := f.b.k.adjusted[m.entry.Original][expect.Reply]; !tt.noAdjust && tt.entry.Helper != "" && (adj.Before != 3 || adj.After != 6) {
				t.Errorf("the kernel adjusts by %+v", adj)
			}
			if n := len(f.b.pinholes.All()); n != 1 || f.b.metrics.Pinholes.Opened.Load() == 0 {
				t.Errorf("%d pinholes", n)
			}
			f.b.logs(`msg="pinhole opened"`, "verb=PASV")
		})
	}
}

// TestFailoverFirst: the first packet arrives before the event of its entry is
// handled, and before there is an entry at all.
func TestFailoverFirst(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.connect(plainEntry(1))
	l.logIn()
	l.accepts(client, "PASV\r\n")
	f.told()
	e := *l.entry
	m := &link{b: f.b, entry: &e, next: l.next}
	p := m.packet(server, announced, nfq.FlagACK)
	if v, _ := f.b.handle(p); v != "drop" {
		t.Errorf("without an entry, which conntrackd will bring: %s", v)
	}
	p = m.packet(server, announced, nfq.FlagACK)
	p.Hook = nfq.HookForward
	if v, _ := f.b.handle(p); v != "drop" {
		t.Errorf("invalid for want of an entry: %s", v)
	}
	f.b.k.inSync = func() { // conntrackd brings it
		f.b.k.inSync = nil
		f.b.k.enter(e)
		f.b.watcher().event(f.b.k, &expect.Event{Type: expect.New, Entry: e})
		f.settle()
	}
	f.b.k.enter(e)
	m.say(server, strings.Replace(announced, "10,0,0,2", "203,0,113,1", 1))
	if len(f.b.pinholes.All()) != 1 {
		t.Error("the reply to a command seen by the other firewall opens nothing")
	}
	if f.b.metrics.SessionsTotal.Load() != 1 {
		t.Errorf("%d sessions", f.b.metrics.SessionsTotal.Load())
	}
}

// TestFailoverOnEnded: the second firewall still has the entry of an earlier connection
// with the same ports. It is not that of the session, which continues when conntrackd has
// brought its own.
func TestFailoverOnEnded(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(entryOf(1))
	f.told()
	e := *l.entry
	e.ID, e.TCPState = 99, expect.TCPStateTimeWait
	f.b.k.enter(e)
	m := &link{b: f.b, entry: l.entry, next: l.next}
	p := m.packet(client, "NOOP\r\n", nfq.FlagACK)
	if v, _ := f.b.handle(p); v != "drop" || m.session() != nil {
		t.Errorf("on the entry of another one: %s, session %v", v, m.session())
	}
	f.b.k.remove(&e)
	f.b.watcher().event(f.b.k, &expect.Event{Type: expect.Destroy, Entry: e})
	m = f.moves(l)
	m.accepts(client, "NOOP\r\n")
	if len(f.b.pinholes.All()) != 1 || len(f.a.pinholes.All()) != 1 {
		t.Errorf("open is %v, and at the first %v", f.b.pinholes.All(), f.a.pinholes.All())
	}
}

// TestFailoverEnded: the last packets of a session that has just ended arrive before
// conntrackd brings its entry. They are retransmitted, and must not be answered with a
// reset.
func TestFailoverEnded(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.connect(entryOf(1))
	l.logIn()
	l.accepts(client, "QUIT\r\n")
	l.accepts(server, "221 bye\r\n")
	f.a.ending(f.a.k, l.session(), expect.TCPStateFinWait)
	f.told()
	m := &link{b: f.b, entry: l.entry, next: l.next}
	for range 3 {
		p := m.packet(server, "221 bye\r\n", nfq.FlagACK)
		if v, _ := f.b.handle(p); v != "drop" {
			t.Errorf("its last reply: %s", v)
		}
	}
	e := *l.entry
	e.TCPState = expect.TCPStateFinWait
	f.b.k.enter(e)
	f.b.watcher().event(f.b.k, &expect.Event{Type: expect.New, Entry: e})
	if f.settle(); f.b.registry.session(e.Original) != nil {
		t.Error("it is a session again")
	}
}

// TestPartnerFollows: while the other firewall has a session, what it closes is
// closed, what it leaves alone is left alone, and what ends there leaves nothing
// open.
func TestPartnerFollows(t *testing.T) {
	for _, tt := range []struct {
		name   string
		do     func(*firewalls, *link)
		left   succession.Left
		logged string
	}{
		{"a transfer is refused", func(_ *firewalls, l *link) {
			l.say(client, "RETR file\r\n")
			l.say(server, "550 no\r\n")
			l.say(client, "PORT 198,51,100,1,200,10\r\n")
			l.say(server, "500 no\r\n")
		}, succession.LeftNot, `cause="the other firewall has closed it"`},
		{"it is encrypted", func(_ *firewalls, l *link) {
			l.say(client, "AUTH TLS\r\n")
			l.say(server, "234 go\r\n")
		}, succession.LeftEncrypted, `msg="session is encrypted"`},
		{"it ends", func(f *firewalls, l *link) {
			f.a.ending(f.a.k, l.session(), expect.TCPStateTimeWait)
		}, succession.LeftNot, `cause="the session is over"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFirewalls(t, nil)
			l := f.a.announced(plainEntry(1))
			m := f.moves(l)
			if len(f.b.pinholes.All()) != 1 {
				t.Fatal("nothing is open")
			}
			tt.do(f, l)
			f.told()
			eventually(t, "what was open is closed", func() bool { return len(f.b.pinholes.All()) == 0 || tt.left != succession.LeftNot })
			if s := m.session(); s.Left() != tt.left {
				t.Errorf("left as %q, want %q", s.Left(), tt.left)
			}
			f.b.logs(tt.logged)
		})
	}
}

// TestNotAdopted: a session that would not be read if a packet of it came is not
// adopted, nor is another connection.
func TestNotAdopted(t *testing.T) {
	for _, tt := range []struct {
		name  string
		edit  func(*config.Config)
		entry func(*expect.Entry)
		want  bool
	}{
		{"as it was", nil, func(*expect.Entry) {}, true},
		{"a helper has it", nil, func(e *expect.Entry) { e.Helper = "ftp" }, false},
		{"a zone in one direction", nil, func(e *expect.Entry) { e.Reply.Zone = 3 }, false},
		{"translated otherwise", nil, func(e *expect.Entry) { e.Reply.Src = ap("10.0.0.3:21") }, false},
		{"it begins", nil, func(e *expect.Entry) { e.TCPState = expect.TCPStateSynRecv }, false},
		{"it ends", nil, func(e *expect.Entry) { e.TCPState = expect.TCPStateFinWait }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFirewalls(t, tt.edit)
			l := f.a.announced(entryOf(1))
			f.told()
			e := *l.entry
			tt.entry(&e)
			f.b.k.enter(e)
			f.b.watcher().event(f.b.k, &expect.Event{Type: expect.New, Entry: e})
			if f.settle(); (f.b.registry.session(e.Original) != nil) != tt.want {
				t.Errorf("adopted: %v, want %v", !tt.want, tt.want)
			}
			if n := len(f.b.pinholes.All()); (n == 1) != tt.want {
				t.Errorf("%d pinholes", n)
			}
		})
	}
}

// TestAdoptAsked: a session of the peer is adopted at once if its entry exists
// and belongs to the same connection.
func TestAdoptAsked(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*pair.Known, *expect.Entry)
		want bool
	}{
		{"there", func(*pair.Known, *expect.Entry) {}, true},
		{"not there", func(_ *pair.Known, e *expect.Entry) {
			e.Original.Src, e.Reply.Dst = ap("198.51.100.9:9"), ap("198.51.100.9:9")
		}, false},
		{"another connection", func(_ *pair.Known, e *expect.Entry) { e.Reply.Src = ap("10.0.0.3:21") }, false},
		{"in a zone in one direction", func(k *pair.Known, e *expect.Entry) { k.Reply.Zone, e.Reply.Zone = 3, 3 }, false},
		{"there is no room", func(*pair.Known, *expect.Entry) {}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := paired(t, 0, func(c *config.Config) {
				if tt.name == "there is no room" {
					c.MaxSessions = 1
				}
			})
			b.connect(entryOf(7)).logIn() // another one
			e := entryOf(1)
			k := pair.Known{Record: succession.Record{Original: succession.Tuple(e.Original), Reply: succession.Tuple(e.Reply)}}
			tt.edit(&k, &e)
			b.k.enter(e)
			p := &partner{*b.heir(), b.g.lanes.mark}
			asked := func() bool {
				found := p.Entry(expect.Tuple(k.Original))
				return found != nil && p.Adopt(&k, found)
			}
			if got := asked(); got != tt.want || (b.registry.orphans.Find(expect.Tuple(k.Original)) != nil) != tt.want {
				t.Errorf("adopted: %v", got)
			}
			b.k.remove(&e)
			e.ID = 2 // without the end of the first
			if b.k.enter(e); asked() {
				t.Error("the next connection with the same ports was adopted as this one")
			}
		})
	}
}

// TestFailoverAside: what the first firewall does not read the other one does not
// read either, though it sees no reason.
func TestFailoverAside(t *testing.T) {
	f := newFirewalls(t, nil)
	e := entryOf(1)
	e.Helper = "ftp"
	l := f.a.connect(e)
	l.accepts(client, "NOOP\r\n")
	l.entry.Helper = "" // conntrackd does not carry it
	m := f.moves(l)
	if s := m.session(); s == nil || s.Left() != succession.LeftAlone || f.b.k.left[m.entry.ID] == "" {
		t.Error("it is read")
	}
	l = f.a.connect(plainEntry(2))
	l.logIn()
	l.passive(50000)
	l.accepts(client, "AUTH TLS\r\n")
	l.accepts(server, "234 go\r\n")
	if m = f.moves(l); m.session().Left() != succession.LeftEncrypted || len(f.b.pinholes.All()) != 0 {
		t.Errorf("left as %q, open: %v", m.session().Left(), f.b.pinholes.All())
	}
}

// TestPartnerAlone: while the other firewall has a session, its entry's timeout
// is not set here, as conntrackd would report that to it. When the other firewall
// is gone the timeout is set.
func TestPartnerAlone(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(plainEntry(1))
	m := f.moves(l)
	s := m.session()
	data := dataOf(l, 50000)
	data.TCPState = expect.TCPStateEstablished
	f.b.k.enter(data)
	f.b.watcher().event(f.b.k, &expect.Event{Type: expect.New, Entry: data})
	if !f.b.sync() || !s.Owner.Transferring() || len(f.b.pinholes.All()) != 0 || len(f.b.k.elements) != 0 {
		t.Errorf("with the data connection from conntrackd there are %v", f.b.k.elements)
	}
	own := ownEntries{f.b.k, f.b.services, f.b.registry}
	if err := own.UpdateTimeout(m.entry.Original, time.Hour); err != nil || f.b.k.timeout(m.entry.Original) != 0 {
		t.Errorf("%v, set to %v", err, f.b.k.timeout(m.entry.Original))
	}
	f.b.pinholes.Data.Due() // what was to be looked at so far
	f.cut()
	eventually(t, "the other firewall is gone", f.b.peer.Alone)
	eventually(t, "its entries are looked after", func() bool { return f.b.k.timeout(m.entry.Original) == longTimeout })
	eventually(t, "the transfer's control connection is to be looked at", func() bool { return len(f.b.pinholes.Data.Due()) == 1 })
	if err := own.UpdateTimeout(m.entry.Original, time.Hour); err != nil || f.b.k.timeout(m.entry.Original) != time.Hour {
		t.Errorf("%v, set to %v", err, f.b.k.timeout(m.entry.Original))
	}
	next := newSession(entryOf(7)) // begins here: it belongs to no one else
	next.Pair = nil
	f.b.begin(f.b.w.table, next)
	if next.Pair == nil || next.Pair.Standby() {
		t.Error("a session that begins here is standby")
	}
}

// TestPeerWait: which announcements wait until the other firewall has them.
func TestPeerWait(t *testing.T) {
	for _, tt := range []struct {
		wait  config.PeerWait
		entry expect.Entry
		want  uint64
	}{
		{config.PeerAlways, plainEntry(1), 1}, {config.PeerAlways, entryOf(1), 1},
		{config.PeerNAT, plainEntry(1), 0}, {config.PeerNAT, entryOf(1), 1},
		{config.PeerNever, plainEntry(1), 0}, {config.PeerNever, entryOf(1), 0},
	} {
		t.Run(fmt.Sprintf("%s, translated: %v", tt.wait, tt.entry.Helper != ""), func(t *testing.T) {
			f := newFirewalls(t, func(c *config.Config) { c.PeerWait = tt.wait })
			l := f.a.connect(tt.entry)
			l.logIn()
			before := f.a.peer.Stats().Waits
			if l.passive(50000); f.a.peer.Stats().Waits != before+tt.want {
				t.Errorf("%d waits, want %d", f.a.peer.Stats().Waits-before, tt.want)
			}
			if l.accepts(client, "NOOP\r\n"); f.a.peer.Stats().Waits != before+tt.want {
				t.Error("a line that opens nothing waits")
			}
			if f.a.w.Deadline().IsZero() {
				t.Error("the change is not reported later")
			}
			f.a.w.Wake(time.Now().Add(refreshAfter))
			if !f.a.w.Deadline().IsZero() {
				t.Error("it is not reported in time")
			}
		})
	}
}

// TestToldTogether: a command that asks for a port is told with its answer, or a moment
// later if that does not come.
func TestToldTogether(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.connect(entryOf(1))
	l.logIn()
	f.a.w.Wake(time.Now().Add(refreshAfter))
	l.accepts(client, "PASV\r\n")
	due := f.a.w.Deadline()
	if due.IsZero() || time.Until(due) > pushAfter {
		t.Errorf("it is told in %v", time.Until(due))
	}
	l.say(server, announced)
	if next := f.a.w.Deadline(); !next.IsZero() && !next.After(due) {
		t.Error("it is told once more")
	}
	f.a.w.Wake(time.Now().Add(refreshAfter))
	l.accepts(client, "EPSV\r\n")
	f.a.w.Wake(time.Now().Add(pushAfter))
	if m := f.moves(l); m.session() == nil || len(m.session().Pair.Continues().Engine.Waiting) != 1 {
		t.Error("the other firewall does not know of it")
	}
}

// TestKept: it is reported to the peer that a pinhole stays open for longer,
// although no packet shows it.
func TestKept(t *testing.T) {
	f := newFirewalls(t, nil)
	f.b.settings().PinholeTimeout = time.Hour
	l := f.a.announced(plainEntry(1))
	l.accepts(client, "RETR file\r\n")
	f.moves(l)
	sweeper := f.a.sweeper()
	sweeper.kept = f.a.g.lanes.tellSoon
	hole := f.a.pinholes.All()[0]
	before := hole.Until()
	if sweeper.sweep(before.Add(-500 * time.Millisecond)); !hole.Until().After(before) {
		t.Fatal("it is not kept")
	}
	<-f.a.q.wakes
	f.a.w.Wake(time.Now()) // answers the call
	f.told()
	all := f.b.pinholes.All()
	if len(all) != 1 || all[0].Until().Sub(hole.Until()).Abs() > hole.Until().Sub(before)/2 {
		t.Errorf("at the other firewall there is %v", all)
	}
}

// TestRemade: conntrackd recreates the entry of a session of ours, in an older
// state. The session continues where it was, and so does conntrack's adjustment.
func TestRemade(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(entryOf(1))
	l.accepts(client, "NOOP\r\n") // of which the other firewall does not know yet
	l.accepts(server, "200 ok\r\n")
	w, e := f.a.watcher(), *l.entry
	w.event(f.a.k, &expect.Event{Type: expect.Destroy, Entry: e})
	f.a.k.remove(&e)
	delete(f.a.k.adjusted, e.Original)
	e.ID, e.Adj = e.ID+100, [2]expect.SeqAdj{}
	f.a.k.enter(e)
	w.event(f.a.k, &expect.Event{Type: expect.New, Entry: e})
	if !f.a.sync() || len(f.a.pinholes.All()) != 1 {
		t.Fatalf("open is %v", f.a.pinholes.All())
	}
	m := &link{b: f.a, entry: &e, next: l.next}
	if sent := m.passive(50001); sent == "" || len(f.a.pinholes.All()) != 1 {
		t.Errorf("the client received %q; open is %v", sent, f.a.pinholes.All())
	}
	if adj := f.a.k.adjusted[e.Original][expect.Reply]; adj.Before != 3 || adj.After != 6 {
		t.Errorf("the kernel adjusts by %+v", adj)
	}
}

// TestToldWhileEnding: conntrackd makes the entry of a session anew, with the same id,
// while what the other firewall reports of it is opened: the session that is over
// keeps nothing open, which would be in the way of the one that it becomes.
func TestToldWhileEnding(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(entryOf(1))
	m := f.moves(l)
	before, w := m.session(), f.b.watcher()
	f.b.k.mu.Lock()
	f.b.k.beforeOpen = func() {
		f.b.k.mu.Lock()
		f.b.k.beforeOpen = nil
		f.b.k.mu.Unlock()
		w.event(f.b.k, &expect.Event{Type: expect.Destroy, Entry: *m.entry})
		w.event(f.b.k, &expect.Event{Type: expect.New, Entry: *m.entry})
	}
	f.b.k.mu.Unlock()
	l.passive(50001)
	f.told()
	all := f.b.pinholes.All()
	if m.session() == before || len(all) != 1 || all[0].Owner != &m.session().Owner || all[0].Public.Port() != 50001 {
		t.Errorf("open is %v", all)
	}
}

// TestForgotten: the entry of a session that is idle at the other firewall is gone here,
// and conntrackd has not brought it back when its packets come here again: what must not
// pass without it is dropped, and not answered with a reset.
func TestForgotten(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(entryOf(1))
	w, e := f.a.watcher(), *l.entry
	w.event(f.a.k, &expect.Event{Type: expect.Destroy, Entry: e})
	f.a.k.remove(&e)
	eventually(t, "its entry is not about to be made anew", func() bool { return !f.a.peer.Expects(e.Original) })
	for _, from := range []int{client, server} {
		p := l.packet(from, "NOOP\r\n", nfq.FlagACK)
		if v, _ := f.a.handle(p); v != "drop" {
			t.Errorf("a packet without an entry: %s", v)
		}
		p.Hook = nfq.HookForward
		f.a.ids++
		p.ID = f.a.ids
		if v, _ := f.a.handle(p); v != "drop" {
			t.Errorf("an invalid one: %s", v)
		}
	}
	e.ID, e.Adj, e.Liberal = e.ID+100, f.a.k.adjusted[e.Original], true
	f.a.k.enter(e)
	w.event(f.a.k, &expect.Event{Type: expect.New, Entry: e})
	m := &link{b: f.a, entry: &e, next: l.next}
	m.accepts(client, "NOOP\r\n")
	if len(f.a.pinholes.All()) != 1 {
		t.Errorf("open is %v", f.a.pinholes.All())
	}
}

// TestRemadeUnread: conntrackd has recreated the entry of a session of ours, and a packet
// meets it before its event was read: what was announced is still open.
func TestRemadeUnread(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(plainEntry(1))
	l.accepts(client, "NOOP\r\n")
	l.accepts(server, "200 ok\r\n")
	w, e := f.a.watcher(), *l.entry
	w.event(f.a.k, &expect.Event{Type: expect.Destroy, Entry: e})
	f.a.k.remove(&e)
	e.ID, e.Liberal = e.ID+100, true
	f.a.k.enter(e)
	m := &link{b: f.a, entry: &e, next: l.next}
	m.accepts(client, "NOOP\r\n")
	if len(f.a.pinholes.All()) != 1 {
		t.Fatalf("open is %v", f.a.pinholes.All())
	}
	w.event(f.a.k, &expect.Event{Type: expect.New, Entry: e})
	m.accepts(server, "200 ok\r\n")
	if !f.a.sync() || len(f.a.pinholes.All()) != 1 {
		t.Errorf("when its event was read open is %v", f.a.pinholes.All())
	}
}

// TestEndsWhileMoved: conntrackd recreates the entry of a session of the other firewall
// while a packet moves the session to its queue. The session of the next entry lives.
func TestEndsWhileMoved(t *testing.T) {
	f := newFirewalls(t, nil)
	m := f.moves(f.a.announced(entryOf(1)))
	if f.b.registry.orphans.Find(m.entry.Original) == nil {
		t.Fatal("it is not an orphan")
	}
	f.b.k.beforeDelete = func() { // what is open is being closed
		f.b.k.beforeDelete = nil
		f.b.registry.move(m.entry.Original, &f.b.registry.orphans, f.b.w.table)
	}
	n := f.b.anew(m)
	if f.b.k.beforeDelete != nil {
		t.Fatal("nothing was closed")
	}
	if s := n.session(); s == nil || s.ID() != n.entry.ID {
		t.Fatalf("the session of the new entry is %v", s)
	}
	n.accepts(client, "NOOP\r\n")
}

// TestRemadeEnds: a session of ours whose entry conntrackd has recreated ends before a
// packet of it has come. What the other firewall has open for it is closed.
func TestRemadeEnds(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(entryOf(1))
	f.moves(l)
	n := f.a.anew(l)
	if len(f.a.pinholes.All()) != 1 || len(f.b.pinholes.All()) != 1 {
		t.Fatalf("open is %v and %v", f.a.pinholes.All(), f.b.pinholes.All())
	}
	e := *n.entry
	e.TCPState = expect.TCPStateTimeWait
	f.a.watcher().event(f.a.k, &expect.Event{Type: expect.Update, Entry: e})
	f.told()
	f.settle()
	if len(f.a.pinholes.All()) != 0 || len(f.b.pinholes.All()) != 0 {
		t.Errorf("open is %v and %v", f.a.pinholes.All(), f.b.pinholes.All())
	}
}

// TestRemadeUsed: what a session of ours has open is used before a packet of it has come,
// since conntrackd has recreated its entry. At the other firewall it is open for that data
// connection alone.
func TestRemadeUsed(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(entryOf(1))
	f.moves(l)
	f.a.anew(l)
	data := dataOf(l, 50000)
	f.a.watcher().event(f.a.k, &expect.Event{Type: expect.New, Entry: data})
	f.a.sync()
	f.told()
	f.settle()
	if all := f.b.pinholes.All(); len(all) != 1 || all[0].Port != data.Original.Src.Port() {
		t.Errorf("at the other firewall there is %v", all)
	}
}

// TestRemadeClaimed: conntrackd recreates the entry of a session of ours just when its data
// connection begins, of which no event was read yet. There is no second one.
func TestRemadeClaimed(t *testing.T) {
	b := newFirewalls(t, nil).a
	l := b.announced(plainEntry(1))
	data := dataOf(l, 50000).Original
	b.handle(packetOf(t, data, 1, 0, "", nfq.FlagSYN))
	if b.k.entries[data] == nil {
		t.Fatal("it is not claimed")
	}
	b.anew(l)
	second := data
	second.Src = netip.AddrPortFrom(data.Src.Addr(), data.Src.Port()+1)
	p := packetOf(t, second, 1, 0, "", nfq.FlagSYN)
	p.ID = 1000
	if b.handle(p); b.k.entries[second] != nil || len(b.pinholes.All()) > 0 {
		t.Errorf("a second one is claimed; open is %v", b.pinholes.All())
	}
}

// TestRemadeTwice: conntrackd recreates the entry of a session of the other firewall
// twice before this daemon, which is busy or was stopped, acts on the first time: the
// session has the last entry.
func TestRemadeTwice(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(entryOf(1))
	m := f.moves(l)
	busy := make(chan struct{})
	f.b.peer.Later(func() { <-busy })
	w, e := f.b.watcher(), *m.entry
	for range 2 {
		w.event(f.b.k, &expect.Event{Type: expect.Destroy, Entry: e})
		f.b.k.remove(&e)
		e.ID += 100
		f.b.k.enter(e)
		w.event(f.b.k, &expect.Event{Type: expect.New, Entry: e})
	}
	close(busy)
	f.settle()
	if s := m.session(); s == nil || s.ID() != e.ID || len(f.b.pinholes.All()) != 1 {
		t.Fatalf("there is a session: %v; open is %v", s != nil, f.b.pinholes.All())
	}
	m.entry = &e
	m.accepts(client, "NOOP\r\n")
}

// TestEventsLost: conntrackd recreates the entry of a session of the other firewall, and
// brings that of another one, and no event is read: both are found when sessions are
// compared with conntrack.
func TestEventsLost(t *testing.T) {
	f := newFirewalls(t, nil)
	l, second := f.a.announced(entryOf(1)), f.a.announced(entryOf(2))
	m := f.moves(l)
	e, other := *m.entry, *second.entry
	e.ID += 100
	f.b.k.enter(e)
	f.b.k.enter(other)
	f.b.sweeper().reconcile()
	f.settle()
	for _, e := range []*expect.Entry{&e, &other} {
		if s := f.b.registry.session(e.Original); s == nil || s.ID() != e.ID || f.b.pinholes.Of(&s.Owner) == nil {
			t.Errorf("the entry %d has a session: %v", e.ID, s != nil)
		}
	}
}

// fastPath makes a firewall let lines pass unread.
func (b *bench) fastPath() {
	b.t.Helper()
	table, err := fastpath.Load(false)
	if err != nil {
		b.t.Skip(err)
	}
	b.t.Cleanup(func() { table.Close() })
	b.fast = table
}

// TestUnreadAtOther: lines of a session no longer pass unread here when the other firewall
// has it: what it was told of, and has read since, is not known to the filter.
func TestUnreadAtOther(t *testing.T) {
	f := newFirewalls(t, nil)
	f.b.fastPath()
	l := f.a.announced(plainEntry(1))
	m := f.moves(l)
	m.accepts(client, "NOOP\r\n")
	m.accepts(server, "200 ok\r\n")
	if _, passes := m.session().Fast.Phase(); !passes {
		t.Fatal("no line may pass unread")
	}
	f.b.g.lanes.tellLate()
	eventually(t, "the first one knows", func() bool { return f.a.peer.Settle(time.Second) && l.session().Pair.Standby() })
	l.next = m.next
	l.accepts(client, "NOOP\r\n")
	f.told()
	if _, passes := m.session().Fast.Phase(); passes || !m.session().Pair.Standby() {
		t.Errorf("lines may pass unread: %t", passes)
	}
}

// TestUsedThere: what the other firewall announced is used here before its
// session has sent a packet, and conntrackd recreates the entry: it is not opened
// a second time.
func TestUsedThere(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(entryOf(1))
	m := f.moves(l)
	w, e := f.b.watcher(), *m.entry
	w.event(f.b.k, &expect.Event{Type: expect.New, Entry: *f.b.k.enter(dataOf(l, 50000))})
	if !f.b.sync() {
		t.Fatal("the data connection is not noted")
	}
	w.event(f.b.k, &expect.Event{Type: expect.Destroy, Entry: e})
	f.b.k.remove(&e)
	e.ID += 100
	f.b.k.enter(e)
	w.event(f.b.k, &expect.Event{Type: expect.New, Entry: e})
	if !f.b.sync() || m.session() == nil || len(f.b.pinholes.All()) != 0 {
		t.Errorf("open is %v", f.b.pinholes.All())
	}
}

// TestAdjustedAsAnother: conntrackd brings the entry of a session with the adjustments of
// an earlier one that had its ports; nothing was changed of its own.
func TestAdjustedAsAnother(t *testing.T) {
	for _, name := range []string{"begun here", "taken up in the middle"} {
		t.Run(name, func(t *testing.T) {
			f := newFirewalls(t, nil)
			l := f.a.connect(entryOf(1))
			l.entry.Liberal = name != "begun here"
			l.logIn()
			l.entry.Adj = [2]expect.SeqAdj{{Pos: 9, After: 4}, {Pos: 7, After: 3}}
			m := f.moves(l)
			m.accepts(client, "NOOP\r\n")
			if adj, set := f.b.k.adjusted[m.entry.Original]; !set || adj != [2]expect.SeqAdj{} {
				t.Errorf("the kernel adjusts by %+v, set %t", adj, set)
			}
			m.accepts(server, "200 ok\r\n")
			if sent := m.passive(50001); sent == "" {
				t.Error("nothing is announced")
			}
			if adj := f.b.k.adjusted[m.entry.Original][expect.Reply]; adj.Before != 0 || adj.After == 0 {
				t.Errorf("the kernel adjusts by %+v", adj)
			}
		})
	}
}

// TestEncryptedAsAnother: conntrackd brings the entry of an encrypted session with the
// adjustments of an earlier one that had its ports. Its first packet is queued, so that it
// loses them, and the others are not.
func TestEncryptedAsAnother(t *testing.T) {
	for _, tt := range []struct {
		name string
		adj  [2]expect.SeqAdj
	}{{"as another", [2]expect.SeqAdj{{Pos: 9, After: 4}, {Pos: 7, After: 3}}}, {"its own", [2]expect.SeqAdj{}}} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFirewalls(t, nil)
			l := f.a.connect(entryOf(1))
			l.logIn()
			l.accepts(client, "AUTH TLS\r\n")
			l.accepts(server, "234 go\r\n")
			l.entry.Adj = tt.adj
			m := f.moves(l)
			another := tt.adj != [2]expect.SeqAdj{}
			if left := f.b.k.left[m.entry.ID] != ""; left == another || m.session().Left() != succession.LeftEncrypted {
				t.Errorf("left alone: %t, as %q", left, m.session().Left())
			}
			m.accepts(client, "\x17\x03\x03")
			if adj, set := f.b.k.adjusted[m.entry.Original]; set != another || adj != [2]expect.SeqAdj{} {
				t.Errorf("the kernel adjusts by %+v, set %t", adj, set)
			}
			m.session().Started = m.session().Started.Add(-2 * time.Second) // it was left then
			m.accepts(server, "\x17\x03\x03")
			if f.b.k.left[m.entry.ID] == "" {
				t.Error("its packets stay queued")
			}
		})
	}
}

// TestTakenDuringSYN: another queue takes a session of the other firewall while a SYN with
// its ports is handled.
func TestTakenDuringSYN(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(entryOf(1))
	l.entry.Adj, l.entry.Status = f.a.k.adjusted[l.entry.Original], l.entry.Status|expect.StatusSeqAdjust
	m := f.moves(l)
	s, taken := m.session(), false
	f.b.k.mu.Lock()
	f.b.k.beforeGet = func(expect.Tuple) { taken = s.Pair.Own() != nil || taken }
	f.b.k.mu.Unlock()
	f.b.w.teller.anew(m.entry.Original)
	if !taken || s.Pair.Continues() != nil {
		t.Error("the session was not taken meanwhile")
	}
}

// TestEndUnknown: the end of a session was not reported to the second firewall, where it
// has an entry, and the next connection with the same ports gets that.
func TestEndUnknown(t *testing.T) {
	for _, lives := range []bool{false, true} {
		t.Run(fmt.Sprintf("lives %t", lives), func(t *testing.T) {
			f := newFirewalls(t, nil)
			l := f.a.announced(entryOf(1))
			l.entry.Adj, l.entry.Status = f.a.k.adjusted[l.entry.Original], l.entry.Status|expect.StatusSeqAdjust
			m := f.moves(l)
			f.b.k.enter(*m.entry).Liberal = true
			before := m.session()
			p := m.packet(client, "", nfq.FlagSYN)
			p.Seq += 1 << 30
			if v, _ := f.b.handle(p); v != "accept" || f.b.k.adjusted[m.entry.Original] != [2]expect.SeqAdj{} {
				t.Fatalf("a SYN: %s; the kernel adjusts by %+v", v, f.b.k.adjusted[m.entry.Original])
			}
			e := *m.entry
			e.Adj, e.Liberal = [2]expect.SeqAdj{}, lives // what begins brings conntrack into step
			f.b.k.enter(e)
			if lives {
				m.accepts(client, "NOOP\r\n")
				if adj := f.b.k.adjusted[m.entry.Original]; m.session() != before || adj != l.entry.Adj || len(f.b.pinholes.All()) != 1 {
					t.Errorf("a living session continues as %v, adjusted by %+v, want %+v; open is %v", m.session(), adj, l.entry.Adj, f.b.pinholes.All())
				}
				return
			}
			f.b.k.inSync = func() { // of its answer
				f.b.k.inSync = nil
				e.TCPState = expect.TCPStateSynRecv
				f.b.watcher().event(f.b.k, &expect.Event{Type: expect.Update, Entry: e})
			}
			n := &link{b: f.b, entry: m.entry, next: [2]uint32{p.Seq + 1, m.next[server] + 1<<29}}
			n.logIn()
			if n.session() == before || len(f.b.pinholes.All()) != 0 {
				t.Errorf("open is %v", f.b.pinholes.All())
			}
			if sent := n.passive(50001); sent == "" || len(f.b.pinholes.All()) != 1 {
				t.Errorf("the client received %q; open is %v", sent, f.b.pinholes.All())
			}
		})
	}
}

// TestTakenWithoutEntry: the first packet of a session comes at a moment at which
// conntrackd has deleted its entry, to make it anew. It is retransmitted, and what is
// known of the session is not lost.
func TestTakenWithoutEntry(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.connect(plainEntry(1))
	l.logIn()
	l.accepts(client, "PASV\r\n")
	m := f.moves(l)
	p := m.packet(client, "NOOP\r\n", nfq.FlagACK)
	f.b.k.remove(m.entry)
	if v, _ := f.b.handle(p); v != "drop" || !m.session().Pair.Standby() {
		t.Errorf("without its entry: %s", v)
	}
	f.b.k.enter(*m.entry)
	m.say(server, announced)
	if len(f.b.pinholes.All()) != 1 {
		t.Error("the reply to a command seen by the other firewall opens nothing")
	}
}

// TestBroughtAsBeginning: what conntrackd brings is older than what the other firewall
// has told: its entry is that of a connection that begins.
func TestBroughtAsBeginning(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(plainEntry(1))
	f.told()
	e := *l.entry
	e.TCPState, e.Liberal = expect.TCPStateSynRecv, true
	f.b.watcher().event(f.b.k, &expect.Event{Type: expect.New, Entry: e})
	f.settle()
	e.TCPState = expect.TCPStateEstablished
	f.b.k.enter(e)
	m := &link{b: f.b, entry: &e, next: l.next}
	m.accepts(client, "NOOP\r\n")
	if len(f.b.pinholes.All()) != 1 {
		t.Error("what was announced is not open")
	}
}

// TestAnsweredFirst: a data connection that conntrack reports while its session is still
// the other firewall's is answered, or has ended, before it is noted: nothing stays open
// for its SYN.
func TestAnsweredFirst(t *testing.T) {
	for _, tt := range []struct {
		name  string
		state uint8 // 0: its entry is gone
	}{{"answered", expect.TCPStateSynRecv}, {"established", expect.TCPStateEstablished}, {"ended", 0}} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFirewalls(t, nil)
			l := f.a.announced(entryOf(1))
			m := f.moves(l)
			w, data := f.b.watcher(), dataOf(l, 50000)
			data.TCPState = expect.TCPStateSynSent
			reached, goOn := make(chan struct{}), make(chan struct{})
			f.b.peer.Later(func() { close(reached); <-goOn }) // the pair's goroutine is behind
			<-reached
			w.event(f.b.k, &expect.Event{Type: expect.New, Entry: data})
			if data.TCPState = tt.state; tt.state != 0 {
				f.b.k.enter(data)
				w.event(f.b.k, &expect.Event{Type: expect.Update, Entry: data})
			} else {
				w.event(f.b.k, &expect.Event{Type: expect.Destroy, Entry: data})
			}
			close(goOn)
			f.settle()
			if _, rule := f.b.pinholes.Data.Waiting(&m.session().Owner); rule != nil || len(f.b.pinholes.All()) != 0 {
				t.Errorf("open is %v for its SYN, and %v", rule, f.b.pinholes.All())
			}
		})
	}
}

// TestUsed: it is reported to the peer that a data connection has begun, although
// no packet of the control connection shows it: what is open for it passes its
// SYN once more, and no other one, until it is answered.
func TestUsed(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(entryOf(1))
	f.moves(l)
	w := f.a.watcher()
	w.used = f.a.g.lanes.tellSoon
	data := dataOf(l, 50000)
	event := func(e expect.EventType) []*pinhole.Pinhole {
		w.event(f.a.k, &expect.Event{Type: e, Entry: data})
		<-f.a.q.wakes
		f.a.w.Wake(time.Now()) // answers the call
		f.told()
		return f.b.pinholes.All()
	}
	if all := event(expect.New); len(all) != 1 || all[0].Port != data.Original.Src.Port() {
		t.Errorf("not answered: at the other firewall there is %v", all)
	}
	data.TCPState = expect.TCPStateSynRecv
	if all := event(expect.Update); len(all) != 0 {
		t.Errorf("answered: at the other firewall there is %v", all)
	}
}

// TestUsedUnknown: conntrackd brings a data connection of which the second firewall has
// not been told that it was announced, as the link was cut. When that is told, its SYN
// passes again, until it is answered; that the first one loses its entry is no answer.
func TestUsedUnknown(t *testing.T) {
	for _, tt := range []struct {
		last  expect.EventType
		state uint8
		open  bool
	}{{expect.Update, expect.TCPStateSynRecv, false}, {expect.Destroy, expect.TCPStateSynSent, true}, {expect.Destroy, expect.TCPStateSynRecv, false}} {
		t.Run(fmt.Sprintf("%v in state %d", tt.last, tt.state), func(t *testing.T) {
			f := newFirewalls(t, nil)
			l := f.a.connect(entryOf(1))
			l.logIn()
			m := f.moves(l)
			f.b.k.mu.Lock()
			before := len(f.b.k.elements)
			f.b.k.mu.Unlock()
			data := dataOf(l, 50000)
			data.TCPState = expect.TCPStateSynSent
			f.b.k.enter(data)
			f.b.watcher().event(f.b.k, &expect.Event{Type: expect.New, Entry: data})
			f.settle()
			l.passive(50000)
			w := f.a.watcher()
			w.used = f.a.g.lanes.tellSoon
			for _, e := range []struct {
				event expect.EventType
				state uint8
				open  bool
			}{{expect.New, expect.TCPStateSynSent, true}, {tt.last, tt.state, tt.open}} {
				data.TCPState = e.state
				w.event(f.a.k, &expect.Event{Type: e.event, Entry: data})
				w.used(l.session()) // whatever there is to tell
				<-f.a.q.wakes
				f.a.w.Wake(time.Now()) // answers the call
				f.told()
				_, rule := f.b.pinholes.Data.Waiting(&m.session().Owner)
				f.b.k.mu.Lock()
				opened := len(f.b.k.elements) > before
				f.b.k.mu.Unlock()
				if (rule != nil) != e.open || opened != e.open || len(f.b.pinholes.All()) != 0 {
					t.Errorf("after %v in state %d open is %v for its SYN, %v in the kernel, and %v", e.event, e.state, rule, opened, f.b.pinholes.All())
				}
			}
		})
	}
}

// TestRemadeWaiting: conntrackd makes the entry of a session of ours anew, or that of its
// data connection, whose SYN may be repeated, or both: it passes again on either machine,
// as long as the pinhole would be open, until it is answered or the session ends.
func TestRemadeWaiting(t *testing.T) {
	for _, remade := range []string{"data", "control", "data, then control", "control, then data"} {
		t.Run(remade, func(t *testing.T) {
			f := newFirewalls(t, nil)
			l := f.a.announced(entryOf(1))
			m := f.moves(l)
			data := dataOf(l, 50000)
			data.TCPState = expect.TCPStateSynSent
			f.b.k.enter(data)
			f.b.watcher().event(f.b.k, &expect.Event{Type: expect.New, Entry: data})
			w := f.a.watcher()
			w.used = f.a.g.lanes.tellSoon
			w.event(f.a.k, &expect.Event{Type: expect.New, Entry: *f.a.k.enter(data)})
			f.told()
			n := &link{b: f.a, entry: l.entry, next: l.next}
			for what := range strings.SplitSeq(remade, ", then ") {
				e := &data
				if what == "control" {
					c := *n.entry
					e, n.entry = &c, &c
				}
				w.event(f.a.k, &expect.Event{Type: expect.Destroy, Entry: *e})
				f.a.k.remove(e)
				e.ID += 100
				f.a.k.enter(*e)
				w.event(f.a.k, &expect.Event{Type: expect.New, Entry: *e})
				if !f.a.sync() {
					t.Fatal("it is not noted")
				}
			}
			n.accepts(client, "NOOP\r\n")
			f.told()
			open := func(b *bench, s *session.Session) int {
				_, rule := b.pinholes.Data.Waiting(&s.Owner)
				b.k.mu.Lock()
				defer b.k.mu.Unlock()
				if (rule != nil) != (len(b.k.elements) > 0) {
					t.Errorf("open is %v for its SYN, and %v in the kernel", rule, b.k.elements)
				}
				return len(b.k.elements)
			}
			for _, at := range []struct {
				b *bench
				l *link
			}{{f.a, n}, {f.b, m}} {
				if open(at.b, at.l.session()) == 0 || len(at.b.pinholes.All()) != 0 {
					t.Errorf("%v: its SYN does not pass again; open is %v", at.b == f.b, at.b.pinholes.All())
				}
			}
			data.TCPState = expect.TCPStateSynRecv
			w.event(f.a.k, &expect.Event{Type: expect.Update, Entry: *f.a.k.enter(data)})
			f.a.g.lanes.tellSoon(n.session())
			f.a.w.Wake(time.Now().Add(time.Second))
			f.told()
			if open(f.a, n.session())+open(f.b, m.session()) != 0 {
				t.Error("it is open although it was answered")
			}
		})
	}
}

// TestThereAndBack: a session whose numbers the daemons adjust returns to a firewall that
// has the same entry as before: what the other one has adjusted meanwhile counts.
func TestThereAndBack(t *testing.T) {
	f := newFirewalls(t, nil)
	f.a.k.noAdjust, f.b.k.noAdjust = true, true
	l := f.a.announced(entryOf(1))
	m := f.moves(l)
	m.say(client, "RETR file\r\n")
	m.say(server, "150 go\r\n")
	m.say(client, "PASV\r\n")
	m.say(server, announced)
	back := &firewalls{a: f.b, b: f.a, last: f.last}
	back.told()
	n := &link{b: f.a, entry: l.entry, next: m.next}
	p := n.packet(server, "226 done\r\n", nfq.FlagACK)
	seq := p.Seq
	f.a.handle(p)
	if by := f.a.sent(p.ID).Seq - seq; by != 6 {
		t.Errorf("adjusted by %d, want 6, as at the other firewall", by)
	}
}

// TestQueuedBefore: a packet was queued by the id of an entry that conntrackd then made
// anew: the session is not for its queue, as all that follow come to another one.
func TestQueuedBefore(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.announced(entryOf(1))
	other := new(session.Table)
	f.b.registry.queues = append(f.b.registry.queues, other)
	m := f.moves(l)
	if rules.QueueOf(m.entry.ID, 2) == 0 {
		f.b.registry.queues[0], f.b.registry.queues[1] = other, f.b.registry.queues[0]
	}
	if v, _ := m.say(client, "NOOP\r\n"); v != "drop" || f.b.registry.orphans.Find(m.entry.Original) == nil {
		t.Errorf("in the queue of the entry before: %s", v)
	}
	slices.Reverse(f.b.registry.queues)
	m.next[client] -= 6
	if m.accepts(client, "NOOP\r\n"); m.session().Pair.Standby() {
		t.Error("its own queue has not taken it")
	}
}

// TestPartnerLinkLost: an announcement while the other firewall does not answer
// is forwarded, and open here.
func TestPartnerLinkLost(t *testing.T) {
	f := newFirewalls(t, nil)
	f.cut()
	eventually(t, "the other firewall is gone", f.b.peer.Alone)
	l := f.b.connect(entryOf(1))
	l.logIn()
	if sent := l.passive(50000); sent != told || len(f.b.pinholes.All()) != 1 {
		t.Errorf("the client received %q", sent)
	}
}

// TestEntries: only the entry of an established connection whose timeout is short gets
// the long one.
func TestEntries(t *testing.T) {
	for _, tt := range []struct {
		state   uint8
		timeout time.Duration
		known   time.Duration
		want    time.Duration
	}{
		{expect.TCPStateEstablished, time.Minute, longTimeout, longTimeout},
		{expect.TCPStateEstablished, longTimeout, longTimeout, 0},
		{expect.TCPStateEstablished, time.Minute, 0, 0},
		{expect.TCPStateFinWait, time.Minute, longTimeout, 0},
	} {
		k := newKernel()
		e := entryOf(1)
		e.TCPState, e.Timeout = tt.state, tt.timeout
		entries{tt.known}.refresh(k, k.enter(e))
		if got := k.timeout(e.Original); got != tt.want {
			t.Errorf("%+v: set to %v", tt, got)
		}
	}
}

// TestIsKnown: an open pinhole matches a record if everything is the same but a
// moment.
func TestIsKnown(t *testing.T) {
	b := newBench(t, nil)
	b.announced(entryOf(1))
	p := b.pinholes.All()[0]
	same := handed(p, nil, time.Now())
	if !isKnown(p, &same) || isKnown(p, nil) {
		t.Error("it does not match itself")
	}
	for name, edit := range map[string]func(*succession.Pinhole){
		"source": func(r *succession.Pinhole) { r.Source = ap("198.51.100.9:1").Addr() },
		"public": func(r *succession.Pinhole) { r.Public = ap("203.0.113.1:50001") },
		"target": func(r *succession.Pinhole) { r.Target = ap("10.0.0.2:50001") },
		"port":   func(r *succession.Pinhole) { r.Port = 20 },
		"longer": func(r *succession.Pinhole) { r.Left += 2 * time.Second },
		"not so": func(r *succession.Pinhole) { r.Left -= 2 * time.Second },
	} {
		other := same
		if edit(&other); isKnown(p, &other) {
			t.Errorf("another %s is the same", name)
		}
	}
}

// TestFailoverUntold: the last announcement was not told to the second firewall, but
// conntrackd has brought the adjustment for it: that stays, also if the announcement is
// repeated.
func TestFailoverUntold(t *testing.T) {
	for _, arrived := range []bool{true, false} {
		t.Run(fmt.Sprintf("arrived %t", arrived), func(t *testing.T) {
			f := newFirewalls(t, nil)
			l := f.a.connect(entryOf(1))
			l.logIn()
			l.accepts(client, "PASV\r\n")
			f.told()
			f.cut()
			start := l.next[server]
			if _, sent := l.say(server, announced); sent != told {
				t.Fatalf("the client received %q", sent)
			}
			e := *l.entry
			e.ID, e.Adj, e.Status = e.ID+100, f.a.k.adjusted[e.Original], e.Status|expect.StatusSeqAdjust
			f.b.k.enter(e)
			f.b.watcher().event(f.b.k, &expect.Event{Type: expect.New, Entry: e})
			f.settle()
			m := &link{b: f.b, entry: &e, next: l.next}
			if arrived {
				m.accepts(client, "RETR file\r\n")
				m.accepts(server, "425 no\r\n")
			} else if p := f.b.sent(m.again(server, start, announced)); string(p.Payload) != told || p.Seq != start {
				t.Errorf("repeated it is %q at %d", p.Payload, p.Seq-start)
			}
			if adj, set := f.b.k.adjusted[e.Original]; set {
				t.Errorf("the kernel was made to adjust by %+v", adj)
			}
		})
	}
}

// TestPromise: what has come of a line is not absorbed, and acknowledged to its sender,
// before the other daemon has it, however busy that one is.
func TestPromise(t *testing.T) {
	f := newFirewalls(t, nil)
	l := f.a.connect(entryOf(1))
	l.logIn()
	l.accepts(client, "PASV\r\n")
	f.told()
	block := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(block) })
	t.Cleanup(goOn)
	f.b.peer.Later(func() { <-block })
	start := l.next[server]
	piece := func() string {
		id := l.again(server, start, announced[:7])
		f.a.w.Wake(time.Now().Add(holdTime)) // it is not held for longer
		return f.a.q.verdicts[id][0]
	}
	for range 5 {
		if v := piece(); v != "drop" {
			t.Fatalf("%s, and the other daemon does not know", v)
		}
	}
	if s := l.session(); s.Pair.Promise == (pair.Receipt{}) {
		t.Error("it was not absorbed")
	}
	goOn()
	eventually(t, "the other daemon has it", func() bool { return f.a.peer.Has(l.session().Pair.Promise) })
	if v := piece(); v != "changed" {
		t.Errorf("%s, and the other daemon knows", v)
	}
	if p := f.a.sent(l.again(server, start+7, announced[7:])); string(p.Payload) != told {
		t.Errorf("the client received %q", p.Payload)
	}
}
