// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"fmt"
	"testing"
)

// Two offers that shrink, the second sent before the first has arrived: it has to
// wait for that.
func TestEditInFlight(t *testing.T) {
	line := []byte("PORT 192,168,100,200,200,10\r\n")
	c := NewConn(shrinkActive, &Policy{}, Options{AdjustBy: Kernel})
	acked(c, Original, 0)
	d := take(c, Original, 0, line)
	if r := c.Announce(d.Events[0].Offer, 51210); r != ReasonPlain {
		t.Fatalf("first offer: %v", r)
	}
	rewrite(c, nil, Original, 0, line)
	second := uint32(len(line))
	if d := take(c, Original, second, line); d.Action != Drop || d.Reason != ReasonInFlight || len(d.Events) > 0 {
		t.Fatalf("second offer in flight: %+v", d)
	}
	if d := take(c, Original, second, []byte("NOOP\r\n")); d.Action != Forward {
		t.Fatalf("a segment without an offer: %+v", d)
	}
	second += 6
	acked(c, Original, uint32(len("PORT 8,8,8,8,200,10\r\n")))
	if d := take(c, Original, second, line); d.Action != Forward || len(d.Events) != 1 || c.Announce(d.Events[0].Offer, 51210) != ReasonPlain {
		t.Fatalf("second offer, the first has arrived: %+v", d)
	}
}

// A sender that retransmits puts both lines into one segment. The first one must
// be forwarded, or the second waits forever.
func TestEditInFlightJoined(t *testing.T) {
	line := []byte("PORT 192,168,100,200,200,10\r\n")
	c := NewConn(shrinkActive, &Policy{}, Options{AdjustBy: Kernel})
	acked(c, Original, 0)
	d := take(c, Original, 0, line)
	c.Announce(d.Events[0].Offer, 51210)
	first := string(rewrite(c, nil, Original, 0, line).Data)
	take(c, Original, uint32(len(line)), line)
	both := append(line[:len(line):len(line)], line...)
	if d := take(c, Original, 0, both); d.Action != Forward || len(d.Events) != 0 {
		t.Fatalf("both lines: %+v", d)
	}
	if r := rewrite(c, nil, Original, 0, both); string(r.Data) != first || !r.Trimmed {
		t.Errorf("both lines were forwarded as %q, trimmed %t, want %q", r.Data, r.Trimmed, first)
	}
}

// If the first edit never seems to arrive, the offer is refused and the line is
// forwarded.
func TestEditInFlightForever(t *testing.T) {
	line := []byte("PORT 192,168,100,200,200,10\r\n")
	c := NewConn(shrinkActive, &Policy{}, Options{AdjustBy: Kernel})
	acked(c, Original, 0)
	d := take(c, Original, 0, line)
	c.Announce(d.Events[0].Offer, 51210)
	drops := 0
	for d = take(c, Original, uint32(len(line)), line); d.Action == Drop; d = take(c, Original, uint32(len(line)), line) {
		drops++
	}
	if r := c.Announce(d.Events[0].Offer, 51210); r != ReasonInFlight || drops != maxWaits {
		t.Errorf("after %d drops: %v", drops, r)
	}
}

// The same with two replies. A client that has pipelined all of its commands has
// nothing to send, so the engine asks it what it has received.
func TestEditInFlightAsks(t *testing.T) {
	line := []byte("227 Entering Passive Mode (192,168,100,200,200,10).\r\n")
	c := NewConn(shrinkPassive, &Policy{}, Options{AdjustBy: Kernel})
	acked(c, Reply, 0)
	take(c, Original, 0, []byte("PASV\r\nPASV\r\n"))
	d := take(c, Reply, 0, line)
	c.Announce(d.Events[0].Offer, 51210)
	first := rewrite(c, nil, Reply, 0, line)
	second := uint32(len(line))
	if d = take(c, Reply, second, line); d.Action != Drop || d.Reason != ReasonInFlight || !d.Ask {
		t.Fatalf("second offer in flight: %+v", d)
	}
	arrived := uint32(len(first.Data))
	if at := first.Adjust.apply(d.AskAt); at != arrived-1 {
		t.Errorf("the client is asked with sequence number %d, want %d", at, arrived-1)
	}
	acked(c, Reply, arrived)
	if d := take(c, Reply, second, line); d.Action != Forward || len(d.Events) != 1 || c.Announce(d.Events[0].Offer, 51210) != ReasonPlain {
		t.Fatalf("second offer, the first has arrived: %+v", d)
	}
}

