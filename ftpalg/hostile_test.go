// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"strings"
	"testing"
)

// sends are segments of the client, by their position in its stream.
type sends []struct {
	at   int
	text string
}

// TestDeniedBehindHole: a client, with the help of its server, makes the engine
// believe that bytes were missed, and then sends them as if they were a
// retransmission. Where commands are denied they must not pass unread. Without
// that help the engine does not believe the client.
func TestDeniedBehindHole(t *testing.T) {
	for _, policy := range []Policy{{Deny: map[string]bool{"SITE": true}}, {DenyTLS: true}} {
		g := newGateway(routed, policy)
		g.midway()
		rcv := &receiver{t: t}
		list := sends{{0, "NOOP\r\n"}}
		for range 5 {
			list = append(list, sends{{16, "NOOP\r\n"}}...)
		}
		for i, s := range list {
			if out := g.segment(Original, uint32(s.at), []byte(s.text)); len(out) > 0 != (i == 0) {
				t.Errorf("segment %d: %d forwarded", i, len(out))
			}
		}
		acked(g.c, Original, 16)
		list = append(list, sends{{6, "SITE xyz\r\n"}, {6, "AUTH TLS\r\n"}, {6, "AUTH TLS\r\nNOOP\r\n"}, {22, "NOOP\r\n"}}...)
		for _, s := range list {
			for _, out := range g.segment(Original, uint32(s.at), []byte(s.text)) {
				rcv.take(out)
			}
		}
		if got := string(rcv.buf); strings.Contains(got, "SITE") && policy.Deny != nil || strings.Contains(got, "AUTH") && policy.DenyTLS {
			t.Errorf("the server got %q", got)
		}
	}
}

