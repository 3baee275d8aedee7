// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPiecesUntranslated: announcements that have to change arrive in pieces on a
// connection whose sequence numbers the kernel cannot adjust. The engine's caller
// adjusts them from the first line on that never arrives in one piece.
func TestPiecesUntranslated(t *testing.T) {
	s := script{ep: routed, policy: Policy{Repair: RepairAll}, batches: [][]exchange{
		{{"USER me\r\n", "331 password\r\n"}}, {{"PASS x\r\n", "230 in\r\n"}},
		{{"PORT 172,16,200,200,200,10\r\n", "200 ok\r\n"}},
		{{"PASV\r\n", "227 (10,0,0,1,200,11)\r\n"}},
		{{"EPRT |1|172.16.200.200|50000|\r\n", "200 ok\r\n"}},
	}}
	whole := newGateway(s.ep, s.policy)
	client, server := s.whole(t, whole)
	pieces := 0
	for i := range 200 {
		r := rand.New(rand.NewPCG(uint64(i), 11))
		g := &gateway{c: NewConn(s.ep, &s.policy, Options{Started: true}), adjusts: true}
		w := newWire(t, r, g)
		w.name, w.small = fmt.Sprint("seed ", i), true
		w.run(&s)
		pieces += g.pieces
		if d := cmp.Diff([]string{client, server}, []string{string(w.rcv[Reply].buf), string(w.rcv[Original].buf)}); d != "" {
			t.Fatalf("seed %d: received (-whole lines +pieces):\n%s", i, d)
		}
	}
	if pieces == 0 {
		t.Error("no line was absorbed")
	}
}

// TestPiecesEnding: the start of a line is forwarded as it is once its sender has
// closed the connection and repeated it in vain, unless it may be denied.
func TestPiecesEnding(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		policy     Policy
		ending     bool
		want       Reason
	}{
		{"open", "PORT 19", Policy{}, false, ReasonPieces},
		{"ending", "PORT 19", Policy{}, true, ReasonPlain},
		{"denied", "DEL", Policy{Deny: map[string]bool{"DELE": true}}, true, ReasonPieces},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(both, tt.policy)
			talk(t, g, "S: 220 ready\nC: USER one\nS: 230 in")
			seg := Segment{Dir: Original, Seq: g.next(Original), Payload: []byte(tt.text), Ending: tt.ending}
			for range maxAbandons {
				if dec := g.c.Segment(&seg); dec.Action != Hold {
					t.Fatalf("%v is not held", dec)
				}
				g.c.Abandon(Original)
			}
			dec := g.c.Segment(&seg)
			r := g.c.Rewrite(nil, &seg)
			if dec.Action != Forward || dec.Reason != tt.want || (string(r.Data) == tt.text) != (tt.want == ReasonPlain) {
				t.Errorf("%v %v, forwarded %q", dec.Action, dec.Reason, r.Data)
			}
		})
	}
}

// TestPiecesNotAdjusted: if no one can adjust, the line is forwarded as it
// arrives.
func TestPiecesNotAdjusted(t *testing.T) {
	g := &gateway{c: NewConn(routed, &Policy{Repair: RepairAll}, Options{Started: true})}
	talk(t, g, "S: 220 ready\nC: USER one\nS: 230 in")
	seq, asked, passed := g.next(Original), 0, false
	for range maxAbandons + 2 {
		dec := take(g.c, Original, seq, []byte("PORT 17"))
		if dec.Adjust {
			asked++
		}
		passed = dec.Action == Forward
		g.c.Abandon(Original)
	}
	if asked != 1 || !passed {
		t.Errorf("asked %d times, passed %t", asked, passed)
	}
}
