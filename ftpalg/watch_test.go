// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"net/netip"
	"slices"
	"testing"
)

// TestWatch: a watched connection is read and judged like any other, however it
// is cut, and every segment passes unchanged.
func TestWatch(t *testing.T) {
	lines := []struct {
		dir  Direction
		text string
	}{
		{Reply, "220 ready\r\n"},
		{Original, "USER a\r\n"}, {Reply, "331 password\r\n"}, {Original, "PASS b\r\n"}, {Reply, "230 in\r\n"},
		{Original, "SITE x\r\n"}, {Reply, "200 done\r\n"},
		{Original, "PORT 10,0,0,2,156,64\r\n"}, {Reply, "200 fine\r\n"},
		{Original, "PORT 10,0,0,2,0,22\r\n"}, {Reply, "200 fine\r\n"},
		{Original, "PASV\r\n"}, {Reply, "227 Entering Passive Mode (203,0,113,2,156,64)\r\n"},
		{Original, "AUTH TLS\r\n"}, {Reply, "234 go ahead\r\n"}, {Original, "\x16\x03\x01"},
	}
	policy := &Policy{Watch: true, DenyTLS: true, Deny: map[string]bool{"SITE": true}, Checks: Strict}
	end := netip.MustParseAddrPort
	ep := Endpoints{Client: end("10.0.0.2:40000"), SeenAs: end("198.51.100.1:40000"), Dialled: end("203.0.113.2:21"), Server: end("203.0.113.2:21")}
	want := []EventKind{EventDenied, EventOffer, EventRefused, EventOffer, EventDenied, EventOpaque}
	for _, size := range []int{1, 3, 1000} {
		c := NewConn(ep, policy, Options{Started: true, AdjustBy: Kernel})
		seq := [2]uint32{1000, 5000}
		var got []EventKind
		send := func(d Direction, at uint32, p []byte) {
			seg := Segment{Dir: d, Seq: at, Ack: seq[opposite(d)], Acks: true, Payload: p}
			dec := c.Segment(&seg)
			if dec.Action != Forward || dec.Ask || dec.Adjust || dec.Release {
				t.Errorf("%q: %+v", p, dec)
			}
			for i := range dec.Events {
				got = append(got, dec.Events[i].Kind)
			}
			if r := c.Rewrite(nil, &seg); r.Changed || r.Set || r.Seq != at {
				t.Errorf("%q: %+v", p, r)
			}
		}
		for _, l := range lines {
			for part := range slices.Chunk([]byte(l.text), size) {
				send(l.dir, seq[l.dir], part)
				send(l.dir, seq[l.dir], part) // again
				seq[l.dir] += uint32(len(part))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: events %v, want %v", size, got, want)
		}
	}

	// Bytes that did not come by here have passed nevertheless.
	c := NewConn(ep, policy, Options{})
	for i, seq := range []uint32{1000, 2000, 2006} {
		seg := Segment{Dir: Original, Seq: seq, Payload: []byte("NOOP\r\n")}
		if dec := c.Segment(&seg); dec.Action != Forward || dec.Ask {
			t.Errorf("segment %d: %+v", i, dec)
		} else {
			n := 0
			for _, failed := range dec.Lines.All() {
				if n++; failed {
					t.Errorf("segment %d: a command was made to fail", i)
				}
			}
			if n != 1 {
				t.Errorf("segment %d: %d lines read, want 1", i, n)
			}
		}
	}
}
