// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

var key = []byte("0123456789abcdef0123456789abcdef")

// host records what it is given. A session is its own if has has an entry for it.
type host struct {
	mu    sync.Mutex
	has   map[expect.Tuple]bool
	known []*Known
	data  []expect.Tuple
	over  []expect.Tuple
	alone int
	block chan struct{} // Entry waits for it, unless it is nil
	asked int           // how often Entry was called
	// sessions learn, by the port of their client; one that does not counts as
	// not adopted.
	sessions []Session
}

func (h *host) Entry(t expect.Tuple) *expect.Entry {
	if h.block != nil {
		<-h.block
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked++; !h.has[t] {
		return nil
	}
	return &expect.Entry{Original: t, Reply: t.Reverse(), TCPState: expect.TCPStateEstablished}
}

func (h *host) Adopt(k *Known, e *expect.Entry) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := int(k.Original.Src.Port()); i < len(h.sessions) && !h.sessions[i].Learn(k) {
		return true
	}
	h.known = append(h.known, k)
	return true
}

func (h *host) Data(e *expect.Entry, _ *Known) {
	h.mu.Lock()
	h.data = append(h.data, e.Original)
	h.mu.Unlock()
}
func (h *host) Gone(*expect.Entry)  {}
func (h *host) Over(t expect.Tuple) { h.mu.Lock(); h.over = append(h.over, t); h.mu.Unlock() }
func (h *host) Alone()              { h.mu.Lock(); h.alone++; h.mu.Unlock() }
func (h *host) last() (k *Known) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.known); n > 0 {
		k = h.known[n-1]
	}
	return k
}
func (h *host) counts() (n, o, al int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.known), len(h.over), h.alone
}

func record(n uint16) succession.Record {
	c := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), n)
	s := netip.MustParseAddrPort("203.0.113.1:21")
	return succession.Record{Original: succession.Tuple{Src: c, Dst: s}, Reply: succession.Tuple{Src: s, Dst: c}}
}

func entryOf(r succession.Record, state uint8) *expect.Entry {
	return &expect.Entry{Original: expect.Tuple(r.Original), Reply: expect.Tuple(r.Reply), TCPState: state}
}

// end is one of two daemons.
type end struct {
	*Pair
	host host
	logs syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}
func (b *syncBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

func newEnd(t testing.TB, key []byte) *end {
	t.Helper()
	e := &end{}
	e.Pair = newPair(Config{Peer: "test"}, &e.host, slog.New(slog.NewTextHandler(&e.logs, nil)))
	e.bereft = time.Millisecond
	e.out.bound, e.start.reach, e.start.learn = patience, patience, patience // on a busy machine, too
	var err error
	if e.id, err = newIdentity(key); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { e.tasks.run(ctx) })
	t.Cleanup(func() { stop(); wg.Wait() })
	return e
}

// join makes a dial b, and returns how to cut that link.
func join(t testing.TB, a, b *end) (cut func()) {
	cut, _ = link(t, a, b)
	return cut
}

// link is join, and also returns a function that waits for the end of the link,
// and returns both ends' errors.
func link(t testing.TB, a, b *end) (cut func(), ended func() (holds, serves error)) {
	t.Helper()
	x, y := pipe(t)
	ctx, stop := context.WithCancel(context.Background())
	holds, serves := make(chan error, 1), make(chan error, 1)
	go func() { holds <- a.hold(ctx, x) }()
	go func() {
		err := b.serve(y)
		y.Close()
		serves <- err
	}()
	ended = func() (error, error) { return <-holds, <-serves }
	cut = func() {
		stop()
		ended()
	}
	return cut, ended
}