// TestHostile tests dialogues that try to deceive the engine, or to make it lose
// its position.
func TestHostile(t *testing.T) {
	const pasv = "C: PASV\nS: 227 (203,0,113,9,200,10)"
	long := func(n int) string {
		return "PORT" + strings.Repeat(" ", n-len("PORT192,168,1,5,200,10")) + "192,168,1,5,200,10"
	}
	runDialogues(t, login, []dialogueTest{
		{name: "another address at the end of a 227", ep: routed,
			lines: "C: PASV\nS: 227-(203,0,113,9,200,10)\nS: 227 (203,0,113,9,200,11)",
			want:  []string{"offered 227 " + passiveOffer, "offered 227 " + strings.ReplaceAll(passiveOffer, "51210", "51211")}},
		{name: "a third host at the end of a 227, strict", ep: routed, policy: with(Strict),
			lines: "C: PASV\nS: 227-(203,0,113,9,200,10)\nS: 227 (203,0,113,77,200,11)",
			want:  []string{"offered 227 " + passiveOffer, "refused foreign-address 227"}},
		{name: "numbers all over", ep: routed, lines: "C: PORT 192,168,1,5,200,10,192,168,1,5,200,10\nC: PORT 192,168,1,5,200,10 192,168,1,5,200,11",
			want: []string{"refused syntax PORT", "refused syntax PORT"}},
		{name: "huge numbers", ep: routed,
			lines: "C: PORT 192,168,1,5,4294967496,10\nC: PORT 192,168,1,261,200,10\nC: EPRT |1|192.168.1.5|116746|\nC: EPRT |4294967297|192.168.1.5|5000|\nC: LPRT 4,4,192,168,1,5,258,200,10",
			want:  []string{"refused syntax PORT", "refused number-over-255 PORT", "refused syntax EPRT", "refused address-family EPRT", "refused syntax LPRT"}},
		{name: "signs, spaces and letters in numbers", ep: routed,
			lines: "C: PORT 192,168,1,5,+200,10\nC: PORT 192,168,1,5,2 00,10\nC: PORT 192,168,1,5,0xc8,10\nC: EPRT |1|192.168.1 .5|5000|\nC: EPRT |1|::ffff:192.168.1.5|5000|\nC: EPRT ||192.168.1.5|5000|",
			want:  []string{"refused syntax PORT", "refused syntax PORT", "refused syntax PORT", "refused syntax EPRT", "refused address-family EPRT", "refused syntax EPRT"}},
		{name: "zone and mapped addresses", ep: routed6,
			lines: "C: EPRT |2|fd77::2%eth0|5000|\nC: EPRT |2|::ffff:192.168.1.5|5000|\nC: EPRT |1|fd77::2|5000|",
			want:  []string{"refused syntax EPRT", "refused foreign-address EPRT", "refused address-family EPRT"}},
		{name: "PASV, REIN, then its answer", ep: routed, lines: "C: PASV\nC: REIN\nS: 227 (203,0,113,9,200,10)\nS: 220 again",
			want: []string{"offered 227 " + passiveOffer, "cancelled login-reset"}},
		{name: "REIN answered before PASV", ep: routed, lines: "C: REIN\nC: PASV\nS: 220 again\nS: 227 (203,0,113,9,200,10)",
			want: []string{"offered 227 " + passiveOffer}},
		{name: "three PASV ahead, one refused", ep: routed, lines: "C: PASV\nC: PASV\nC: PASV\nS: 227 (203,0,113,9,200,10)\nS: 500 no\nS: 227 (203,0,113,9,200,11)\nS: 227 (203,0,113,9,200,12)",
			want: []string{"offered 227 " + passiveOffer, "offered 227 " + strings.ReplaceAll(passiveOffer, "51210", "51211"), "refused unasked-reply 227"}},
		{name: "EPSV ALL ahead of its refusal", ep: routed, lines: "C: EPSV ALL\nC: PORT 192,168,1,5,200,10\nS: 502 no\nS: 200 ok",
			want: []string{"offered PORT " + activeOffer}},
		{name: "a line of the longest length", ep: routed, lines: "C: " + long(maxLine-1), want: []string{"offered PORT " + activeOffer}},
		{name: "a line of one byte more", ep: routed, lines: "C: " + long(maxLine)},
		{name: "the same in two parts", ep: routed, lines: "C: " + long(maxLine) + `\
			C: 
			` + pasv, want: []string{"offered 227 " + passiveOffer}},
		{name: "CR and NUL inside", ep: routed, lines: `C: PORT 192,168,1,5,200\r,10
			C: PORT 192,168,1,5,200\0,10
			C: PORT 192,168,1,5,200,10\0,10
			C: PORT\0192,168,1,5,200,10
			C: PASV\0x
			S: 227 (203,0,113,9,200,10)`, want: []string{"refused syntax PORT", "refused syntax PORT", "refused syntax PORT", "refused unasked-reply 227"}},
		{name: "an offer between CR and LF", ep: routed, lines: `C: NOOP\rPORT 192,168,1,5,200,10\n\`},
		{name: "AUTH in pieces", ep: routed, lines: `C: AU\
			C: TH T\
			C: LS
			S: 2\
			S: 34 go
			C: PORT 192,168,1,5,200,10`, want: []string{"opaque"}},
		{name: "a 234 in text", ep: routed, lines: "C: STAT\nC: AUTH TLS\nS: 211-x\nS: 234 go\nS: 211 end\nS: 500 no\n" + pasv, want: []string{"offered 227 " + passiveOffer}},
		{name: "a code inside another reply's lines", ep: routed, lines: "C: PASV\nS: 227-x\nS: 229 (|||3000|)\nS: 227 (203,0,113,9,200,10)", want: []string{"offered 227 " + passiveOffer}},
		{name: "codes of seven and none", ep: routed, lines: "C: PASV\nS: 727 (203,0,113,9,200,10)\nS: 027 (203,0,113,9,200,10)\nS: 2270 (203,0,113,9,200,10)\nS: 22 (203,0,113,9,200,10)"},
		{name: "a line end behind IAC", ep: routed, policy: Policy{Deny: map[string]bool{"SITE": true}},
			lines: `C: S\xff\nITE x\nNOOP S\xff\xfa\nSITE y`, want: []string{"denied command-denied"}, server: "S\xff\nITE x\nNOOP S\xff\xfa\nXXXX y"},
		{name: "a Telnet command that never ends", ep: routed, lines: `C: \xff\xfaPORT 192,168,1,5,200,10
			` + pasv, want: []string{"offered 227 " + passiveOffer}},
	})
}

// TestAgainAfterUndo: the kernel did not take an adjustment, the segment was
// forwarded unchanged, and is retransmitted.
func TestAgainAfterUndo(t *testing.T) {
	c := NewConn(snat, new(Policy), Options{AdjustBy: Kernel})
	line := []byte("PORT 192,168,1,5,200,10\r\n")
	d := take(c, Original, 0xfffffff8, line)
	if r := c.Announce(d.Events[0].Offer, 51210); r != ReasonPlain {
		t.Fatal(r)
	}
	if r := rewrite(c, nil, Original, 0xfffffff8, line); !r.Set || !r.Changed {
		t.Fatalf("%+v", r)
	}
	c.SetAdjustBy(Nobody)
	for i, at := range []int{0, 0, 7, 12} { // the numbers wrap at 8
		if i > 0 {
			take(c, Original, 0xfffffff8+uint32(at), line[at:])
		}
		r := rewrite(c, nil, Original, 0xfffffff8+uint32(at), line[at:])
		if r.Set || r.Changed || c.Position(Original).Adjusted != (Adjustment{}) || r.Seq != 0xfffffff8+uint32(at) {
			t.Errorf("from %d: %+v", at, r)
		}
	}
}

// TestHalfLineBehindRefusals: a half line after refused announcements is held
// like any other: nothing in its segment changes, so it need not be
// retransmitted.
func TestHalfLineBehindRefusals(t *testing.T) {
	g := newGateway(snat, Policy{})
	g.midway()
	if out := g.segment(Original, 0, []byte("PORT\r\nPORT\r\nPO")); len(out) > 0 || g.reason != ReasonPartial {
		t.Errorf("%+v, %v", out, g.reason)
	}
	out := g.segment(Original, 14, []byte("RT 192,168,1,5,200,10\r\n"))
	if len(out) != 2 || string(out[0].p)+string(out[1].p) != "PORT\r\nPORT\r\nPORT 198,51,100,77,200,10\r\n" {
		t.Errorf("%+v, %v", out, g.log)
	}
}
