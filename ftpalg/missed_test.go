// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMissed: after a time without rules the dialogue continues to be read at
// once.
func TestMissed(t *testing.T) {
	const pasv, noop, answer, refused = "PASV\r\n", "NOOP\r\n", "227 ok (203,0,113,9,200,10)\r\n", "refused line-start-unknown 227"
	for _, missed := range []bool{true, false} {
		g := newGateway(routed, Policy{})
		client, server := uint32(1000), uint32(5000)
		say := func(d Direction, seq *uint32, line string, seen bool) (out int) {
			if seen {
				out = len(g.segment(d, *seq, []byte(line)))
			}
			*seq += uint32(len(line))
			return out
		}
		say(Reply, &server, "220 ready\r\n", true)
		say(Original, &client, noop, true)
		say(Reply, &server, "200 ok\r\n", true)
		if missed {
			g.c.Missed()
		}
		say(Original, &client, noop, false) // the rules are missing
		say(Reply, &server, "200 ok\r\n", false)
		say(Original, &client, pasv, false)
		if n := say(Reply, &server, answer, true); (n == 1) != missed {
			t.Errorf("missed %t: %d segments were forwarded", missed, n)
		}
		var want []string
		if missed {
			// Where the answer starts is a guess, where the next one does is not.
			g.segment(Original, client, []byte(pasv))
			g.acks = func(d Direction) uint32 { return [...]uint32{client + uint32(len(pasv)), server}[d] }
			g.segment(Reply, server, []byte(answer))
			want = []string{refused, "offered 227 203.0.113.9:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"}
		}
		if d := cmp.Diff(want, g.log); d != "" {
			t.Errorf("missed %t: events (-want +got):\n%s", missed, d)
		}
	}
}