func pipe(t testing.TB) (net.Conn, net.Conn) {
	x, y := net.Pipe()
	t.Cleanup(func() { x.Close(); y.Close() })
	return x, y
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func (e *end) toldAllOf(n int) func() bool { return func() bool { return e.book.len() == n } }

func (e *end) ready() bool {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	return e.out.told
}

// TestTells: a link is up when the other daemon has handled everything that was known.
func TestTells(t *testing.T) {
	a, b := newEnd(t, key), newEnd(t, key)
	b.host.block = make(chan struct{})
	var s Session
	r := record(1000)
	a.Wait(a.Tell(&s, &r, Awaited))
	join(t, a, b)
	eventually(t, "all is sent", b.toldAllOf(1))
	eventually(t, "and its acknowledgement requested", a.ready)
	if a.Stats().Tells || strings.Contains(a.logs.String(), "peer connected") {
		t.Error("the link is up before what was sent is handled")
	}
	close(b.host.block)
	eventually(t, "the link is up", func() bool { return a.Stats().Tells })
}

// TestEverything: when the link comes up, the other daemon receives everything;
// then what changes, in order; then nothing of what has ended.
func TestEverything(t *testing.T) {
	a, b := newEnd(t, key), newEnd(t, key)
	var sessions [300]Session
	for i := range sessions {
		r := record(uint16(1000 + i))
		a.Wait(a.Tell(&sessions[i], &r, Awaited))
	}
	cut := join(t, a, b)
	eventually(t, "all are told", b.toldAllOf(len(sessions)))
	eventually(t, "the link is up", a.ready)
	r := record(1000)
	r.Pinholes = []succession.Pinhole{{Source: r.Original.Src.Addr(), Public: r.Original.Dst, Target: r.Original.Dst, Left: time.Minute}}
	a.Wait(a.Tell(&sessions[0], &r, Awaited)) // and waits
	if k := b.book.find(expect.Tuple(r.Original), time.Now()); k == nil || len(k.Pinholes) != 1 {
		t.Errorf("known is %+v after a wait", k)
	}
	if n, _, _ := b.host.counts(); n != 0 {
		t.Errorf("%d sessions without an entry are adopted", n)
	}
	a.Ended(&sessions[1], expect.Tuple(record(1001).Original), expect.Tuple(record(1001).Reply), false)
	eventually(t, "an end is told", b.toldAllOf(len(sessions)-1))
	// Again, over another link: the other daemon was restarted.
	cut()
	if s := a.Stats(); !a.Alone() || s.Records != len(sessions)-1 || s.Waits != 1 {
		t.Errorf("%+v", s)
	}
	c := newEnd(t, key)
	defer join(t, a, c)()
	eventually(t, "all are told again", c.toldAllOf(len(sessions)-1))
	k := c.book.find(expect.Tuple(r.Original), time.Now())
	if k == nil || len(k.Pinholes) != 1 || k.Pinholes[0].Left <= 0 || k.Pinholes[0].Left >= time.Minute {
		t.Errorf("known is %+v", k)
	}
}

// TestAdopt: what is known is given to the host when the entry of the session
// arrives, or at once if it exists. That of another connection with the same
// tuple is not.
func TestAdopt(t *testing.T) {
	a, b := newEnd(t, key), newEnd(t, key)
	b.host.has = map[expect.Tuple]bool{expect.Tuple(record(2).Original): true}
	defer join(t, a, b)()
	eventually(t, "the link is up", a.ready)
	var sessions [4]Session
	for i := range sessions {
		r := record(uint16(i))
		a.Wait(a.Tell(&sessions[i], &r, Awaited))
	}
	if k := b.host.last(); k == nil || k.Original != record(2).Original {
		t.Fatalf("adopted %+v, want the one with an entry", k)
	}
	r, asked := record(3), b.host.asked
	if a.Wait(a.Tell(&sessions[3], &r, Awaited)); b.host.asked != asked {
		t.Error("the entry of a session is looked up although its event would have come")
	}
	b.Entered(entryOf(record(3), expect.TCPStateEstablished))
	if !b.Settle(patience) || b.host.last().Original != record(3).Original {
		t.Errorf("adopted %+v, want the one whose entry came", b.host.last())
	}
	b.Entered(entryOf(record(0), expect.TCPStateSynSent)) // begins
	other := entryOf(record(1), expect.TCPStateEstablished)
	other.Reply.Dst = netip.MustParseAddrPort("10.9.9.9:9")
	b.Entered(other)
	data := entryOf(record(9), expect.TCPStateEstablished)
	data.Master = expect.Tuple(record(3).Original)
	b.EnteredData(data)
	b.Settle(patience)
	if n, _, _ := b.host.counts(); n != 2 || b.book.has(expect.Tuple(record(0).Original)) || len(b.host.data) != 1 {
		t.Errorf("%d adopted, %d records, %d data connections", n, b.book.len(), len(b.host.data))
	}
	if s := b.Stats(); s.Adopted != 1 || s.TakeOver.Sessions != 1 || s.TakeOver.At.IsZero() {
		t.Errorf("%+v", s)
	}
}

// TestKeep: the state of a session of ours is recorded in the memory of the last one, and
// does not touch what others read.
func TestKeep(t *testing.T) {
	p := newPair(Config{}, nil, slog.New(slog.DiscardHandler))
	s, r := new(Session), record(1)
	r.Engine = &ftpalg.State{Login: true}
	p.Keep(s, &r)
	read := p.book.all()[0]
	raw := string(read.raw)
	n := testing.AllocsPerRun(100, func() {
		r.Engine.EPSVAll = !r.Engine.EPSVAll
		p.Keep(s, &r)
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
	r.Engine.EPSVAll = true
	p.Keep(s, &r)
	if string(read.raw) != raw {
		t.Error("what was read has changed")
	}
	original, reply := expect.Tuple(r.Original), expect.Tuple(r.Reply)
	if k := p.book.find(original, time.Now()); k == nil || !k.Engine.EPSVAll {
		t.Errorf("known is %+v", k)
	}
	theirs := record(1)
	theirs.Engine = &ftpalg.State{Login: true, Multi: 230}
	newer := stamp{p.book.pages[p.book.mark(original)].at.gen + 1000, 1}
	p.book.note(newer, false, original, reply, succession.AppendRecord(nil, &theirs), time.Now())
	p.Keep(s, &r)
	if k := p.book.find(original, time.Now()); k == nil || k.Engine.Multi != 230 {
		t.Errorf("the other firewall knows better, and known is %+v", k)
	}
	p.book.drop(original)
	s = new(Session)
	p.Keep(s, &r)
	p.book.drop(original)
	if p.Keep(s, &r); !p.book.has(original) {
		t.Error("a session whose page was removed has none any more")
	}
	_, told := p.book.write(s.page, p.next(s, &r), &r, true, time.Now())
	before := string(told)
	r.Engine.EPSVAll = false
	p.Keep(new(Session), &r) // of an entry that was made anew
	if string(told) != before {
		t.Error("what is being told has changed")
	}
}

// TestRetold: what was used is told of a session of ours that waits for its first packet,
// and not once that has come, as its own reports are newer.
func TestRetold(t *testing.T) {
	p := newPair(Config{}, nil, slog.New(slog.DiscardHandler))
	s, r := new(Session), record(1)
	original := expect.Tuple(r.Original)
	p.Keep(s, &r)
	again := new(Session)
	again.Begin(p.book.find(original, time.Now()))
	before := p.book.pages[p.book.mark(original)].at
	if told := again.retold(&p.book, original); told == nil || !told.at.newer(before) {
		t.Fatalf("told is %+v", told)
	}
	again.Own()
	if told := again.retold(&p.book, original); told != nil {
		t.Errorf("told is %+v, after its first packet", told)
	}
	p.Keep(again, &r)
	if at := p.book.pages[p.book.mark(original)].at; at != again.last() {
		t.Errorf("its own report is %v, and known is %v", again.last(), at)
	}
}

// TestGrace: packets that arrive before the entry of their session are dropped
// for a while, in either direction; those of no session are not.
func TestGrace(t *testing.T) {
	b := newBook()
	r, now := record(1), time.Now()
	b.note(stamp{1, 1}, false, expect.Tuple(r.Original), expect.Tuple(r.Reply), succession.AppendRecord(nil, &r), now)
	for _, at := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {grace - time.Millisecond, true}, {grace, false}} {
		for _, of := range []succession.Tuple{r.Original, r.Reply} {
			if got := b.expects(expect.Tuple(of), false, now.Add(at.after)); got != at.want {
				t.Errorf("after %v: %v", at.after, got)
			}
		}
	}
	b.live(expect.Tuple(r.Original))
	if !b.expects(expect.Tuple(r.Original), false, now.Add(time.Hour)) {
		t.Error("the time does not begin again after its entry existed")
	}
	if b.expects(expect.Tuple(record(2).Original), false, now) {
		t.Error("an unknown session is expected")
	}
	b.gone(expect.Tuple(r.Original), now)
	if b.find(expect.Tuple(r.Original), now.Add(goneFor)) == nil {
		t.Error("forgotten while its entry may be recreated")
	}
	if b.find(expect.Tuple(r.Original), now.Add(goneFor+1)) != nil || b.len() != 0 {
		t.Error("known although its entry has gone")
	}
}

// TestGraceAgain: a session that sends nothing for long is expected each time that its
// packets come before its entry, but not for as long as they are retransmitted. If its
// entry is long gone only those are dropped that would end it, and it continues from its
// record with an entry that conntrackd brings.
func TestGraceAgain(t *testing.T) {
	r, now := record(1), time.Now()
	original := expect.Tuple(r.Original)
	for _, gone := range []bool{false, true} {
		b := newBook()
		b.note(stamp{1, 1}, true, original, expect.Tuple(r.Reply), succession.AppendRecord(nil, &r), now)
		if gone {
			b.gone(original, now)
		}
		for _, began := range []time.Duration{time.Minute, 10 * time.Minute, 20 * time.Minute} {
			for after := time.Duration(0); after < 3*grace; after = 2*after + 200*time.Millisecond { // as TCP retransmits
				at := now.Add(began + after)
				if expected, late := b.expects(original, false, at), b.expects(original, true, at); expected != (!gone && after < grace) || late != (after < grace) {
					t.Errorf("gone %t: %v after its entry existed, %v after its first packet: %t, if it would end it %t", gone, began, after, expected, late)
				}
			}
		}
		later := now.Add(time.Minute)
		if !b.entered(original, true, later) || b.entered(original, false, later) == gone {
			t.Errorf("gone %t: it does not continue as it should", gone)
		}
	}
}

// TestMakeRoom: when there are too many records, those go first whose entries are gone.
func TestMakeRoom(t *testing.T) {
	b, now := newBook(), time.Now()
	note := func(i int) expect.Tuple {
		r := record(uint16(i))
		b.note(stamp{1, 1}, true, expect.Tuple(r.Original), expect.Tuple(r.Reply), succession.AppendRecord(nil, &r), now)
		return expect.Tuple(r.Original)
	}
	gone := note(0)
	for i := 1; i < maxRecords; i++ {
		note(i)
	}
	b.gone(gone, now)
	extra := expect.Tuple{Src: netip.MustParseAddrPort("198.51.100.77:1"), Dst: gone.Dst}
	r := record(1)
	r.Original = succession.Tuple(extra)
	b.note(stamp{1, 1}, true, extra, extra.Reverse(), succession.AppendRecord(nil, &r), now)
	if b.has(gone) || !b.has(extra) || b.len() != maxRecords {
		t.Errorf("%d records; that whose entry is gone is still there: %t", b.len(), b.has(gone))
	}
}

// nothing was known of a session before.
func nothing() uint64 { return 0 }

// TestClockSetBack: a client uses its port again, and the clock was set back meanwhile:
// the new session is told of.
func TestClockSetBack(t *testing.T) {
	a, b := newEnd(t, key), newEnd(t, key)
	join(t, a, b)
	eventually(t, "the link is up", a.ready)
	r := record(1)
	original, reply := expect.Tuple(r.Original), expect.Tuple(r.Reply)
	before, next := new(Session), new(Session)
	before.at.gen = uint64(time.Now().Add(time.Hour).UnixMilli())
	a.Wait(a.Tell(before, &r, Awaited))
	a.Ended(before, original, reply, false)
	eventually(t, "its end is known", func() bool { return b.Settle(patience) && !b.book.has(original) })
	a.Wait(a.Tell(next, &r, Awaited))
	if !a.book.has(original) || !b.book.has(original) {
		t.Errorf("the new session is known here: %t, there: %t", a.book.has(original), b.book.has(original))
	}
}

// TestOwner: the firewall that a packet comes to owns the session, and earlier
// reports of the other one do not count.
func TestOwner(t *testing.T) {
	var a, b Session
	if a.Standby() {
		t.Error("a new session is not ours")
	}
	r := record(1)
	raw := succession.AppendRecord(nil, &r)
	first := (&page{at: a.next(nothing), raw: raw}).known(time.Now())
	if !b.Learn(first) || !b.Standby() || b.Learn(first) {
		t.Error("not learned once")
	}
	if r := b.Own(); r == nil || b.Standby() || b.Own() != nil {
		t.Error("not owned once")
	}
	second := (&page{at: b.next(nothing), raw: raw}).known(time.Now())
	if b.Learn((&page{at: a.next(nothing), raw: raw}).known(time.Now())) {
		t.Error("learned from the previous owner")
	}
	if !a.Learn(second) || !a.Standby() {
		t.Error("the previous owner still has it")
	}
}

// TestReturned: a daemon that crashed learns from the other one how its own
// sessions continue. They remain its own; a packet that came first, or what was
// handed over, takes precedence.
func TestReturned(t *testing.T) {
	a, b := newEnd(t, key), newEnd(t, key)
	var before [4]Session
	for i := range before {
		r := record(uint16(i))
		r.Engine = &ftpalg.State{Login: true}
		a.Wait(a.Tell(&before[i], &r, Awaited))
	}
	join(t, a, b)
	eventually(t, "all are told", b.toldAllOf(len(before)))

	next := newEnd(t, key)
	next.host.has = map[expect.Tuple]bool{}
	var after [len(before)]Session
	for i := range after {
		r := record(uint16(i))
		if i == 1 { // handed over
			r.Told = before[i].Stamp()
		}
		next.Inherit(&after[i], &r)
		next.host.has[expect.Tuple(r.Original)] = true
	}
	r := record(2)
	next.Wait(next.Tell(&after[2], &r, Awaited)) // a packet came
	after[3].inherit(nil)
	after[3].at = stamp{gen: 1, seq: 7} // likewise, and the clock was set back
	after[3].fresh = false
	next.host.sessions = after[:]
	join(t, b, next)
	next.Await()
	if n, _, _ := next.host.counts(); n != 1 {
		t.Fatalf("%d records are new, want that of the first", n)
	}
	for i := range after {
		s := &after[i]
		if s.Standby() || s.GoesOn() != (i == 0) || s.Again() != (i == 3) {
			t.Errorf("session %d: standby %t, goes on %t", i, s.Standby(), s.GoesOn())
		}
	}
	if after[0].Stamp() != nil || after[1].Stamp() == nil {
		t.Error("the next daemon must learn other sessions again")
	}
	if r := after[0].Own(); r == nil || r.Engine == nil || !r.Engine.Login {
		t.Errorf("goes on from %+v", r)
	}
	if at := after[3].next(nothing); !at.newer(before[3].last()) {
		t.Errorf("%v is not newer than %v", at, before[3].last())
	}
}

// TestBothCrash: what a daemon that crashed has taken back from the kernel is
// reported, too, in case the other one crashed before it could report; what that
// one knows is newer.
func TestBothCrash(t *testing.T) {
	a, b := newEnd(t, key), newEnd(t, key)
	var taken, told Session
	r := record(1)
	r.Pinholes = []succession.Pinhole{{Source: r.Original.Src.Addr(), Public: r.Original.Dst, Target: r.Original.Dst, Left: time.Minute}}
	a.Inherit(&taken, &r)
	older := record(2)
	a.Inherit(new(Session), &older)
	newer := record(2)
	newer.Left = succession.LeftForeign
	b.Tell(&told, &newer, Lazily)
	join(t, a, b)
	eventually(t, "what was taken back is told", b.toldAllOf(2))
	if k := b.book.find(expect.Tuple(r.Original), time.Now()); k == nil || len(k.Pinholes) != 1 || k.ours {
		t.Errorf("known is %+v", k)
	}
	if k := b.book.find(expect.Tuple(older.Original), time.Now()); k == nil || k.Left != succession.LeftForeign {
		t.Errorf("known is %+v, want what b had told", k)
	}
}

// TestAwait: a start waits for what the other daemon knows, but not for one that
// is not there.
func TestAwait(t *testing.T) {
	a, b := newEnd(t, key), newEnd(t, key)
	var s Session
	r := record(1)
	b.Tell(&s, &r, Lazily)
	a.start.met()
	go func() {
		time.Sleep(20 * time.Millisecond)
		join(t, b, a)
	}()
	if a.Await(); a.book.len() != 1 {
		t.Errorf("%d records are known", a.book.len())
	}
	c := newEnd(t, key)
	c.start.alone()
	begun := time.Now()
	c.Await()
	if d := time.Since(begun); d > patience/2 {
		t.Errorf("waited %v for an absent daemon", d)
	}
}

// TestListenEarly: the daemon starts before the interface has its address.
func TestListenEarly(t *testing.T) {
	for _, addr := range []string{"192.0.2.77:2121", "[2001:db8:77::1]:2121"} {
		p, err := Open(Config{Peer: "192.0.2.78:2121", Listen: addr, Key: key}, &host{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		p.Close()
	}
}

// TestHang: a peer that reads nothing costs one wait, and the link is closed in
// the end; one whose host hangs costs one wait, too.
func TestHang(t *testing.T) {
	a, b := newEnd(t, key), newEnd(t, key)
	b.host.block = make(chan struct{})
	a.out.bound = waitBound
	join(t, a, b)
	eventually(t, "the link is up", a.ready)
	var s Session
	r := record(1)
	begun := time.Now()
	a.Wait(a.Tell(&s, &r, Awaited))
	first := time.Since(begun)
	for range 1000 {
		a.Wait(a.Tell(&s, &r, Awaited))
	}
	if rest := time.Since(begun) - first; first < waitBound || rest > 5*time.Second {
		t.Errorf("the first wait took %v, the next 1000 took %v", first, rest)
	}
	if n := a.Stats().Waits; n != 1 {
		t.Errorf("%d waits", n)
	}
	close(b.host.block)
	eventually(t, "it answers again", func() bool { a.out.mu.Lock(); defer a.out.mu.Unlock(); return !a.out.slow })
	a.Wait(a.Tell(&s, &r, Awaited))
	if n := a.Stats().Waits; n != 2 {
		t.Errorf("%d waits when it answers again", n)
	}
}

// TestAckLate: an acknowledgement is written although the other daemon, on a busy
// machine, reads it late.
func TestAckLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		defer y.Close()
		go func() {
			ack(x, 7)
			x.Close()
		}()
		time.Sleep(4 * waitBound)
		got, err := io.ReadAll(y)
		if want := appendFrame(nil, kindAck, []byte{7}); err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %x, %v, want %x", got, err, want)
		}
	})
}

