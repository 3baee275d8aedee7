// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

// open opens a daemon that listens on an address, and dials another one.
func open(t *testing.T, own, peer string) *end {
	t.Helper()
	e := &end{}
	var err error
	if e.Pair, err = Open(Config{Peer: peer, Listen: own, Key: key}, &e.host, slog.New(slog.NewTextHandler(&e.logs, nil))); err != nil {
		t.Fatal(err)
	}
	e.bereft = time.Millisecond
	e.out.bound, e.start.reach, e.start.learn = patience, patience, patience
	t.Cleanup(e.Close)
	return e
}

// begin runs it, and returns what stops it.
func (e *end) begin(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestRun: two daemons find one another whichever is first, over TCP. Each knows what
// the other one has, when that ends it is told, and when that comes back everything is
// told again.
func TestRun(t *testing.T) {
	a := open(t, "127.77.0.1:0", "")
	atA := netip.MustParseAddrPort(a.ln.Addr().String())
	atB := netip.AddrPortFrom(netip.MustParseAddr("127.77.0.2"), atA.Port())
	a.cfg.Peer = atB.String()
	stopA := a.begin(t)
	a.Await() // there is no one to wait for

	var sessions [4]Session
	tell := func(i int, how Urgency) {
		r := record(uint16(i))
		a.Wait(a.Tell(&sessions[i], &r, how))
	}
	tell(0, Awaited)
	b := open(t, atB.String(), atA.String())
	stopB := b.begin(t)
	b.Await()
	eventually(t, "told what was there before", b.toldAllOf(1))
	eventually(t, "everything is told", a.ready)
	if tell(1, Awaited); !b.toldAllOf(2)() {
		t.Error("not told although it was waited for")
	}
	tell(2, Lazily)
	if a.Flush(); !b.toldAllOf(3)() {
		t.Error("not told although everything was to be")
	}
	kept := record(3)
	if a.Keep(&sessions[3], &kept); !a.toldAllOf(4)() {
		t.Error("not kept")
	}
	if a.Flush(); !b.toldAllOf(3)() {
		t.Error("told although it is only kept")
	}

	stopB()
	eventually(t, "the other one is missed", func() bool { _, _, alone := a.host.counts(); return a.Alone() && alone > 0 })
	if log := a.logs.String(); !strings.Contains(log, "peer gone") || strings.Contains(log, errBehind.Error()) {
		t.Errorf("one that stops is not one that does not read:\n%s", log)
	}
	if a.Flush(); !a.Alone() { // waits for no one
		t.Error("not alone")
	}
	c := open(t, atB.String(), atA.String())
	stopC := c.begin(t)
	c.Await()
	eventually(t, "told again, and what was kept", c.toldAllOf(4))
	stopC()
	stopA()
	if !a.Settle(0) {
		t.Error("a pair that has ended is waited for")
	}
}

// TestNone: without a pair everything is ours, nothing is told and nothing waited for.
func TestNone(t *testing.T) {
	var p *Pair
	var s *Session
	r := record(1)
	e := entryOf(r, expect.TCPStateEstablished)
	if err := p.Run(t.Context()); err != nil {
		t.Error(err)
	}
	p.Flush()
	p.Await()
	p.Wait(p.Tell(s, &r, Awaited))
	p.Keep(s, &r)
	p.Inherit(s, &r)
	p.Ended(s, e.Original, e.Reply, false)
	p.Entered(e)
	p.Used(e.Original, e)
	p.Close()
	if p.EnteredData(e) || p.Expects(e.Original) || !p.Settle(0) || !p.Alone() || p.Stats() != (Stats{}) || s.Standby() || s.GoesOn() || s.Stamp() != nil {
		t.Error("there is another daemon")
	}
}

// TestUsed: what continues from a record opens a pinhole that was used for its
// connection alone, and one whose connection was answered not at all. The remaining
// time keeps running.
func TestUsed(t *testing.T) {
	server, client := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("10.0.0.2")
	hole := func(port uint16) succession.Pinhole {
		at := netip.AddrPortFrom(server, port)
		return succession.Pinhole{Source: client, Public: at, Target: at, Left: time.Minute}
	}
	data := func(from netip.Addr, port uint16) expect.Tuple {
		return expect.Tuple{Src: netip.AddrPortFrom(from, 5000), Dst: netip.AddrPortFrom(server, port)}
	}
	for _, tt := range []struct {
		name     string
		data     expect.Tuple
		answered bool
		want     []uint16 // the ports of the pinholes that are left
		used     uint16   // that of the one with a data connection
	}{
		{"begun", data(client, 2), false, []uint16{1, 2, 3}, 2},
		{"answered", data(client, 2), true, []uint16{1, 3}, 0},
		{"another port", data(client, 4), true, []uint16{1, 2, 3}, 0},
		{"another host", data(netip.MustParseAddr("10.0.0.3"), 2), true, []uint16{1, 2, 3}, 0},
	} {
		b, now := newBook(), time.Now()
		r := record(1)
		r.Pinholes = []succession.Pinhole{hole(1), hole(2), hole(3)}
		b.note(stamp{1, 1}, true, expect.Tuple(r.Original), expect.Tuple(r.Reply), succession.AppendRecord(nil, &r), now)
		b.used(expect.Tuple(r.Original), tt.data, tt.answered, now.Add(10*time.Second))
		b.used(expect.Tuple(record(9).Original), tt.data, tt.answered, now) // of none
		k := b.find(expect.Tuple(r.Original), now.Add(20*time.Second))
		if k == nil || len(k.Pinholes) != len(tt.want) {
			t.Errorf("%s: %+v", tt.name, k)
			continue
		}
		for i, h := range k.Pinholes {
			if h.Public.Port() != tt.want[i] || (h.Data != nil) != (h.Public.Port() == tt.used) || h.Left != 40*time.Second {
				t.Errorf("%s: %+v", tt.name, h)
			}
			if h.Data != nil && expect.Tuple(*h.Data) != tt.data {
				t.Errorf("%s: used by %v", tt.name, *h.Data)
			}
		}
	}
}

// TestEnded: the other daemon is told of the end of a session that was closed. One whose
// entry is gone is kept for conntrackd to make again, and is told to no one. The first
// report counts. Sessions of the other firewall, and those that no one was told of, are
// not reported.
func TestEnded(t *testing.T) {
	for _, tt := range []struct {
		name       string
		end        func(a *end, s *Session, e *expect.Entry)
		here, told int // records here, and those that another daemon is told of
	}{
		{"not at all", func(*end, *Session, *expect.Entry) {}, 2, 2},
		{"closed", func(a *end, s *Session, e *expect.Entry) { a.Ended(s, e.Original, e.Reply, false) }, 1, 1},
		{"its entry is gone", func(a *end, s *Session, e *expect.Entry) { a.Ended(s, e.Original, e.Reply, true) }, 2, 1},
		{"gone, then closed", func(a *end, s *Session, e *expect.Entry) {
			a.Ended(s, e.Original, e.Reply, true)
			a.Ended(s, e.Original, e.Reply, false)
		}, 2, 1},
		{"the other firewall has it", func(a *end, s *Session, e *expect.Entry) {
			r := record(0)
			a.book.note(stamp{1 << 62, 1}, false, e.Original, e.Reply, succession.AppendRecord(nil, &r), time.Now())
			s.standby.Store(true)
			a.Ended(s, e.Original, e.Reply, false)
		}, 2, 2},
		{"of none", func(a *end, _ *Session, _ *expect.Entry) {
			r := record(9)
			a.Ended(new(Session), expect.Tuple(r.Original), expect.Tuple(r.Reply), false)
		}, 2, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b, later := newEnd(t, key), newEnd(t, key), newEnd(t, key)
			cut := join(t, a, b)
			eventually(t, "the link is up", a.ready)
			var sessions [2]Session
			for i := range sessions {
				r := record(uint16(i))
				a.Wait(a.Tell(&sessions[i], &r, Awaited))
			}
			tt.end(a, &sessions[0], entryOf(record(0), expect.TCPStateEstablished))
			if a.Flush(); a.book.len() != tt.here {
				t.Errorf("%d records here", a.book.len())
			}
			over := 0
			if tt.here == 1 {
				over = 1
			}
			if _, n, _ := b.host.counts(); n != over || b.book.len() != 2-over {
				t.Errorf("the other one has %d records, and was told of %d ends", b.book.len(), n)
			}
			cut()
			defer join(t, a, later)()
			eventually(t, "everything is told", func() bool { return !a.Alone() && a.ready() })
			if a.Flush(); later.book.len() != tt.told {
				t.Errorf("another one is told of %d", later.book.len())
			}
		})
	}
}