// All edits that have not arrived are kept, as each may be retransmitted.
func TestUnarrivedEditsAreKept(t *testing.T) {
	g := newGateway(snat, Policy{})
	g.midway()
	g.acks = func(Direction) uint32 { return 0 }
	seq := uint32(0)
	first := g.segment(Original, 0, []byte("PORT 192,168,1,5,200,0\r\n"))
	for i := range 40 {
		acked(g.c, Original, 0)
		p := fmt.Appendf(nil, "PORT 192,168,1,5,200,%d\r\n", i)
		g.segment(Original, seq, p)
		seq += uint32(len(p))
	}
	again := g.segment(Original, 0, []byte("PORT 192,168,1,5,200,0\r\n"))
	if len(again) != 1 || string(again[0].p) != string(first[0].p) || again[0].seq != first[0].seq {
		t.Errorf("first line again: %+v, was %+v", again, first)
	}
	if n := len(g.c.stream[Original].edits); n > maxEdits {
		t.Errorf("%d edits are kept", n)
	}
}

// After more than half the sequence space no part of an old edit may be mistaken
// for new bytes.
func TestEditsLongAgo(t *testing.T) {
	line := []byte("PORT 192,168,1,5,200,10\r\n")
	g := newGateway(snat, Policy{})
	g.midway()
	g.segment(Original, 0, line)
	step := make([]byte, 1<<24)
	k := &g.kernel[Original]
	for seq := uint64(len(line)); seq < 5<<30; seq += uint64(len(step)) {
		d := take(g.c, Original, uint32(seq), step)
		r := rewrite(g.c, nil, Original, uint32(seq), step)
		if r.Set {
			k.adj = r.Adjust
		}
		if d.Action != Forward || r.Changed || r.Seq != uint32(seq) || k.adj.apply(uint32(seq)) != uint32(seq+2) {
			t.Fatalf("after %d MiB: %+v, changed %v, adjustment %+v", seq>>20, d, r.Changed, k.adj)
		}
	}
	if s := &g.c.stream[Original]; len(s.edits) > 0 || s.adj.Before != s.adj.After {
		t.Errorf("%d edits and adjustment %+v are left", len(s.edits), s.adj)
	}
}

// Without a segment from the server before it, a first segment that is really the
// second must not count as the first line.
func TestFirstSegmentOutOfOrder(t *testing.T) {
	g := newGateway(routed, Policy{})
	g.acks = func(d Direction) uint32 { return []uint32{500, 922}[d] }
	g.segment(Reply, 900, []byte("220 hello and welcome\r\n")) // acknowledges 500
	if out := g.segment(Original, 503, []byte("R me\r\n")); len(out) > 0 {
		t.Errorf("a segment after unseen bytes was forwarded: %+v", out)
	}
	g.segment(Original, 500, []byte("USER me\r\n"))
	if g.c.foreign != ReasonPlain || len(g.log) > 0 {
		t.Errorf("events %q", g.log)
	}
}

