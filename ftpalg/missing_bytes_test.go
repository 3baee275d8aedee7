// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestGapTailLoss replays what a server and a reordering network did: of four
// replies to pipelined commands the second, a 227, arrived first and so was
// dropped. Its sender retransmitted the last one each time that an
// acknowledgement arrived, but none in between. The 227 must not pass unread.
func TestGapTailLoss(t *testing.T) {
	replies := []string{"200 3 xxx\r\n", "227 Entering Passive Mode (10,0,0,2,144,219).\r\n", "200 ok\r\n", "200 4 xxx\r\n"}
	g := newGateway(both, Policy{})
	talk(t, g, `
		S: 220 ready
		C: USER one
		S: 230 in
		C: NOOP
		C: PASV
		C: PORT 192,168,1,5,100,22
		C: NOOP`)
	var seq [5]uint32
	seq[0] = g.next(Reply)
	for i, r := range replies {
		seq[i+1] = seq[i] + uint32(len(r))
	}
	var got []string
	for _, s := range []struct {
		at   int // milliseconds
		from int // which reply
		to   int
	}{
		{0, 1, 2}, {7, 0, 1}, {122, 2, 3}, {122, 3, 4}, // reordered
		{387, 3, 4},  // a tail loss probe
		{832, 0, 1},  // a timeout: nothing of it was acknowledged yet
		{1464, 3, 4}, // acknowledged, and the next probe
		{1758, 1, 3}, // a timeout
		{1900, 3, 4},
	} {
		g.c.now = time.Unix(1e9, 0).Add(time.Duration(s.at) * time.Millisecond)
		var text string
		for _, r := range replies[s.from:s.to] {
			text += r
		}
		for _, out := range g.segment(Reply, seq[s.from], []byte(text)) {
			got = append(got, string(out.p))
		}
	}
	want := []string{replies[0], replies[0], "227 Entering Passive Mode (203,0,113,1,144,219).\r\n" + replies[2], replies[3]}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("forwarded (-want +got):\n%s", d)
	}
}

// TestGapPassed: bytes that passed unseen are given up as soon as their receiver
// is known to have them, and not before.
func TestGapPassed(t *testing.T) {
	const begun, done, pasv, answer = "150 coming\r\n", "226 done\r\n", "PASV\r\n", "227 ok (203,0,113,9,200,10)\r\n"
	for _, tc := range []struct {
		name  string
		apart time.Duration
		acked uint32 // how many of the missing bytes the receiver acknowledges
		want  []string
	}{
		{"not there", 250 * time.Millisecond, 0, []string{"gap", "gap", "gap asked", "gap asked", "gap asked"}},
		{"repeated by the network", time.Millisecond, 0, []string{"gap", "gap", "gap", "gap", "gap"}},
		{"there, but for the end", 250 * time.Millisecond, uint32(len(begun) - 1), []string{"gap", "gap", "gap asked", "gap", "gap"}},
		{"there", 250 * time.Millisecond, uint32(len(begun)), []string{"gap", "gap", "gap asked", "resync", "retransmission"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newGateway(routed, Policy{})
			talk(t, g, "S: 220 ready\nC: USER one\nS: 230 in\nC: SITE X")
			g.acks = nil
			now := time.Unix(1e9, 0)
			missing := g.next(Reply)
			seq := missing + uint32(len(begun)) // which passed
			var got []string
			for range tc.want {
				now = now.Add(tc.apart)
				g.c.now = now
				dec := take(g.c, Reply, seq, []byte(done))
				what := dec.Reason.String()
				if dec.Ask {
					what += " asked"
					if dec.AskAt != g.next(Reply)-1 {
						t.Errorf("asked with %d, not one before %d", dec.AskAt, g.next(Reply))
					}
					acked(g.c, Reply, missing+tc.acked)
				}
				got = append(got, what)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("decisions (-want +got):\n%s", d)
			}
			if got[4] != "retransmission" {
				return
			}
			g.segment(Original, g.next(Original), []byte(pasv))
			g.segment(Reply, g.next(Reply), []byte(answer))
			if want := "offered 227 203.0.113.9:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"; !slices.Contains(g.log, want) {
				t.Errorf("events: %q", g.log)
			}
		})
	}
}

// TestGapAnswered: the answer to a command that passed unseen proves that it was
// received, so that the next command is read at once.
func TestGapAnswered(t *testing.T) {
	const noop, port = "NOOP\r\n", "PORT 192,168,1,5,200,10\r\n"
	g := newGateway(snat, Policy{})
	talk(t, g, "S: 220 ready\nC: USER one\nS: 230 in")
	g.acks = nil
	seq := g.next(Original) + uint32(len(noop))
	acked(g.c, Original, seq) // with the reply
	g.segment(Reply, g.next(Reply), []byte("200 ok\r\n"))
	out := g.segment(Original, seq, []byte(port))
	if len(out) != 1 || g.reason != ReasonResync {
		t.Fatalf("%d segments were forwarded, %v", len(out), g.reason)
	}
	// Reading continues with the next line.
	out = g.segment(Original, g.next(Original), []byte(port))
	if len(out) != 1 || string(out[0].p) != "PORT 198,51,100,77,200,10\r\n" {
		t.Errorf("forwarded: %+v", out)
	}
}

// TestAskAdjusted: the empty segment is one byte before what is missing, in the
// receiver's numbers, whoever adjusts.
func TestAskAdjusted(t *testing.T) {
	for _, here := range []bool{false, true} {
		g := newGateway(snat, Policy{})
		if g.here = here; here {
			g.c.SetAdjustBy(Caller)
		}
		talk(t, g, "S: 220 ready\nC: USER one\nS: 230 in\nC: PORT 192,168,1,5,200,10")
		g.c.cur.dir = Original
		at := g.c.ask(ReasonGap).AskAt
		if !here {
			at = g.kernel[Original].adj.apply(at)
		}
		if want := g.c.stream[Original].position(g.next(Original)) - 1; at != want {
			t.Errorf("here %t: asked with %d, want %d", here, at, want)
		}
	}
}
