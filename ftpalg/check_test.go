// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func with(k Checks) Policy { return Policy{Checks: k} }

// TestFirstWords tests dialogues that do not begin as FTP does: a program of
// another protocol was made to connect to a control port.
func TestFirstWords(t *testing.T) {
	const offer = "C: PORT 192,168,1,5,200,10"
	const http = `C: POST /x HTTP/1.1\r\nHost: a\r\n\r\nUSER x\r\nPASS x
		S: 331 ok
		S: 230 ok
		`
	runDialogues(t, "", []dialogueTest{
		{name: "browser, server sends no greeting", ep: routed, lines: http + offer,
			want: []string{"foreign not-ftp", "released not-ftp", "refused not-ftp PORT"}},
		{name: "browser, server greets", ep: routed, lines: "S: 220 hi\n" + http + offer,
			want: []string{"foreign not-ftp", "released not-ftp", "refused not-ftp PORT"}},
		{name: "browser, passive", ep: routed, lines: "S: 220 hi\n" + http + "C: PASV\nS: 227 (203,0,113,9,200,10)",
			want: []string{"foreign not-ftp", "released not-ftp", "refused not-ftp 227"}},
		{name: "browser, offer aligned to a segment", ep: routed, lines: "C: GET / HTTP/1.1\nS: 220 hi\n" + offer,
			want: []string{"foreign not-ftp", "released not-ftp", "refused not-ftp PORT"}},
		{name: "a line too long to read comes first", ep: routed,
			lines: "S: 220 hi\nC: GET /" + strings.Repeat("x", 5000) + " HTTP/1.1\nC: USER x\nS: 230 in\n" + offer,
			want:  []string{"foreign not-ftp", "released not-ftp", "refused not-ftp PORT"}},
		{name: "the same in one-byte pieces", ep: routed,
			lines: "S: 220 hi\nC: G\\\nC: ET / HTTP/1.1\nC: USER x\nS: 230 in\n" + offer,
			want:  []string{"foreign not-ftp", "released not-ftp", "refused not-ftp PORT"}},
		{name: "TLS first", ep: routed, lines: `C: \x16\x03\x01\nUSER x\r\nPORT 192,168,1,5,200,10`,
			want: []string{"foreign not-ftp", "released not-ftp", "refused not-ftp PORT"}},
		{name: "mail client", ep: routed, lines: "S: 220 mail\nC: EHLO x\nS: 250 hi\n" + offer,
			want: []string{"foreign not-ftp", "released not-ftp", "refused not-ftp PORT"}},
		{name: "denials go on", ep: routed, policy: Policy{DenyTLS: true}, lines: "S: 220 hi\nC: FOO\nS: 500 ?\nC: AUTH TLS",
			want: []string{"foreign not-ftp", "denied tls-denied"}, server: "FOO\r\nXXXX TLS"},
		{name: "no greeting", ep: routed, lines: "C: USER x\n" + offer, want: []string{"refused no-greeting PORT"}},
		{name: "another service", ep: routed, lines: "S: 554 go away\nC: USER x\nS: 500 ?\n" + offer, want: []string{"refused no-greeting PORT"}},
		{name: "greeting missed, login seen", ep: routed, lines: "C: USER x\nS: 331 ok\n" + offer, want: []string{"offered PORT " + activeOffer}},
		{name: "greeting delayed", ep: routed, lines: "S: 120 wait\nS: 220 hi\nC: USER x\nS: 230 in\n" + offer, want: []string{"offered PORT " + activeOffer}},
		{name: "words before the greeting", ep: routed, lines: "S: Welcome\nS: 220 hi\nC: FEAT\nS: 211 no\n" + offer, want: []string{"offered PORT " + activeOffer}},
		{name: "Telnet and empty lines first", ep: routed, lines: `S: 220 hi
			C: \xff\xfd\xf1\r\nUSER x
			S: 230 in
			` + offer, want: []string{"offered PORT " + activeOffer}},
		{name: "lenient", ep: routed, policy: with(Lenient), lines: http + offer, want: []string{"offered PORT " + activeOffer}},
		{name: "one other check alone", ep: routed, policy: with(CheckAsked), lines: http + offer, want: []string{"offered PORT " + activeOffer}},
		{name: "adopted in the middle", ep: routed, begun: true, lines: "C: FOO\nS: 500 ?\n" + offer, want: []string{"offered PORT " + activeOffer}},
		{name: "adopted in the middle, strict", ep: routed, policy: with(Strict), begun: true, lines: "C: NOOP\nS: 200 ok\n" + offer,
			want: []string{"offered PORT " + activeOffer}},
	})
}

