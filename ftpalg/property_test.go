// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unapply is what nf_ct_seq_adjust does to an acknowledgement.
func (a Adjustment) unapply(ack uint32) uint32 {
	if int32(ack-uint32(a.Before)-a.Pos) > 0 {
		return ack - uint32(a.After)
	}
	return ack - uint32(a.Before)
}

// dialogue makes a random dialogue for a position. Each line waits for the
// one before it to arrive, as FTP does.
func dialogue(r *rand.Rand, ep Endpoints) string {
	var b strings.Builder
	b.WriteString(login)
	client, server := ep.Client.Addr(), ep.Server.Addr()
	comma := func(a netip.Addr) string {
		return string(appendHostPort(nil, netip.AddrPortFrom(a, uint16(1024+r.IntN(60000)))))
	}
	for range 2 + r.IntN(6) {
		port := 1024 + r.IntN(60000)
		switch n := r.IntN(7); {
		case n == 0:
			b.WriteString("C: NOOP\nS: 200 ok\n")
		case n == 1:
			b.WriteString("C: STAT\nS: 211-here\nS: 227 is a number\nS: 211 end\n")
		case n == 2 || n == 3 && client.Is6():
			fmt.Fprintf(&b, "C: EPSV\nS: 229 Entering Extended Passive Mode (|||%d|)\n", port)
		case n == 3:
			fmt.Fprintf(&b, "C: PASV\nS: 227 Entering Passive Mode (%s)\n", comma(server))
		case client.Is6():
			fmt.Fprintf(&b, "C: EPRT |2|%s|%d|\nS: 200 ok\n", client, port)
		case n == 4:
			fmt.Fprintf(&b, "C: EPRT |1|%s|%d|\nS: 200 ok\n", client, port)
		default:
			fmt.Fprintf(&b, "C: PORT %s\nS: 200 ok\n", comma(client))
		}
		if r.IntN(3) == 0 {
			b.WriteString("C: RETR file\nS: 150 coming\nS: 226 done\n")
		}
	}
	return b.String()
}

// wire sends a dialogue with random cuts, losses before and behind the
// gateway, repetitions that are cut in other ways, and timeouts of held
// segments.
type wire struct {
	t    *testing.T
	r    *rand.Rand
	g    *gateway
	rcv  [2]*receiver
	sent [2][]byte // all that a side wrote
	base [2]uint32
	una  [2]int // what the side knows to have arrived, as the kernel tells it
}

func (w *wire) line(d Direction, p []byte) {
	w.sent[d] = append(w.sent[d], p...)
	timeouts, ahead := 0, 0
	for round := 0; w.una[d] < len(w.sent[d]); round++ {
		if round > 2000 {
			w.t.Fatalf("the line %q does not arrive: %d of %d", p, w.una[d], len(w.sent[d]))
		}
		from := w.una[d]
		switch w.r.IntN(8) {
		case 0: // an old byte range, or a keep-alive
			from = max(0, from-w.r.IntN(40))
		case 1:
			if ahead == 0 && from+1 < len(w.sent[d]) {
				ahead++
				from += w.r.IntN(len(w.sent[d]) - from)
			}
		}
		to := min(len(w.sent[d]), from+1+w.r.IntN(len(p)+4))
		if w.r.IntN(3) == 0 {
			to = min(len(w.sent[d]), from+1+w.r.IntN(3))
		}
		out := w.g.segment(d, w.base[d]+uint32(from), w.sent[d][from:to])
		for _, s := range out {
			if w.r.IntN(5) > 0 {
				w.rcv[d].take(s)
			}
		}
		ack := w.base[d] + uint32(w.rcv[d].next())
		w.una[d] = max(w.una[d], int(int32(w.g.ack(d, ack)-w.base[d])))
		if len(w.g.held[d]) > 0 && to < len(w.sent[d]) { // the rest follows at once, as a rule
			w.more(d, to, &timeouts)
		}
	}
}

// more sends the rest of a line of which a part is held, or lets the hold
// time out.
func (w *wire) more(d Direction, from int, timeouts *int) {
	if *timeouts < maxAbandons-1 && w.r.IntN(4) == 0 {
		*timeouts++
		w.g.timeout(d)
		return
	}
	for from < len(w.sent[d]) {
		to := min(len(w.sent[d]), from+1+w.r.IntN(8))
		for _, s := range w.g.segment(d, w.base[d]+uint32(from), w.sent[d][from:to]) {
			if w.r.IntN(5) > 0 {
				w.rcv[d].take(s)
			}
		}
		from = to
	}
}

// TestAnyCut is the property that the engine stands on: however a dialogue is
// cut, repeated and lost on its way, the same offers are made and the same
// bytes arrive.
func TestAnyCut(t *testing.T) {
	positions := []Endpoints{routed, snat, dnat, both, routed6, nat66}
	n := 3000
	if testing.Short() {
		n = 300
	}
	for i := range n {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		ep := positions[r.IntN(len(positions))]
		shift := uint16(r.IntN(2) * 7)
		lines := dialogue(r, ep)

		whole := newGateway(ep, Policy{})
		whole.shift = shift
		client, server := talk(t, whole, lines)

		g := newGateway(ep, Policy{})
		g.shift = shift
		if i%3 == 0 {
			g.here = true
			g.c.AdjustHere()
		}
		w := &wire{t: t, r: r, g: g, base: [2]uint32{r.Uint32(), r.Uint32()}}
		for d := range w.rcv {
			w.rcv[d] = &receiver{t: t, base: w.base[d]}
		}
		for _, l := range strings.Split(strings.TrimSpace(lines), "\n") {
			w.line(parseLine(t, l))
		}
		if diff := cmp.Diff(whole.log, g.log); diff != "" {
			t.Fatalf("seed %d: events (-whole lines +cut):\n%s", i, diff)
		}
		if diff := cmp.Diff([]string{client, server}, []string{string(w.rcv[Reply].buf), string(w.rcv[Original].buf)}); diff != "" {
			t.Fatalf("seed %d: received (-whole lines +cut):\n%s", i, diff)
		}
		if len(g.fails) > 0 {
			t.Fatalf("seed %d: not announced: %v", i, g.fails)
		}
	}
}