// TestOverflow: pending messages are limited. A link on which more is pending is
// closed.
func TestOverflow(t *testing.T) {
	a := newEnd(t, key)
	a.out.bound = waitBound
	x, y := pipe(t)
	holds := make(chan error, 1)
	go func() { holds <- a.hold(t.Context(), x) }()
	greeted := newEnd(t, key)
	conn := tls.Server(y, greeted.id.config())
	if _, err := greeted.greet(conn, bufio.NewReader(conn), false); err != nil { // and reads no more
		t.Fatal(err)
	}
	eventually(t, "the link is up", func() bool { return !a.Alone() })
	var s Session
	r := record(1)
	for range 3 * maxQueued / 60 {
		a.Wait(a.Tell(&s, &r, Awaited))
	}
	a.out.mu.Lock()
	n := len(a.out.buf)
	a.out.mu.Unlock()
	if n > maxQueued+1000 {
		t.Errorf("%d bytes wait", n)
	}
	select {
	case err := <-holds:
		t.Log(err)
	case <-time.After(10 * time.Second):
		t.Error("the link is not closed")
	}
	eventually(t, "it is told that it is alone", func() bool {
		_, _, alone := a.host.counts()
		return alone == 1 && a.Alone()
	})
}

// TestStrangers: a daemon that has another key, speaks no version of ours, or is
// this very daemon, receives nothing and reports nothing.
func TestStrangers(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(a, b *end)
		want  error
		ok    bool
	}{
		"key":          {func(a, b *end) { b.id, _ = newIdentity([]byte(strings.Repeat("x", 32))) }, errKey, false},
		"version":      {func(a, b *end) { b.hello.oldest, b.hello.version = 3, 4 }, nil, false},
		"itself":       {func(a, b *end) { b.hello.instance = a.hello.instance }, errSelf, false},
		"next version": {func(a, b *end) { b.hello.oldest, b.hello.version = 1, 2 }, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newEnd(t, key), newEnd(t, key)
			tt.spoil(a, b)
			var s Session
			r := record(1)
			a.Wait(a.Tell(&s, &r, Awaited))
			cut, ended := link(t, a, b)
			if tt.ok {
				eventually(t, "told", b.toldAllOf(1))
				cut()
				return
			}
			holds, serves := ended()
			if b.book.len() != 0 || holds == nil && serves == nil {
				t.Errorf("%d records received; %v, %v", b.book.len(), holds, serves)
			}
			if tt.want != nil && !errors.Is(holds, tt.want) && !errors.Is(serves, tt.want) {
				t.Errorf("%v, %v, want %v", holds, serves, tt.want)
			}
		})
	}
}

