// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLines: each line is reported once, whole, however it is cut into segments
// and retransmitted.
func TestLines(t *testing.T) {
	ep := Endpoints{Client: netip.MustParseAddrPort("192.0.2.1:4000"), Server: netip.MustParseAddrPort("203.0.113.2:21")}
	ep.Dialled, ep.SeenAs = ep.Server, ep.Client
	c := NewConn(ep, &Policy{}, Options{Started: true})
	var got []string
	next := [2]uint32{1000, 5000}
	say := func(d Direction, text string) {
		for range 2 { // and once more, as a retransmission
			dec := c.Segment(&Segment{Dir: d, Seq: next[d], Ack: next[opposite(d)], Acks: true, Payload: []byte(text)})
			for line := range dec.Lines.All() {
				got = append(got, fmt.Sprintf("%v %s", d, line))
			}
		}
		next[d] += uint32(len(text))
	}
	say(Reply, "220-hello\r\n220 rea")
	say(Reply, "dy\r\n")
	say(Original, "USER a\r\nPA")
	say(Original, "SS b\r\nPW\xff\xf4D\nTY")
	say(Original, "PE I\r\n")
	want := []string{"reply 220-hello", "reply 220 ready", "original USER a", "original PASS b", "original PWD", "original TYPE I"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestLinesMadeToFail: lines that were made to fail are marked, except by an
// engine that only watches.
func TestLinesMadeToFail(t *testing.T) {
	ep := Endpoints{Client: netip.MustParseAddrPort("192.0.2.1:4000"), Server: netip.MustParseAddrPort("203.0.113.2:21")}
	for _, watch := range []bool{false, true} {
		c := NewConn(ep, &Policy{RequireTLS: true, Watch: watch}, Options{})
		seg := Segment{Dir: Original, Seq: 1, Payload: []byte("NOOP\r\nUSER a\r\nSYST\r\n")}
		var got []bool
		for _, failed := range c.Segment(&seg).Lines.All() {
			got = append(got, failed)
		}
		if want := []bool{false, !watch, false}; !slices.Equal(got, want) {
			t.Errorf("watch %t: %v, want %v", watch, got, want)
		}
	}
}
