// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// sent returns the packet that was forwarded in place of one.
func (b *bench) sent(id uint32) *nfq.Packet {
	b.t.Helper()
	var p nfq.Packet
	if data := b.q.data[id]; data == nil {
		b.t.Fatalf("packet %d was forwarded as %q, not as another one", id, b.q.verdicts[id])
	} else if err := nfq.ParsePacket(&p, data); err != nil {
		b.t.Fatal(err)
	}
	return &p
}

// again sends a part of what an end has sent before.
func (l *link) again(from int, seq uint32, text string) (id uint32) {
	l.b.t.Helper()
	p := packetOf(l.b.t, [2]expect.Tuple{l.entry.Original, l.entry.Reply}[from], seq, l.next[1-from], text, nfq.FlagACK)
	l.b.ids++
	p.ID = l.b.ids
	l.b.handle(p)
	return p.ID
}

const (
	announced = "227 Entering Passive Mode (10,0,0,2,195,80).\r\n"
	told      = "227 Entering Passive Mode (203,0,113,1,195,80).\r\n"
)

// TestRepeated: a retransmission of a changed segment is changed in the same way;
// the kernel is not told again, nor is another pinhole opened.
func TestRepeated(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	if sent := l.passive(50000); sent != told {
		t.Fatalf("the client received %q", sent)
	}
	adjusted := b.k.adjusted[l.entry.Original]
	b.k.adjusted[l.entry.Original] = [2]expect.SeqAdj{}
	start := l.next[server] - uint32(len(announced))
	for range 2 {
		if p := b.sent(l.again(server, start, announced)); string(p.Payload) != told || p.Seq != start {
			t.Errorf("the repetition is %q at %d", p.Payload, p.Seq-start)
		}
	}
	if b.k.adjusted[l.entry.Original] != ([2]expect.SeqAdj{}) || adjusted[expect.Reply].After != 3 {
		t.Errorf("the kernel is told %+v, and before %+v", b.k.adjusted[l.entry.Original], adjusted)
	}
	if len(b.k.expected) != 1 || b.metrics.Pinholes.Opened.Load() != 1 {
		t.Errorf("expectations: %v", b.k.expected)
	}
}

// TestRepeatedOlder: a segment from before an older edit is forwarded with the
// sequence number that the kernel, which has the last edit, maps to the right
// one.
func TestRepeatedOlder(t *testing.T) {
	b := newBench(t, nil)
	l := b.announced(entryOf(1))
	between := l.next[server]
	l.accepts(client, "NOOP\r\n")
	l.accepts(server, "200 fine\r\n")
	l.passive(50001)
	adj := b.k.adjusted[l.entry.Original][expect.Reply]
	if adj.Before != 3 || adj.After != 6 {
		t.Fatalf("the kernel adjusts by %+v", adj)
	}
	if v := b.q.verdicts[l.again(server, between, "200 fine\r\n")]; v[0] != "accept" {
		t.Errorf("a segment between two edits is %s, though the kernel adjusts it correctly", v[0])
	}
	l.accepts(client, "NOOP\r\n")
	l.accepts(server, "200 fine\r\n")
	l.passive(50002)
	// The kernel adds 6 to what lies before the last edit, and 3 is right for
	// this one.
	if p := b.sent(l.again(server, between, "200 fine\r\n")); p.Seq != between-3 || string(p.Payload) != "200 fine\r\n" {
		t.Errorf("it is forwarded at %d as %q", int32(p.Seq-between), p.Payload)
	}
}

// TestAsk: where bytes are missing, and the segment after them arrives again and
// again, its receiver is asked what it has, and its answer is queued.
func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		l := b.connect(entryOf(1))
		l.logIn()
		at := l.next[server]
		var last uint32
		for i := range 3 {
			if len(b.k.acks) != 0 {
				t.Fatalf("it is asked after %d times", i)
			}
			last = l.again(server, at+100, "200 fine\r\n")
			time.Sleep(200 * time.Millisecond)
		}
		if p := b.sent(last); len(p.Payload) != 0 || p.Seq != at-1 {
			t.Errorf("%q is sent at %d to ask", p.Payload, int32(p.Seq-at))
		}
		if b.k.acks[1] != 1 || b.q.flushes == 0 {
			t.Errorf("acknowledgements are queued: %v, %d flushes", b.k.acks, b.q.flushes)
		}
		for i := range uint32(3) { // another gap, at once
			l.again(server, at+200+i, "200 fine\r\n")
			time.Sleep(200 * time.Millisecond)
		}
		if b.k.acks[1] != 1 {
			t.Error("the kernel is told again while it queues them")
		}
	})
}

