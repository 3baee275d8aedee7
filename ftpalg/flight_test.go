// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"fmt"
	"testing"
)

// Two offers that get shorter, the second sent before the first has arrived:
// it has to wait until it has.
func TestEditInFlight(t *testing.T) {
	line := []byte("PORT 192,168,100,200,200,10\r\n")
	c := NewConn(shrinkActive, &Policy{}, Options{Adjustable: true})
	c.Received(Original, 0)
	d := c.Segment(Original, 0, line)
	if r := c.Announce(d.Events[0].Offer, 51210); r != ReasonPlain {
		t.Fatalf("first offer: %v", r)
	}
	c.Rewrite(nil, Original, 0, line)
	second := uint32(len(line))
	if d := c.Segment(Original, second, line); d.Action != Drop || d.Reason != ReasonInFlight || len(d.Events) > 0 {
		t.Fatalf("second offer in flight: %+v", d)
	}
	if d := c.Segment(Original, second, []byte("NOOP\r\n")); d.Action != Forward {
		t.Fatalf("a segment without an offer: %+v", d)
	}
	second += 6
	c.Received(Original, uint32(len("PORT 8,8,8,8,200,10\r\n")))
	if d := c.Segment(Original, second, line); d.Action != Forward || len(d.Events) != 1 || c.Announce(d.Events[0].Offer, 51210) != ReasonPlain {
		t.Fatalf("second offer, the first has arrived: %+v", d)
	}
}

// A sender that repeats puts both lines into one segment. The first one must go
// on, or the second waits for ever.
func TestEditInFlightJoined(t *testing.T) {
	line := []byte("PORT 192,168,100,200,200,10\r\n")
	c := NewConn(shrinkActive, &Policy{}, Options{Adjustable: true})
	c.Received(Original, 0)
	d := c.Segment(Original, 0, line)
	c.Announce(d.Events[0].Offer, 51210)
	first := string(c.Rewrite(nil, Original, 0, line).Data)
	c.Segment(Original, uint32(len(line)), line)
	both := append(line[:len(line):len(line)], line...)
	if d := c.Segment(Original, 0, both); d.Action != Forward || len(d.Events) != 0 {
		t.Fatalf("both lines: %+v", d)
	}
	if r := c.Rewrite(nil, Original, 0, both); string(r.Data) != first || !r.Trimmed {
		t.Errorf("both lines went on as %q, trimmed %t, want %q", r.Data, r.Trimmed, first)
	}
}

// If the first edit never seems to arrive, the offer is refused and the line
// goes on.
func TestEditInFlightForever(t *testing.T) {
	line := []byte("PORT 192,168,100,200,200,10\r\n")
	c := NewConn(shrinkActive, &Policy{}, Options{Adjustable: true})
	c.Received(Original, 0)
	d := c.Segment(Original, 0, line)
	c.Announce(d.Events[0].Offer, 51210)
	drops := 0
	for d = c.Segment(Original, uint32(len(line)), line); d.Action == Drop; d = c.Segment(Original, uint32(len(line)), line) {
		drops++
	}
	if r := c.Announce(d.Events[0].Offer, 51210); r != ReasonInFlight || drops != maxWaits {
		t.Errorf("after %d drops: %v", drops, r)
	}
}

// Many edits that have not arrived are all kept, as each may be sent again.
func TestUnarrivedEditsAreKept(t *testing.T) {
	g := newGateway(snat, Policy{})
	g.c.started = false
	g.acks = func(Direction) uint32 { return 0 }
	seq := uint32(0)
	first := g.segment(Original, 0, []byte("PORT 192,168,1,5,200,0\r\n"))
	for i := range 40 {
		g.c.Received(Original, 0)
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

// After more than half the range of sequence numbers nothing of an old edit
// may be mistaken for what comes now.
func TestEditsLongAgo(t *testing.T) {
	line := []byte("PORT 192,168,1,5,200,10\r\n")
	g := newGateway(snat, Policy{})
	g.c.started = false
	g.segment(Original, 0, line)
	step := make([]byte, 1<<24)
	k := &g.kernel[Original]
	for seq := uint64(len(line)); seq < 5<<30; seq += uint64(len(step)) {
		d := g.c.Segment(Original, uint32(seq), step)
		r := g.c.Rewrite(nil, Original, uint32(seq), step)
		if r.Set {
			k.adj = r.Adjust
		}
		if d.Action != Forward || r.Changed || r.Temporary || k.adj.apply(uint32(seq)) != uint32(seq+2) {
			t.Fatalf("after %d MiB: %+v, changed %v, adjustment %+v", seq>>20, d, r.Changed, k.adj)
		}
	}
	if s := &g.c.stream[Original]; len(s.edits) > 0 || s.adj.Before != s.adj.After {
		t.Errorf("%d edits and adjustment %+v are left", len(s.edits), s.adj)
	}
}

// Without a word from the server before it, a first segment that is the second
// in truth must not be taken for the first line.
func TestFirstSegmentOutOfOrder(t *testing.T) {
	g := newGateway(routed, Policy{})
	g.acks = func(d Direction) uint32 { return []uint32{500, 922}[d] }
	g.segment(Reply, 900, []byte("220 hello and welcome\r\n")) // acknowledges 500
	if out := g.segment(Original, 503, []byte("R me\r\n")); len(out) > 0 {
		t.Errorf("a segment behind unseen bytes went on: %+v", out)
	}
	g.segment(Original, 500, []byte("USER me\r\n"))
	if g.c.foreign || len(g.log) > 0 {
		t.Errorf("events %q", g.log)
	}
}

// Where nobody tells what the other side has acknowledged, the first bytes
// seen need not be the first: nothing is concluded from them.
func TestFirstLineUncertain(t *testing.T) {
	g := newGateway(routed, Policy{})
	g.segment(Reply, 900, []byte("220 hello\r\n"))
	g.segment(Original, 503, []byte("R me\r\n"))
	g.segment(Original, 509, []byte("PORT 192,168,1,5,200,10\r\n"))
	if len(g.log) != 1 || g.log[0] != "offered PORT "+activeOffer {
		t.Errorf("events %q", g.log)
	}
}

// A Telnet command behind a verb, cut in two, and an offer after it: the edits
// of both are one.
func TestDeniedBeforeOffer(t *testing.T) {
	g := newGateway(snat, Policy{DenyTLS: true})
	g.c.started = false
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

// A half line that was dropped often enough goes on as it comes. Its offer
// cannot be changed any more.
func TestHalfLineIsGivenUp(t *testing.T) {
	g := newGateway(snat, Policy{})
	g.c.started = false
	tries := 0
	for len(g.segment(Original, 0, []byte("PORT 192,168,"))) == 0 {
		g.timeout(Original)
		if tries++; tries > 10 {
			t.Fatal("half a line never goes on")
		}
	}
	out := g.segment(Original, 13, []byte("1,5,200,10\r\n"))
	if tries != maxAbandons || len(g.fails) != 1 || g.fails[0] != ReasonSplit || len(out) != 1 || string(out[0].p) != "1,5,200,10\r\n" {
		t.Errorf("after %d tries: %v, %+v", tries, g.fails, out)
	}
}