// TestKeyFile: a key is long, and not readable by everyone.
func TestKeyFile(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		mode os.FileMode
		want string // in the error
	}{
		"good": {string(key) + "\n", 0o600, ""}, "group": {string(key), 0o640, ""},
		"short": {"secret\n", 0o600, "6 characters, want at least 32"}, "for all": {string(key), 0o644, "want a file to which others have no access"},
		"empty": {"", 0o600, "0 characters"},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := errors.Join(os.WriteFile(path, []byte(tt.text), tt.mode), os.Chmod(path, tt.mode)); err != nil {
			t.Fatal(err)
		}
		got, err := ReadKey(path)
		if (err == nil) != (tt.want == "") || err == nil && !bytes.Equal(got, key) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKey(pipe); err == nil {
		t.Error("a pipe is accepted")
	}
	if _, err := ReadKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// FuzzMessages: whatever the other daemon sends, it is accepted or refused.
func FuzzMessages(f *testing.F) {
	r := record(1)
	raw := succession.AppendRecord(nil, &r)
	f.Add(appendFrame(appendFrame(nil, kindRecord, stamp{1, 2}.append(nil), raw), kindEnded, stamp{1, 3}.append(nil), raw))
	f.Add(appendFrame(nil, kindHello, appendHello(nil, hello{oldest: 1, version: 2})))
	f.Add(appendFrame(nil, kindAck, []byte{1}))
	f.Add(appendFrame(appendFrame(nil, kindReturned, stamp{1, 2}.append(nil), raw), kindAll))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPair(Config{}, &host{}, slog.New(slog.DiscardHandler))
		in := bufio.NewReader(bytes.NewReader(b))
		var buf []byte
		for range 100 {
			k, body, err := readFrame(in, buf)
			if err != nil {
				break
			}
			buf = body
			_, _ = parseHello(body)
			if p.take(k, body) != nil {
				break
			}
		}
		for _, page := range p.book.all() {
			if raw := page.frame(nil, time.Now()); len(raw) < len(page.raw) && page.known(time.Now()) == nil {
				t.Fatalf("told %x of %x, which cannot be read", raw, page.raw)
			}
		}
	})
}
