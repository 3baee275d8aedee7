// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel keeps an adjustment of translated connections with a carrier,
// whether a helper or a bare help extension, and silently drops all others.
func TestKernelSetSeqAdj(t *testing.T) {
	for _, tc := range []struct {
		with       carrier
		snat, dnat bool
		want       error
	}{
		{carrierSane, true, false, nil},
		{carrierSane, false, true, nil},
		{carrierSane, true, true, nil},
		{carrierBare, true, false, nil},
		{carrierBare, false, true, nil},
		{carrierNone, true, false, ErrNotAdjusted},
		{carrierNone, true, true, ErrNotAdjusted},
		{carrierSane, false, false, ErrNotAdjusted},
		{carrierBare, false, false, ErrNotAdjusted},
	} {
		t.Run(fmt.Sprintf("%s,snat=%v,dnat=%v", tc.with, tc.snat, tc.dnat), func(t *testing.T) {
			n := newNetwork(t, tc.with, tc.snat, tc.dnat)
			c := n.dial()
			for _, a := range []addresses{ipv4, ipv6} {
				p, original := n.control(a, tc.dnat)
				for _, d := range []Direction{Original, Reply} {
					adj := SeqAdj{Pos: 0xfffffff0, Before: 0, After: -5}
					_, err := c.SetSeqAdj(original, d, adj)
					wantErr(t, fmt.Sprintf("%s %v", a.family, d), err, tc.want)
				}
				e, err := c.Get(original)
				must(t, err)
				if got := e.Status&StatusSeqAdjust != 0; got != (tc.want == nil) {
					t.Errorf("%s: sequence adjustment on: %v", a.family, got)
				}
				if tc.want != nil {
					p.talk(t) // the connection is not affected
				}
			}
		})
	}
}

// Values are absolute: the second adjustment replaces the first, and each
// direction has its own.
func TestKernelSeqAdjIsAbsolute(t *testing.T) {
	n := newNetwork(t, carrierSane, true, false)
	c := n.dial()
	_, original := n.control(ipv4, false)
	first, second, reply := SeqAdj{1000, 0, 3}, SeqAdj{2000, 3, -2}, SeqAdj{3000, 0, 1}
	set := func(d Direction, adj SeqAdj) uint32 {
		id, err := c.SetSeqAdj(original, d, adj)
		must(t, err)
		return id
	}
	set(Original, first)
	set(Reply, reply)
	id := set(Original, second)
	e, err := c.Get(original)
	must(t, err)
	if id != e.ID {
		t.Errorf("of entry %d, want %d", id, e.ID)
	}
	if want := [2]SeqAdj{second, reply}; e.Adj != want {
		t.Errorf("adjustments %+v, want %+v", e.Adj, want)
	}
}

// A control connection whose entry ctnetlink created takes an adjustment
// without any translation.
func TestKernelSeqAdjOfClaimed(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	c := n.dial()
	_, master := n.control(ipv4, false)
	l := n.listen("s", netip.AddrPortFrom(ipv4.server, 0))
	x := Claim{Master: master, Timeout: time.Minute, Original: Tuple{
		Src: netip.AddrPortFrom(ipv4.client, dataPort), Dst: unmap(l.Addr())}}
	must(t, c.Claim(x))
	p := n.connect("c", x.Original.Src, x.Original.Dst, l)
	p.talk(t)
	_, err := c.SetSeqAdj(x.Original, Original, SeqAdj{Pos: 1, After: 2})
	must(t, err)
}

// The error of the first of the two requests is returned, and the socket stays
// usable.
func TestKernelSeqAdjOfNoConnection(t *testing.T) {
	n := newNetwork(t, carrierSane, true, false)
	c := n.dial()
	_, original := n.control(ipv4, false)
	_, err := c.SetSeqAdj(original.shift(), Original, SeqAdj{Pos: 1, After: 2})
	wantErr(t, "no connection", err, unix.ENOENT)
	var op *OpError
	if !errors.As(err, &op) || op.Tuple != original.shift() {
		t.Errorf("error %v does not name the tuple", err)
	}
	e, err := c.Get(original)
	must(t, err)
	if e.Original != original {
		t.Errorf("the next request got %v, want %v", e.Original, original)
	}
}
