// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMissed: after a time without rules the dialogue is read on at once.
func TestMissed(t *testing.T) {
	const pasv, noop, answer = "PASV\r\n", "NOOP\r\n", "227 ok (203,0,113,9,200,10)\r\n"
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
		say(Original, &client, noop, false) // the rules are away
		say(Reply, &server, "200 ok\r\n", false)
		say(Original, &client, pasv, false)
		if n := say(Reply, &server, answer, true); (n == 1) != missed {
			t.Errorf("missed %t: %d segments went on", missed, n)
		}
		var want []string
		if missed {
			want = []string{"offered 227 203.0.113.9:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"}
		}
		if d := cmp.Diff(want, g.log); d != "" {
			t.Errorf("missed %t: events (-want +got):\n%s", missed, d)
		}
	}
}

// TestGapRepeatedByNetwork: a segment behind a lost one that the network repeats
// at once is no proof that the lost one passed unseen; one that its sender
// repeats, patiently, is.
func TestGapRepeatedByNetwork(t *testing.T) {
	const noop, ok, answer = "NOOP\r\n", "200 ok\r\n", "227 ok (203,0,113,9,200,10)\r\n"
	for _, tc := range []struct {
		name  string
		apart time.Duration
		lost  bool // what went on in the end had not been waited for
	}{
		{"by the network", time.Millisecond, false},
		{"by the network, late", 50 * time.Millisecond, false},
		{"by the sender", 250 * time.Millisecond, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newGateway(routed, Policy{})
			now := time.Unix(1e9, 0)
			g.c.SetTime(now)
			client, server := uint32(1000), uint32(5000)
			say := func(d Direction, seq *uint32, line string) {
				g.segment(d, *seq, []byte(line))
				*seq += uint32(len(line))
			}
			say(Reply, &server, "220 ready\r\n")
			say(Original, &client, noop+"PASV\r\n")
			early := server + uint32(len(ok)) // the reply to NOOP is lost
			for i := range maxGaps {
				now = now.Add(tc.apart)
				g.c.SetTime(now)
				last := i == maxGaps-1
				if out := g.segment(Reply, early, []byte(answer)); (len(out) > 0) != (last && tc.lost) {
					t.Errorf("time %d: %d segments went on", i+1, len(out))
				}
			}
			if tc.lost {
				return
			}
			say(Reply, &server, ok)
			say(Reply, &server, answer)
			want := []string{"offered 227 203.0.113.9:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"}
			if d := cmp.Diff(want, g.log); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
		})
	}
}