// TestLineByByte: a line that its sender writes in small pieces is acknowledged
// to it, and forwarded whole with its last piece.
func TestLineByByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		l := b.connect(entryOf(1))
		l.logIn()
		l.accepts(client, "PASV\r\n")
		start, taken := l.next[server], false
		for try := 0; !taken; try++ {
			if try > 20 {
				t.Fatal("the line is never absorbed")
			}
			p := packetOf(t, l.entry.Reply, start, l.next[client], announced[:7], nfq.FlagACK|nfq.FlagFIN)
			b.ids++
			p.ID = b.ids
			b.handle(p)
			time.Sleep(holdTime)
			b.w.Wake(time.Now())
			switch v := b.q.verdicts[p.ID]; v[0] {
			case "drop":
			case "changed":
				taken = true
				if p := b.sent(p.ID); len(p.Payload) > 0 || p.Flags&nfq.FlagFIN != 0 {
					t.Errorf("the absorbed piece is forwarded as %q, flags %#x", p.Payload, p.Flags)
				}
			default:
				t.Fatalf("a piece of the line: %s", v)
			}
		}
		last := b.sent(l.again(server, start+7, announced[7:]))
		if string(last.Payload) != told {
			t.Errorf("the client received %q", last.Payload)
		}
		if len(b.k.expected) != 1 {
			t.Errorf("expectations: %v", b.k.expected)
		}
	})
}

// TestUrgent: an urgent pointer moves with its byte.
func TestUrgent(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	l.accepts(client, "PASV\r\n")
	p := l.packet(server, announced, nfq.FlagACK)
	nfq.SetUrgent(p, uint16(len(announced)))
	p.Flags |= nfq.FlagURG
	if b.handle(p); b.sent(p.ID).Urgent != uint16(len(told)) {
		t.Errorf("it points to byte %d of %d", b.sent(p.ID).Urgent, len(told))
	}
}

// TestTooLong: a packet that would grow beyond the maximum length is dropped, and
// retransmitted as a shorter one.
func TestTooLong(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	p := l.packet(server, "220 ready\r\n", nfq.FlagACK)
	b.w.out.splice(p, make([]byte, maxPayload))
	if v := b.q.verdicts[p.ID]; len(v) != 1 || v[0] != "drop" {
		t.Errorf("%s", v)
	}
}

// TestOutgrows: an edit that grows after one that shrinks makes conntrack
// liberal; where that is impossible, the daemon does not rely on the kernel.
func TestOutgrows(t *testing.T) {
	for there, want := range map[bool]bool{true: true, false: false} {
		b := newBench(t, nil)
		l := b.connect(entryOf(1))
		l.logIn()
		if !there {
			b.k.remove(l.entry)
		}
		r := l.session().Acquire(&b.w.work)
		by := ftpalg.Adjustment{Pos: 100, Before: -3, After: 3}
		if !by.Outgrows() {
			t.Fatal("it does not outgrow")
		}
		if got := b.adjust.kernel(b.k, r, ftpalg.Reply, by) == nil; got != want || b.k.liberal[l.entry.Original] != want {
			t.Errorf("there is an entry: %v; the kernel adjusts: %v, liberal: %v", there, got, b.k.liberal)
		}
	}
}

// TestNotNoted: sequence numbers that cannot be recorded for the next daemon are
// reported to be lost with this one.
func TestNotNoted(t *testing.T) {
	b := newBench(t, nil)
	b.k.noAdjust = true
	l := b.announced(entryOf(1))
	b.w.firewallRefuses(errors.New("no room"))
	l.say(client, "PASV\r\n")
	l.say(server, announced)
	b.logs(`msg="cannot note a session's sequence numbers"`, "session=1", "this control connection hangs")
}

// TestPassOn: a possible announcement for which nothing is opened is translated
// nevertheless, with its own port, or with the one that is open.
func TestPassOn(t *testing.T) {
	b := newBench(t, nil)
	l := b.announced(entryOf(1))
	r := l.session().Acquire(&b.w.work)
	defer r.Release()
	open := b.pinholes.All()[0]
	for target, want := range map[string]uint16{open.Target.String(): open.Public.Port(), "10.0.0.2:50007": 50007} {
		o := &ftpalg.Offer{Announced: ap("10.0.0.2:50007"), Target: ap(target)}
		if got := b.w.out.offers.toldPort(r, o); got != want {
			t.Errorf("%s: port %d, want %d", target, got, want)
		}
	}
}

// TestFarAway: an attacker who knows the addresses and ports but no sequence
// number ends nothing and opens nothing. Numbers far ahead are those of the next
// connection with the same ports.
func TestFarAway(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	s := l.session()
	id := l.again(client, l.next[client]-1<<24, "PORT 198,51,100,1,200,10\r\n")
	if v := b.q.verdicts[id]; v[0] != "drop" || len(b.k.expected) != 0 {
		t.Errorf("%s, expectations %v", v, b.k.expected)
	}
	if b.metrics.Decisions()[report.Reason(ftpalg.ReasonFarAway).String()] != 1 {
		t.Error("it is not counted")
	}
	if l.accepts(client, "NOOP\r\n"); l.session() != s {
		t.Error("the session is gone")
	}
	l.next[client] += 1 << 24
	if l.say(client, "PORT 198,51,100,1,200,10\r\n"); l.session() == s || len(b.k.expected) != 0 {
		t.Errorf("another connection has the session, expectations %v", b.k.expected)
	}
}