// TestChecks runs a dialogue that fails and one that passes each check of Strict.
func TestChecks(t *testing.T) {
	offered := []string{"offered PORT " + activeOffer}
	runDialogues(t, "S: 220 hi\nC: USER x\n", []dialogueTest{
		{name: "not logged in", ep: routed, policy: with(Strict), lines: "S: 331 password\nC: PORT 192,168,1,5,200,10",
			want: []string{"refused not-logged-in PORT"}},
		{name: "login refused", ep: routed, policy: with(Strict), lines: "S: 331 password\nC: PASS x\nS: 530 no\nC: PORT 192,168,1,5,200,10",
			want: []string{"refused not-logged-in PORT"}},
		{name: "logged in", ep: routed, policy: with(Strict), lines: "S: 331 password\nC: PASS x\nS: 230 in\nC: PORT 192,168,1,5,200,10", want: offered},
		{name: "logged in with account", ep: routed, policy: with(Strict),
			lines: "S: 331 password\nC: PASS x\nS: 332 account\nC: ACCT y\nS: 230 in\nC: PORT 192,168,1,5,200,10", want: offered},
		{name: "logged in, superfluous", ep: routed, policy: with(Strict), lines: "S: 331 password\nC: PASS x\nS: 202 in\nC: PORT 192,168,1,5,200,10", want: offered},
		{name: "logged out by REIN", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: REIN\nS: 220 again\nC: PORT 192,168,1,5,200,10",
			want: []string{"refused not-logged-in PORT"}},
		{name: "another user", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: USER y\nS: 331 password\nC: PORT 192,168,1,5,200,10",
			want: []string{"refused not-logged-in PORT"}},
		{name: "login is no matter", ep: routed, lines: "S: 331 password\nC: PORT 192,168,1,5,200,10", want: offered},

		{name: "sent ahead", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: TYPE I\nC: PORT 192,168,1,5,200,10",
			want: []string{"refused not-answered PORT"}},
		{name: "asked ahead", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: TYPE I\nC: PASV\nS: 200 ok\nS: 227 (203,0,113,9,200,10)",
			want: []string{"refused not-answered 227"}},
		{name: "answered", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: TYPE I\nS: 200 ok\nC: PORT 192,168,1,5,200,10", want: offered},
		{name: "sent ahead is no matter", ep: routed, lines: "S: 230 in\nC: TYPE I\nC: PORT 192,168,1,5,200,10", want: offered},

		{name: "LF alone", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: PORT 192,168,1,5,200,10\\n\\", want: []string{"refused line-end PORT"}},
		{name: "LF alone in a reply", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: PASV\nS: 227 (203,0,113,9,200,10)\\n\\",
			want: []string{"refused line-end 227"}},
		{name: "eight characters behind", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: PASV\nS: 227 (203,0,113,9,200,10) 345678",
			want: []string{"offered 227 " + passiveOffer}},
		{name: "too many characters behind", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: PASV\nS: 227 (203,0,113,9,200,10) 3456789",
			want: []string{"refused text-behind 227"}},
		{name: "data base", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: PASV\nS: 227 (203,0,113,9,12,234)",
			want: []string{"refused known-service 227"}},
		{name: "X11 at the client", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: PORT 192,168,1,5,23,112", want: []string{"refused known-service PORT"}},
		{name: "data base by chance", ep: routed, lines: "S: 230 in\nC: EPSV\nS: 229 (|||3306|)",
			want: []string{"offered 229 " + strings.ReplaceAll(passiveOffer, "51210", "3306")}},
		{name: "foreign address", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: PASV\nS: 227 (203,0,113,77,200,10)",
			want: []string{"refused foreign-address 227"}},
		{name: "unasked", ep: routed, policy: with(NoChecks), lines: "S: 230 in\nS: 227 (203,0,113,9,200,10)", want: []string{"offered 227 " + passiveOffer}},
		{name: "after EPSV ALL", ep: routed, policy: with(Lenient), lines: "S: 230 in\nC: EPSV ALL\nS: 200 ok\nC: PORT 192,168,1,5,200,10", want: offered},
		{name: "control port", ep: dnat, lines: "S: 230 in\nC: PASV\nS: 227 (10,0,0,2,8,73)", want: []string{"refused control-port 227"}},
	})
}

// TestRepeatedBytes: a stream whose bytes change in a retransmission.
func TestRepeatedBytes(t *testing.T) {
	type send struct {
		seq uint32
		p   string
	}
	for _, tt := range []struct {
		name   string
		policy Policy
		sends  []send
		want   Reason
	}{
		{"same", with(Strict), []send{{100, "NOOP\r\n"}, {100, "NOOP\r\n"}}, ReasonRetransmission},
		{"changed", with(Strict), []send{{100, "NOOP\r\n"}, {100, "QUIT\r\n"}}, ReasonChanged},
		{"changed, two segments ago", with(Strict), []send{{100, "NOOP\r\n"}, {106, "STAT\r\n"}, {100, "QUIT\r\n"}}, ReasonChanged},
		{"changed in the overlap", with(Strict), []send{{100, "NOOP\r\n"}, {104, "\rXPORT"}}, ReasonChanged},
		{"changed around the wrap", with(Strict), []send{{0xfffffffd, "NOOP\r\n"}, {0xffffffff, "XP\r\n"}}, ReasonChanged},
		{"keep-alive", with(Strict), []send{{100, "NOOP\r\n"}, {105, "\n"}}, ReasonRetransmission},
		{"one byte in the middle", with(Strict), []send{{100, "NOOP\r\n"}, {103, "E"}}, ReasonChanged},
		{"too long ago", with(Strict), []send{{100, "AAAA\r\n"}, {106, strings.Repeat("NOOP\r\n", 1400)}, {100, "BBBB\r\n"}}, ReasonRetransmission},
		{"normal", Policy{}, []send{{100, "NOOP\r\n"}, {100, "QUIT\r\n"}}, ReasonRetransmission},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := NewConn(routed, &tt.policy, Options{})
			var last Decision
			for _, s := range tt.sends {
				last = take(c, Original, s.seq, []byte(s.p))
			}
			if last.Reason != tt.want || (last.Action == Drop) != (tt.want == ReasonChanged) {
				t.Errorf("%v, action %v, want %v", last.Reason, last.Action, tt.want)
			}
		})
	}
}

// TestProbeByte: the byte of a keep-alive probe is arbitrary and has to be
// answered; the receiver may lack what was sent there before, and must not get
// that byte.
func TestProbeByte(t *testing.T) {
	g := newGateway(snat, with(Strict)).midway()
	g.segment(Original, 100, []byte("NOOP\r\n"))
	out := g.segment(Original, 105, []byte("X"))
	if len(out) != 1 || len(out[0].p) != 0 || out[0].seq != 105 && out[0].seq != 104 || g.reason != ReasonChanged {
		t.Errorf("%v: %+v", g.reason, out)
	}
}

// TestRepeatsInFlight: a sender that replaces text that never arrived is refused,
// however much it was, and an honest one continues.
func TestRepeatsInFlight(t *testing.T) {
	c := NewConn(routed, &Policy{Checks: Strict, Deny: map[string]bool{"SITE": true}}, Options{Started: true})
	c.received(Original, 5000, 1000)
	take(c, Reply, 5000, []byte("220 hi\r\n"))
	acked, next, asked := uint32(1000), uint32(1000), 0
	said := []byte(strings.Repeat("NOOP 12345678901\r\n", 50))
	for range 100 {
		c.received(Reply, next, 5008)
		dec := take(c, Original, next, said)
		if dec.Action == Forward {
			r := rewrite(c, nil, Original, next, said)
			next += uint32(len(r.Data))
		}
		if n := next - acked; n > maxHistory {
			t.Fatalf("%d bytes are in flight, more than can be compared", n)
		}
		if dec.Ask {
			other := []byte(strings.Repeat("SITE 12345678901\r\n", 50))
			for at := acked; int32(next-at) > 0; at += 100 {
				c.received(Reply, at, 5008)
				if dec := take(c, Original, at, other[:100]); dec.Action != Drop || dec.Reason != ReasonChanged {
					t.Fatalf("other text at %d of %d: %+v", at-1000, next-1000, dec)
				}
			}
			asked++
			acked = next
			c.received(Original, 5008, acked)
		}
	}
	if asked == 0 || next-1000 < 5*maxHistory {
		t.Errorf("asked %d times, %d bytes were forwarded", asked, next-1000)
	}
}

func TestLimits(t *testing.T) {
	port := "PORT 192,168,1,5,200,10\r\n"
	count := func(p Policy, segment string) map[string]int {
		g := newGateway(routed, p)
		g.midway()
		g.segment(Original, 0, []byte(segment))
		n := map[string]int{}
		for _, l := range g.log {
			n[strings.Fields(l)[0]+" "+strings.Fields(l)[1]]++
		}
		return n
	}
	tests := []struct {
		name    string
		policy  Policy
		segment string
		want    map[string]int
	}{
		{"offers in a segment", Policy{}, strings.Repeat(port, 100), map[string]int{"offered PORT": 64, "refused too-many-lines": 36}},
		{"lines in a segment", Policy{}, strings.Repeat("NOOP\r\n", 63) + port + port,
			map[string]int{"offered PORT": 1, "refused too-many-lines": 1}},
		{"long line", Policy{}, "PORT " + strings.Repeat(" ", maxLine) + port[len("PORT "):], map[string]int{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, count(tt.policy, tt.segment)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOffersPerMinute(t *testing.T) {
	g := newGateway(routed, Policy{Offers: 3}).midway()
	c := g.c
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	seq := uint32(0)
	offer := func() Reason {
		c.now = now
		g.known(Original, seq)
		p := []byte("PORT 192,168,1,5,200,10\r\n")
		d := take(c, Original, seq, p)
		seq += uint32(len(p))
		return d.Events[0].Reason
	}
	for i, step := range []struct {
		after time.Duration
		want  Reason
	}{
		{0, ReasonOffered}, {time.Second, ReasonOffered}, {time.Second, ReasonOffered}, {time.Second, ReasonRate},
		{50 * time.Second, ReasonRate}, {10 * time.Second, ReasonOffered}, {-time.Hour, ReasonOffered},
	} {
		now = now.Add(step.after)
		if got := offer(); got != step.want {
			t.Errorf("offer %d: %v, want %v", i, got, step.want)
		}
	}
}

func TestCheckNames(t *testing.T) {
	for i, name := range checkNames {
		k, ok := ParseCheck(name)
		if !ok || k != 1<<i || k.String() != name {
			t.Errorf("%q is %v, %v", name, k, ok)
		}
	}
	for _, name := range []string{"strict", "normal", "lenient"} {
		if k, ok := ParseCheck(name); !ok || k.String() != name {
			t.Errorf("%q is %v, %v", name, k, ok)
		}
	}
	if 1<<len(checkNames) != Strict+1 {
		t.Errorf("%d names for the checks %b", len(checkNames), Strict)
	}
	if _, ok := ParseCheck("none"); ok {
		t.Error("a check of no name")
	}
	if got := (CheckLogin | CheckAsked).String(); got != "asked,login" {
		t.Errorf("two checks are %q", got)
	}
}