// TestToldAgain: the entry of a session is gone when the link comes up, and conntrackd makes
// it anew: then the other daemon is told of the session.
func TestToldAgain(t *testing.T) {
	a, b := newEnd(t, key), newEnd(t, key)
	var s Session
	r := record(1)
	a.Tell(&s, &r, Lazily)
	e := entryOf(r, expect.TCPStateEstablished)
	a.Ended(&s, e.Original, e.Reply, true)
	defer join(t, a, b)()
	eventually(t, "the link is up", a.ready)
	if a.Flush(); b.book.len() != 0 {
		t.Errorf("%d records of what has no entry", b.book.len())
	}
	a.Entered(e)
	eventually(t, "the other daemon knows of it", b.toldAllOf(1))
	a.Entered(e)
	if !a.Settle(10 * time.Second) {
		t.Fatal("not handled")
	}
	if again := a.book.live(e.Original); again != nil {
		t.Error("it is told although its entry was there")
	}
}

// TestReplaced: an entry that begins ends what was known of an earlier connection with
// its ports; of one without a record nothing is expected.
func TestReplaced(t *testing.T) {
	a := newEnd(t, key)
	var s Session
	r := record(1)
	a.Tell(&s, &r, Lazily)
	if !a.Expects(expect.Tuple(r.Original)) || !a.Expects(expect.Tuple(r.Reply)) {
		t.Error("not expected")
	}
	a.Entered(entryOf(record(2), expect.TCPStateSynSent)) // of none
	if a.Entered(entryOf(r, expect.TCPStateSynSent)); a.Expects(expect.Tuple(r.Original)) || a.EnteredData(&expect.Entry{Master: expect.Tuple(r.Original)}) {
		t.Error("the new connection is taken for the one before")
	}
}
