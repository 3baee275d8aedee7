// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "testing"

func TestTelnet(t *testing.T) {
	deny := Policy{DenyTLS: true, Deny: map[string]bool{"SITE": true, "CWD": true}}
	runDialogues(t, login, []dialogueTest{
		{name: "in front of an offer", ep: snat, lines: `C: \xff\xf4\xff\xf2PORT 192,168,1,5,200,10`,
			want: []string{"offered PORT " + activeBehind}, server: "\xff\xf4\xff\xf2PORT 198,51,100,77,200,10"},
		{name: "negotiation in front", ep: snat, lines: `C: \xff\xfd\x01\xff\xfa\x01\x03\xff\xf0PORT 192,168,1,5,200,10`,
			want: []string{"offered PORT " + activeBehind}},
		{name: "in front of a reply", ep: routed, lines: "C: PASV\nS: \\xff\\xf1227 (203,0,113,9,200,10)",
			want: []string{"offered 227 " + passiveOffer}},
		{name: "inside the verb", ep: snat, lines: `C: PO\xff\xf1RT 192,168,1,5,200,10`, want: []string{"refused telnet-inside PORT"},
			server: "PO\xff\xf1RT 192,168,1,5,200,10"},
		{name: "inside the numbers", ep: snat, lines: `C: PORT 192,168,1,5,2\xff\xf100,10`, want: []string{"refused telnet-inside PORT"}},
		{name: "inside a reply", ep: dnat, lines: `C: PASV
			S: 227 (10,0,0,2,2\xff\xf100,10)`, want: []string{"refused telnet-inside 227"}},
		{name: "a doubled IAC is a letter", ep: routed, lines: `C: \xff\xffPORT 192,168,1,5,200,10`},
		{name: "ABOR understood", ep: routed, lines: `C: PASV
			C: \xff\xf4\xff\xf2ABOR
			S: 500 no
			S: 226 ok
			C: PASV
			S: 227 (203,0,113,9,200,10)`, want: []string{"offered 227 " + passiveOffer}},

		{name: "denied", ep: routed, policy: deny, lines: "C: site exec x\nS: 500 ?", want: []string{"denied command-denied"}, server: "XXXX exec x"},
		{name: "denied, three letters", ep: routed, policy: deny, lines: "C: CWD x\nS: 500 ?", want: []string{"denied command-denied"}, server: "XXX x"},
		{name: "denied behind spaces", ep: routed, policy: deny, lines: `C:  \0 SITE x`, want: []string{"denied command-denied"}, server: " \x00 XXXX x"},
		{name: "denied behind Telnet", ep: routed, policy: deny, lines: `C: \xff\xf1SITE x`, want: []string{"denied command-denied"}, server: "\xff\xf1XXXX x"},
		{name: "denied with Telnet inside", ep: routed, policy: deny, lines: `C: SI\xff\xf1TE x`, want: []string{"denied command-denied"}, server: "XXXXXX x"},
		{name: "denied with a tab", ep: routed, policy: deny, lines: "C: AUTH\tTLS", want: []string{"denied tls-denied"}, server: "XXXX\tTLS"},
		{name: "denied without argument", ep: routed, policy: deny, lines: `C: SITE\n\`, want: []string{"denied command-denied"}, server: "XXXX\n"},
		{name: "ADAT alone is not denied", ep: routed, policy: deny, lines: "C: ADAT x", server: "ADAT x"},
		{name: "not denied", ep: routed, policy: deny, lines: "C: SITES x\nC: CWDX\nC: NOOP SITE", server: "SITES x\r\nCWDX\r\nNOOP SITE"},
		{name: "denied PORT opens nothing", ep: snat, policy: Policy{Deny: map[string]bool{"PORT": true}}, lines: "C: PORT 192,168,1,5,200,10\nS: 500 ?",
			want: []string{"denied command-denied"}, server: "XXXX 192,168,1,5,200,10"},
		{name: "denied behind an offer in a segment", ep: snat, policy: deny,
			lines: `C: SITE a\r\nPORT 192,168,1,5,200,10\r\nAUTH TLS\r\nPORT 192,168,1,5,200,10\r\nSITE b`,
			want: []string{"denied command-denied", "offered PORT " + activeBehind, "denied tls-denied",
				"offered PORT " + activeBehind, "denied command-denied"},
			server: "XXXX a\r\nPORT 198,51,100,77,200,10\r\nXXXX TLS\r\nPORT 198,51,100,77,200,10\r\nXXXX b"},
	})
}

// A denied command must not get through by being sent in parts, however long its
// sender waits, nor in a line that is too long to be kept.
func TestDeniedInParts(t *testing.T) {
	g := newGateway(routed, Policy{DenyTLS: true})
	g.midway()
	for i := range 20 {
		for _, out := range g.segment(Original, 0, []byte("AU")) {
			if len(out.p) > 0 {
				t.Fatalf("half a denied command was forwarded at try %d: %q", i, out.p)
			}
		}
		g.timeout(Original)
	}
	out := g.segment(Original, 0, []byte("AUTH TLS\r\n"))
	if len(out) != 1 || string(out[0].p) != "XXXX TLS\r\n" {
		t.Errorf("the whole command became %+v", out)
	}

	g = newGateway(routed, Policy{DenyTLS: true})
	g.midway()
	var got []byte
	line := []byte("AU")
	for range 2500 {
		line = append(line, "\xff\xf1"...)
	}
	for _, s := range [][]byte{line, []byte("TH TLS\r\n")} {
		for _, o := range g.segment(Original, uint32(len(got)), s) {
			got = append(got, o.p...)
		}
	}
	if len(got) != len(line)+8 || got[0] != 'X' || got[1] != 'X' {
		t.Errorf("a verb in a long line got through: %q... (%d bytes)", got[:min(len(got), 10)], len(got))
	}
}

// The urgent pointer of a segment with an edit moves with the bytes before it.
func TestUrgent(t *testing.T) {
	p := []byte("PORT 192,168,1,5,200,10\r\n\xff\xf4\xff\xf2ABOR\r\n")
	for _, tt := range []struct {
		name   string
		ep     Endpoints
		urgent int
		want   int
	}{
		{"unchanged", routed, 28, 28},
		{"behind an edit", snat, 28, 30},
		{"in front of an edit", snat, 3, 3},
		{"behind the segment", snat, 60, 62},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(tt.ep, Policy{})
			g.midway()
			g.segment(Original, 1000, p)
			r := g.c.Rewrite(nil, &Segment{Dir: Original, Seq: 1000, Urgent: uint16(tt.urgent), Payload: p})
			if int(r.Urgent) != tt.want {
				t.Errorf("urgent pointer %d became %d, want %d", tt.urgent, r.Urgent, tt.want)
			}
		})
	}
}