// A Telnet command after a verb, cut in two, and an offer after it: both edits
// become one.
func TestDeniedBeforeOffer(t *testing.T) {
	g := newGateway(snat, Policy{DenyTLS: true})
	g.midway()
	var got string
	for _, s := range []segment{{0, []byte("AUTH\xff")}, {5, []byte("\xf1 TLS\r\nPORT 192,168,1,5,200,10\r\n")}} {
		for _, out := range g.segment(Original, s.seq, s.p) {
			got += string(out.p)
		}
	}
	if want := "XXXX\xff\xf1 TLS\r\nPORT 198,51,100,77,200,10\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A half line that was dropped often enough is absorbed, and forwarded with its
// rest, changed as if it had arrived in one piece.
func TestHalfLineIsTakenIn(t *testing.T) {
	g := newGateway(snat, Policy{})
	g.midway()
	tries := 0
	var out []segment
	for out = g.segment(Original, 1000, []byte("PORT 192,168,")); len(out) == 0; tries++ {
		g.timeout(Original)
		if tries > 10 {
			t.Fatal("half a line is never forwarded")
		}
		before := g.c.Mark()
		if out = g.segment(Original, 1000, []byte("PORT 192,168,")); g.c.Mark().Promises(before) != (len(out) > 0) {
			t.Errorf("promises %v, while %d segments are forwarded", len(out) == 0, len(out))
		}
	}
	if tries != maxAbandons || len(out) != 1 || len(out[0].p) != 0 || out[0].seq != 999 || g.reason != ReasonPieces {
		t.Errorf("after %d tries: %+v, %v", tries, out, g.reason)
	}
	if ack := g.ack(Original, 1000); ack != 1013 {
		t.Errorf("%d bytes are acknowledged to the sender", ack)
	}
	const line = "PORT 198,51,100,77,200,10\r\n"
	for _, again := range []bool{false, true} {
		out = g.segment(Original, 1013, []byte("1,5,200,10\r\n"))
		if len(g.fails) > 0 || len(out) != 1 || string(out[0].p) != line || out[0].seq != 1000 {
			t.Errorf("again %v: %v, %+v", again, g.fails, out)
		}
	}
	// The sender may retransmit only a piece of it: it knows of no
	// acknowledgement.
	out = g.segment(Original, 1000, []byte("PORT 1"))
	if len(out) != 1 || out[0].seq != 1000 || string(out[0].p) != line[:len(line)-2] {
		t.Errorf("the first piece again became %+v", out)
	}
	if ack := g.ack(Original, 1000+uint32(len(line))); ack != 1025 {
		t.Errorf("of %d bytes %d are acknowledged to the sender", 25, ack-1000)
	}
}

// What was absorbed is forwarded unchanged when it turns out to be no offer, and
// where the length of a line cannot change it is forwarded as it arrives.
func TestTakenInForNothing(t *testing.T) {
	g := newGateway(snat, Policy{})
	g.midway()
	half := func(p string, tries int) (out []segment) {
		for range tries {
			if out = g.segment(Original, 1000, []byte(p)); len(out) == 0 {
				g.timeout(Original)
			}
		}
		return out
	}
	half("POR", maxAbandons+1)
	out := g.segment(Original, 1003, []byte("K 1\r\n"))
	if len(out) != 1 || out[0].seq != 1000 || string(out[0].p) != "PORK 1\r\n" {
		t.Errorf("no offer became %+v", out)
	}

	g = newGateway(snat, Policy{})
	g.midway()
	g.c.SetAdjustBy(Nobody)
	if out = half("PORT 192,168,", maxAbandons+2); len(out) != 1 || string(out[0].p) != "PORT 192,168," {
		t.Errorf("half a line became %+v", out)
	}
	g.segment(Original, 1013, []byte("1,5,200,10\r\n"))
	if len(g.fails) != 1 {
		t.Errorf("%v, events %q", g.fails, g.log)
	}
}

// TestOldSegment: a segment from before two edits is retransmitted. The kernel
// must put it where it was, and continue to adjust acknowledgements as the later
// edits need it: the receiver acknowledges what it has at once, during the
// verdict on the old segment.
func TestOldSegment(t *testing.T) {
	g := newGateway(snat, Policy{})
	g.midway()
	user, port := []byte("USER x\r\n"), []byte("PORT 192,168,1,5,200,10\r\n")
	g.segment(Original, 0, user)
	g.segment(Original, 8, port)
	last := g.segment(Original, 33, port)
	have := last[0].seq + uint32(len(last[0].p))
	before := g.kernel[Original].adj
	take(g.c, Original, 0, user)
	r := rewrite(g.c, nil, Original, 0, user)
	if r.Set || r.Changed {
		t.Errorf("the kernel is told %+v, the bytes are changed: %v", r.Adjust, r.Changed)
	}
	if at := before.apply(r.Seq); at != 0 {
		t.Errorf("the segment is put at %d", at)
	}
	if got := before.unapply(have); got != 33+25 {
		t.Errorf("an acknowledgement of everything reaches the sender as %d", got)
	}
}
