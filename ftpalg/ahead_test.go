// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAhead: the reply that ends a transfer is forwarded though the one before it
// is late, and is read when that has arrived, or is known to have passed. No
// other line is.
func TestAhead(t *testing.T) {
	const begun, done = "150 coming\r\n", "226 done\r\n"
	type part struct {
		at   int // position after the reply to the login
		text string
	}
	first, second, both := part{0, begun}, part{len(begun), done}, part{0, begun + done}
	for _, tt := range []struct {
		name   string
		said   string // command of the client
		policy Policy
		parts  []part
		acked  int // what the client acknowledges of them before it asks for a port
		want   []string
		opens  bool
	}{
		{"late", "RETR file", Policy{}, []part{second, first}, 22, []string{"ahead", "plain"}, true},
		{"late and repeated", "RETR file", Policy{}, []part{second, second, first, first}, 22, []string{"ahead", "ahead", "plain", "retransmission"}, true},
		{"late and repeated together", "RETR file", Policy{}, []part{second, both}, 22, []string{"ahead", "plain"}, true},
		{"passed unseen", "RETR file", Policy{}, []part{second}, 22, []string{"ahead"}, true},
		{"in order", "RETR file", Policy{}, []part{first, second}, 22, []string{"plain", "plain"}, true},
		{"other bytes", "RETR file", Policy{}, []part{second, {12, "226 evil\r\n"}, first, second}, 22, []string{"ahead", "gap", "plain", "retransmission"}, true},
		{"half of it", "RETR file", Policy{}, []part{{12, "226 do"}, both}, 22, []string{"gap", "plain"}, true},
		{"a port is asked for", "PASV", Policy{}, []part{second}, 0, []string{"gap"}, false},
		{"two commands", "RETR file\r\nPASV", Policy{}, []part{second}, 0, []string{"gap"}, false},
		{"227 behind it", "RETR file", Policy{}, []part{{12, "227 (203,0,113,9,9,9)\r\n"}}, 0, []string{"gap"}, false},
		{"not read in pieces", "RETR file", Policy{}, []part{{11, "\n226 done\r\n"}}, 0, []string{"gap"}, false},
		{"all repeats are compared", "RETR file", Policy{Checks: Normal | CheckRepeats}, []part{second}, 0, []string{"gap"}, false},
		{"unasked ports are believed", "RETR file", Policy{Checks: CheckGreeting}, []part{second}, 0, []string{"gap"}, false},
		{"translator", "RETR file", Policy{Deny: map[string]bool{"SITE": true}}, []part{second}, 0, []string{"gap"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(dnat, tt.policy)
			talk(t, g, "S: 220 ready\nC: USER one\nS: 230 in")
			g.acks = nil
			g.segment(Original, g.next(Original), []byte(tt.said+"\r\n"))
			base := g.next(Reply)
			var got []string
			for _, p := range tt.parts {
				out := g.segment(Reply, base+uint32(p.at), []byte(p.text))
				got = append(got, g.reason.String())
				if g.reason == ReasonAhead && (len(out) != 1 || string(out[0].p) != p.text || out[0].seq != base+uint32(p.at)) {
					t.Errorf("%q is forwarded as %+v", p.text, out)
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("reasons (-want +got):\n%s", d)
			}
			if !tt.opens {
				return
			}
			if _, rests := g.c.Rest(); rests != (g.c.ahead == nil) {
				t.Error("the next line could pass unread")
			}
			acked(g.c, Reply, base+uint32(tt.acked))
			g.segment(Original, g.next(Original), []byte("PASV\r\n"))
			out := g.segment(Reply, base+22, []byte("227 ok (10,0,0,2,200,10)\r\n"))
			if len(out) != 1 || string(out[0].p) != "227 ok (203,0,113,1,200,10)\r\n" || len(g.offers) != 1 {
				t.Errorf("the 227 is forwarded as %+v, with %d offers", out, len(g.offers))
			}
			if g.c.TransferWaits() && !slices.Contains(got, "ahead") {
				t.Error("the transfer has not ended")
			}
		})
	}
}
