// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// step is a segment with its sender's sequence numbers, which may be lies.
type step struct {
	d        Direction
	seq, ack uint32
	text     string
}

// steps lets segments pass and returns the events.
func (g *gateway) steps(list ...step) []string {
	g.acks = nil
	for _, s := range list {
		if g.c.received(1-s.d, s.seq, s.ack) {
			g.segment(s.d, s.seq, []byte(s.text))
		}
	}
	return g.log
}

// opens reports whether an event is an offer that is opened.
func opens(event string) bool {
	return strings.HasPrefix(event, "offered") || strings.HasPrefix(event, "already-translated") || strings.HasPrefix(event, "repaired")
}

const (
	post = "POST / HTTP/1.1\r\nHost: x\r\n\r\n"
	body = "USER a\r\nPASS b\r\nPORT 192,168,1,5,200,10\r\n"
)

// TestBrowser tests the ways in which a server, and a browser that it controls in
// the network behind the firewall, try to pass off a request with an announcement
// in its body as a session. The browser's TCP is honest.
func TestBrowser(t *testing.T) {
	const c, s = 1000, 5000 // start of the streams
	hi := uint32(len("220 hi\r\n"))
	at := func(text string) uint32 { return c + uint32(len(text)) }
	replies := func(seq uint32, ack uint32) step { return step{Reply, seq, ack, "331 ok\r\n230 ok\r\n200 ok\r\n"} }
	for _, tt := range []struct {
		name  string
		steps []step
		want  string // expected reason of foreign, if not not-ftp
	}{
		{"in one piece", []step{{Reply, s, c, "220 hi\r\n"}, {Original, c, s + hi, post + body}}, ""},
		{"first line in two segments, 220 between", []step{{Original, c, s, post[:7]}, {Reply, s, at(post[:7]), "220 hi\r\n"},
			{Original, at(post[:7]), s + hi, post[7:] + body}}, ""},
		{"first line in three", []step{{Original, c, s, post[:1]}, {Reply, s, at(post[:1]), "220 hi\r\n"}, {Original, at(post[:1]), s + hi, post[1:5]},
			{Original, at(post[:5]), s + hi, post[5:] + body}}, ""},
		{"220 acknowledges less than there is", []step{{Original, c, s, post}, {Reply, s, c - 500, "220 hi\r\n"}, {Original, at(post), s + hi, body}}, ""},
		{"220 first, and less", []step{{Reply, s, c - 500, "220 hi\r\n"}, {Original, c, s + hi, post}, {Original, c, s + hi, post},
			{Reply, s + hi, at(post), "331 ok\r\n"}, {Original, at(post), s + hi + 8, body}, replies(s+hi+8, at(post+body))}, "start-not-seen"},
		{"220 acknowledges more than there is", []step{{Reply, s, at(post), "220 hi\r\n"}, {Original, c, s + hi, post}, {Original, at(post), s + hi, body}}, "start-not-seen"},
		{"more, by less than a segment", []step{{Reply, s, at("POST "), "220 hi\r\n"}, {Original, c, s + hi, "POST USER a\r\nPORT 192,168,1,5,200,10\r\n"}}, "start-not-seen"},
		{"more, after a line that looks well", []step{{Original, c, s, "USER a\r\n"}, {Reply, s, c + 100, "220 hi\r\n"}, {Original, c + 100, s + hi, body}}, "start-not-seen"},
		{"its first segment was lost before us", []step{{Original, at(post), s, body}, {Original, c, s, post}, {Reply, s, at(post + body), "220 hi\r\n"},
			replies(s+hi, at(post+body)), {Original, at(post + body), s + hi + 24, body}}, "start-not-seen"},
		{"never read, the server says", []step{{Original, at(post), s, body}, {Reply, s, c, "220 hi\r\n"}, {Original, at(post + body), s + hi, body}}, "start-not-seen"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, checks := range []Checks{Normal, Strict} {
				g := newGateway(routed, Policy{Checks: checks})
				g.steps(tt.steps...)
				// The server continues as if all was well.
				next := [2]uint32{g.next(Original), g.next(Reply)}
				events := g.steps(step{Reply, next[1], next[0], "230 ok\r\n"}, step{Original, next[0], next[1] + 8, body})
				want := "foreign not-ftp"
				if tt.want != "" {
					want = "foreign " + tt.want
				}
				if slices.ContainsFunc(events, opens) || !slices.Contains(events, want) {
					t.Errorf("%v: events %q, want %q and nothing that opens", checks, events, want)
				}
			}
		})
	}
}

// TestForeignFirstLine: first lines that are not commands, and some that look
// like one.
func TestForeignFirstLine(t *testing.T) {
	foreign := func(line string) bool {
		g := newGateway(routed, Policy{})
		events := g.steps(step{Reply, 5000, 1000, "220 hi\r\n"}, step{Original, 1000, 5008, line + "\r\n"})
		return slices.Contains(events, "foreign not-ftp")
	}
	for _, method := range []string{"USER", "HELP", "NOOP", "FEAT", "PASS", "TYPE", "LIST", "STAT", "SITE", "PWD", "user", "GET", "POST", "XYZ"} {
		for _, version := range []string{"HTTP/1.1", "HTTP/1.0", "HTTP/2", "http/1.1", "RTSP/1.0", "SIP/2.0", "HTTP/1.1 "} {
			if line := method + " /x " + version; !foreign(line) {
				t.Errorf("%q counts as FTP", line)
			}
		}
	}
	for _, line := range []string{"Host: x", "User-Agent: y", "USER: x", "PRI * HTTP/2.0", "\x16\x03\x01", "CONNECT x:21 HTTP/1.1", "EHLO x", "PROXY TCP4 1.2.3.4"} {
		if !foreign(line) {
			t.Errorf("%q counts as FTP", line)
		}
	}
	for _, line := range []string{"USER anonymous", "user x", "AUTH TLS", "HOST ftp.example.com", "USER HTTP", "USER a@b:21", "USER HTTP/x", "FEAT", "CLNT x/1.1", "\xff\xf1USER x", "", "OPTS UTF8 ON"} {
		if foreign(line) {
			t.Errorf("%q does not count as FTP", line)
		}
	}
}

// TestHeaderBeforeLogin: a later line also gives away another protocol.
func TestHeaderBeforeLogin(t *testing.T) {
	for line, want := range map[string]bool{"Host: x": true, "Content-Length: 10": true, "PASS Host: x": false, "PASS x": false} {
		g := newGateway(routed, Policy{})
		talk(t, g, "S: 220 hi\nC: USER x\nC: "+line)
		if got := slices.Contains(g.log, "foreign not-ftp"); got != want {
			t.Errorf("%q after USER: %t, want %t", line, got, want)
		}
	}
	g := newGateway(routed, Policy{})
	talk(t, g, login+"C: CWD x HTTP/1.1\nC: Host: x")
	if len(g.log) > 0 {
		t.Errorf("after the login: %q", g.log)
	}
}

// TestForeignCancels: an open pinhole is closed when the connection turns out not
// to be FTP.
func TestForeignCancels(t *testing.T) {
	g := newGateway(routed, Policy{Checks: CheckFirstCommand})
	events := g.steps(step{Original, 1000, 5000, "PORT 192,168,1,5,200,10\r\nHost: x\r\n"})
	want := []string{"refused line-start-unknown PORT", "foreign not-ftp", "released not-ftp"}
	if d := cmp.Diff(want, events); d != "" {
		t.Errorf("a first line whose start nobody confirms (-want +got):\n%s", d)
	}
	g = newGateway(routed, Policy{Checks: CheckFirstCommand})
	events = g.steps(step{Reply, 5000, 1000, "220 hi\r\n"}, step{Original, 1000, 5008, "PORT 192,168,1,5,200,10\r\nHost: x\r\n"})
	want = []string{"offered PORT " + activeOffer, "cancelled not-ftp", "foreign not-ftp", "released not-ftp"}
	if d := cmp.Diff(want, events); d != "" {
		t.Errorf("a confirmed one (-want +got):\n%s", d)
	}
}

// TestTakenUpInTheMiddle: the start of a segment may be the middle of a line. An
// announcement in a file name that the receiver's window cuts out opens nothing;
// its numbers are translated nevertheless, and the next exchange is read again.
func TestTakenUpInTheMiddle(t *testing.T) {
	const port = "PORT 192,168,1,5,200,10\r\n"
	const pasv = "227 Entering Passive Mode (203,0,113,9,200,10).\r\n"
	active, passive := "offered PORT "+activeOffer, "offered 227 "+passiveOffer
	refused := func(v string) string { return "refused line-start-unknown " + v }
	for _, tt := range []struct {
		name  string
		lines []string // C or S, a bar, and the text
		want  []string
	}{
		{"a directory's name", []string{"C|PASV\r\n", "S|" + pasv}, []string{refused("227")}},
		{"a file's name", []string{"C|" + port, "S|200 ok\r\n"}, []string{refused("PORT")}},
		{"the next exchange", []string{"C|NOOP\r\n", "S|200 ok\r\n", "C|PASV\r\n", "S|" + pasv, "C|" + port}, []string{passive, active}},
		{"the next announcement", []string{"C|PASV\r\n", "S|" + pasv, "C|PASV\r\n", "S|" + pasv}, []string{refused("227"), passive}},
		{"the client's next line", []string{"C|" + port, "S|200 ok\r\n", "C|" + port}, []string{refused("PORT"), active}},
		{"half a line in flight", []string{"S|le.txt\r\n", "C|h/file\r\n", "S|200 ok\r\n", "C|PASV\r\n", "S|" + pasv}, []string{passive}},
		{"half a line, with the next", []string{"S|le.txt\r\n", "C|h\r\nPASV\r\n", "S|" + pasv}, []string{passive}},
		{"one side is known", []string{"S|200 ok\r\n", "C|" + port}, []string{refused("PORT")}},
		{"nothing from the other side yet", []string{"C|NOOP\r\n", "C|" + port}, []string{refused("PORT")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &gateway{c: NewConn(routed, &Policy{}, Options{AdjustBy: Kernel})}
			next := [2]uint32{7000, 0xfffffffe}
			for _, l := range tt.lines {
				d := Original
				if l[0] == 'S' {
					d = Reply
				}
				g.steps(step{d, next[d], next[1-d], l[2:]})
				next[d] += uint32(len(l[2:]))
			}
			if d := cmp.Diff(tt.want, g.log); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
		})
	}
}

// TestTranslatedWithoutHole: an announcement whose start is a guess is
// translated.
func TestTranslatedWithoutHole(t *testing.T) {
	g := &gateway{c: NewConn(both, &Policy{}, Options{AdjustBy: Kernel})}
	out := g.segment(Original, 1000, []byte("PORT 192,168,1,5,200,10\r\n"))
	if len(out) != 1 || string(out[0].p) != "PORT 10,0,0,1,200,10\r\n" || !slices.Equal(g.log, []string{"refused line-start-unknown PORT"}) {
		t.Errorf("%q became %+v", g.log, out)
	}
}

// TestForgedSegments: an attacker who knows addresses and ports but no sequence
// number changes nothing, whatever he sends: neither in a session whose numbers
// the kernel does not check, nor in one whose numbers are not known yet.
func TestForgedSegments(t *testing.T) {
	const pasv = "227 Entering Passive Mode (203,0,113,9,200,10).\r\n"
	forged := func(i int) []step {
		n := uint32(i)*0x9e3779b1 + 0x40000000
		return []step{
			{Original, n, n * 3, "x\r\nPORT 192,168,1,5,200,10\r\nPORT 192,168,1,5,200,10\r\n"}, {Reply, n * 5, n * 7, "x\r\n" + pasv + pasv},
			{Original, n, n * 3, ""}, {Reply, n * 5, n * 7, ""},
		}
	}
	for _, started := range []bool{true, false} {
		g := &gateway{c: NewConn(routed, &Policy{}, Options{AdjustBy: Kernel, Started: started})}
		next := [2]uint32{7000, 900}
		say := func(d Direction, text string) {
			g.steps(step{d, next[d], next[1-d], text})
			next[d] += uint32(len(text))
		}
		if started {
			say(Reply, "220 hi\r\n")
		}
		for i := range 200 {
			before := len(g.log)
			if i >= 2 || !started {
				g.steps(forged(i)...)
			}
			if slices.ContainsFunc(g.log[before:], opens) {
				t.Fatalf("started %t: a forged segment opens: %q", started, g.log[before:])
			}
			say(Original, "USER x\r\n")
			say(Reply, "230 in\r\n")
			say(Original, "NOOP\r\n")
			say(Reply, "200 ok\r\n")
			before = len(g.log)
			say(Original, "PASV\r\n")
			say(Reply, pasv)
			if want := []string{"offered 227 " + passiveOffer}; !slices.Equal(g.log[before:], want) {
				t.Fatalf("started %t, after %d times: %q", started, i, g.log[before:])
			}
		}
	}
}

// TestKeepAliveFirst: a keep-alive probe of a client that has said nothing yet,
// with a byte of its own before the first one, as Windows sends it.
func TestKeepAliveFirst(t *testing.T) {
	g := newGateway(routed, Policy{})
	events := g.steps(step{Reply, 5000, 1000, "220 hi\r\n"}, step{Original, 999, 5008, "\x00"}, step{Original, 1000, 5008, "USER x\r\n"},
		step{Reply, 5008, 1008, "230 in\r\n"}, step{Original, 1008, 5016, "PORT 192,168,1,5,200,10\r\n"})
	if want := []string{"offered PORT " + activeOffer}; !slices.Equal(events, want) {
		t.Errorf("events %q", events)
	}
}

// TestDeniedBeforeStart: a denied command that the client sends after what
// follows it must not pass as a retransmission.
func TestDeniedBeforeStart(t *testing.T) {
	g := newGateway(routed, Policy{Deny: map[string]bool{"SITE": true}})
	var got []segment
	for _, s := range []step{{Original, 1010, 5000, "NOOP\r\n"}, {Original, 1000, 5000, "SITE x y\r\n"}} {
		g.c.received(Reply, s.seq, s.ack)
		got = append(got, g.segment(s.d, s.seq, []byte(s.text))...)
	}
	for _, s := range got {
		if strings.Contains(string(s.p), "SITE") {
			t.Errorf("the server got %q", s.p)
		}
	}
}

// TestGreetings tests the first words of servers.
func TestGreetings(t *testing.T) {
	const port = "\nC: PORT 192,168,1,5,200,10"
	offered := []string{"offered PORT " + activeOffer}
	runDialogues(t, "", []dialogueTest{
		{name: "no login", ep: routed, lines: "S: 230 in\nC: PWD\nS: 257 /" + port, want: offered},
		{name: "no login, strict", ep: routed, policy: with(Strict), lines: "S: 230 in\nC: PWD\nS: 257 /" + port, want: offered},
		{name: "many lines, no login", ep: routed, policy: with(Strict), lines: "S: 230-hi\nS: 230 in\nC: PWD\nS: 257 /" + port, want: offered},
		{name: "cut inside its code", ep: routed, lines: "S: 2\\\nS: 20 ready\nC: USER x\nS: 230 in" + port, want: offered},
		{name: "in single letters", ep: routed, lines: "S: 2\\\nS: 2\\\nS: 0\\\nS:  x\nC: USER x\nS: 230 in" + port, want: offered},
		{name: "230 later is none", ep: routed, lines: "S: 554 no\nS: 230 in\nC: NOOP" + port, want: []string{"refused no-greeting PORT"}},
	})
}

// TestState: an engine that continues from another one's state behaves as that
// one, wherever the dialogue was cut.
func TestState(t *testing.T) {
	lines := strings.Split("S: 220 ready\nC: USER x\nS: 331 password\nC: PASS x\nS: 230-in\nS: 230 in\nC: PASV\nS: 227 (203,0,113,9,200,10)\nC: PORT 192,168,1,5,200,10\nS: 200 ok", "\n")
	want := []string{"offered 227 " + passiveOffer, "offered PORT " + activeOffer}
	for cut := range len(lines) + 1 {
		g := newGateway(routed, Policy{Checks: Normal | CheckLogin})
		next := [2]uint32{1000, 5000}
		for i, l := range lines {
			if i == cut {
				state := g.c.State()
				g.c = NewConn(routed, g.c.policy, Options{AdjustBy: Kernel})
				g.c.Continue(&state, true)
			}
			d, p := parseLine(t, l)
			g.steps(step{d, next[d], next[1-d], string(p)})
			next[d] += uint32(len(p))
		}
		if d := cmp.Diff(want, g.log); d != "" && cut > 1 {
			t.Errorf("cut before line %d (-want +got):\n%s", cut, d)
		}
	}
}

// TestStateOfForeign: a connection judged not to be FTP stays so.
func TestStateOfForeign(t *testing.T) {
	g := newGateway(routed, Policy{})
	g.steps(step{Reply, 5000, 1000, "220 hi\r\n"}, step{Original, 1000, 5008, post})
	state := g.c.State()
	g = &gateway{c: NewConn(routed, &Policy{}, Options{})}
	g.c.Continue(&state, true)
	n := 1000 + uint32(len(post))
	events := g.steps(step{Original, n, 5008, body}, step{Reply, 5008, n + uint32(len(body)), "200 ok\r\n"}, step{Original, n + uint32(len(body)), 5016, body})
	if want := []string{"refused not-ftp PORT", "refused not-ftp PORT"}; !slices.Equal(events, want) {
		t.Errorf("events %q", events)
	}
}

// TestBeginningPassed: the client's first line passed between two engines, or while our
// rules were missing. What follows is read, and opens something behind a line end that
// was seen.
func TestBeginningPassed(t *testing.T) {
	const c, s = 1000, 5000
	greeting, user, asked, pass, in := "220 ready\r\n", "USER x\r\n", "331 password\r\n", "PASS x\r\n", "230 in\r\n"
	at := func(base int, lines ...string) uint32 { return uint32(base + len(strings.Join(lines, ""))) }
	greeted := []step{{Reply, s, c, greeting}}
	userStep := step{Original, c, at(s, greeting), user}
	askedStep := step{Reply, at(s, greeting), at(c, user), asked}
	passStep := step{Original, at(c, user), at(s, greeting, asked), pass}
	for _, tt := range []struct {
		name          string
		before, after []step
	}{
		{"nothing passed", greeted, []step{userStep, askedStep, passStep}},
		{"its first line passed", greeted, []step{passStep}},
		{"and was answered", greeted, []step{askedStep, passStep}},
		{"and is repeated when it was", greeted, []step{askedStep, userStep, passStep}},
		{"and is repeated after what follows", greeted, []step{passStep, userStep}},
		{"the greeting passed, too", nil, []step{askedStep, passStep}},
		{"and the client speaks first", nil, []step{passStep}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(routed, Policy{})
			g.steps(tt.before...)
			state := g.c.State()
			next := &gateway{c: NewConn(routed, &Policy{}, Options{})}
			next.c.Continue(&state, true)
			g.c.Missed()
			n := [2]uint32{at(c, user, pass), at(s, greeting, asked, in)}
			steps := append(tt.after, step{Reply, at(s, greeting, asked), n[0], in},
				step{Original, n[0], n[1], "NOOP\r\n"}, step{Reply, n[1], n[0] + 6, "200 ok\r\n"},
				step{Original, n[0] + 6, n[1] + 8, "PORT 192,168,1,5,200,10\r\n"})
			for name, g := range map[string]*gateway{"another engine": next, "no rules": g} {
				if events, want := g.steps(steps...), []string{"offered PORT " + activeOffer}; !slices.Equal(events, want) {
					t.Errorf("%s: events %q", name, events)
				}
			}
		})
	}
}

// TestStateGap: bytes passed between the two engines, and reading continues in
// the middle of a line.
func TestStateGap(t *testing.T) {
	for _, missed := range []string{"", "NOOP\r\n", "CWD x"} {
		g := newGateway(routed, Policy{})
		talk(t, g, login)
		state := g.c.State()
		at := [2]uint32{g.next(Original) + uint32(len(missed)), g.next(Reply)}
		g = &gateway{c: NewConn(routed, &Policy{}, Options{})}
		g.c.Continue(&state, true)
		events := g.steps(step{Original, at[0], at[1], "PORT 192,168,1,5,200,10\r\n"})
		if want := missed == ""; slices.ContainsFunc(events, opens) != want {
			t.Errorf("%q missed: %q", missed, events)
		}
	}
}

// TestStateRepeatedEdit: a segment that the previous engine changed is
// retransmitted, alone or after others, and is changed in the same way.
func TestStateRepeatedEdit(t *testing.T) {
	const noop, port = "NOOP\r\n", "PORT 192,168,1,5,200,10\r\n"
	for _, again := range []string{port, noop + port, ""} {
		for _, delta := range []Endpoints{snat, shrinkActive, both} {
			line := strings.Replace(port, "192,168,1,5", strings.ReplaceAll(delta.Client.Addr().String(), ".", ","), 1)
			again := strings.Replace(again, port, line, 1)
			g := newGateway(delta, Policy{})
			talk(t, g, login)
			start := g.next(Original)
			g.segment(Original, start, []byte(noop))
			once := g.segment(Original, start+uint32(len(noop)), []byte(line))
			state, kernel := g.c.State(), g.kernel
			next := &gateway{kernel: g.kernel, c: NewConn(delta, &Policy{}, Options{AdjustBy: Kernel, Adjusted: [2]Adjustment{g.kernel[0].adj, g.kernel[1].adj}})}
			next.c.Continue(&state, true)
			end := start + uint32(len(noop)+len(line))
			if again != "" {
				next.steps(step{Original, end - uint32(len(again)), g.next(Reply), again})
				out := next.segment(Original, end-uint32(len(again)), []byte(again))
				whole := segment{once[0].seq, once[0].p}
				if strings.HasPrefix(again, noop) {
					whole = segment{whole.seq - uint32(len(noop)), append([]byte(noop), whole.p...)}
				}
				if d := cmp.Diff([]segment{whole}, out, cmp.AllowUnexported(segment{})); d != "" {
					t.Errorf("%q repeated (-once +again):\n%s", again, d)
				}
			}
			if next.kernel != kernel {
				t.Errorf("the kernel was told again: %+v, was %+v", next.kernel, kernel)
			}
			acked(next.c, Original, once[0].seq+uint32(len(once[0].p)))
			next.steps(step{Original, end, g.next(Reply), line}, step{Reply, g.next(Reply), end + uint32(len(line)), "200 ok\r\n"})
			if n := len(next.log); n == 0 || !strings.HasPrefix(next.log[n-1], "offered PORT") {
				t.Errorf("%q again, the next one: %q", again, next.log)
			}
		}
	}
}

// TestExamples: each kind of command is handed over as itself.
func TestExamples(t *testing.T) {
	for c := range cmdMany {
		if cmd, _, _ := parseCommand([]byte((&entry{cmd: c}).example())); cmd != c {
			t.Errorf("%q is %d, want %d", (&entry{cmd: c}).example(), cmd, c)
		}
	}
}

// TestManyAhead: commands before one that asks for a port are counted even when
// too many to remember each.
func TestManyAhead(t *testing.T) {
	for _, n := range []int{1, 63, 64, 65, 200, 2000} {
		for _, refused := range []bool{false, true} {
			lines, replies := "", ""
			for i := range n {
				lines += fmt.Sprintf("C: CWD %d\n", i)
				replies += "S: 250 ok\n"
			}
			want := []string{"offered 227 " + passiveOffer}
			last := "S: 227 (203,0,113,9,200,10)\n"
			if refused {
				last, want = "S: 500 no\n"+last, []string{"refused unasked-reply 227"}
			}
			g := newGateway(routed, Policy{})
			talk(t, g, login+lines+"C: PASV\n"+replies+last)
			if d := cmp.Diff(want, g.log); d != "" {
				t.Errorf("%d ahead, refused %t (-want +got):\n%s", n, refused, d)
			}
		}
	}
}

// TestManyPortsAhead: seventeen announcements before the server answers. The next
// one can be changed once the first has arrived, which the engine asks the
// receiver about.
func TestManyPortsAhead(t *testing.T) {
	g := newGateway(snat, Policy{})
	talk(t, g, login)
	start := g.next(Original)
	g.acks = nil
	seq, asked := start, 0
	rcv := &receiver{t: t, base: g.c.stream[Original].position(start)}
	for i := range 40 {
		line := fmt.Appendf(nil, "PORT 192,168,1,5,200,%d\r\n", i)
		for {
			dec := take(g.c, Original, seq, line)
			if dec.Action == Forward {
				if r := g.c.Announce(dec.Events[0].Offer, dec.Events[0].Offer.Announced.Port()); r != ReasonPlain {
					t.Fatalf("line %d: %v", i, r)
				}
				rcv.take(g.send(Original, seq, line))
				break
			}
			if !dec.Ask {
				t.Fatalf("line %d waits without a question: %+v", i, dec)
			}
			asked++
			acked(g.c, Original, rcv.base+uint32(rcv.next()))
		}
		seq += uint32(len(line))
	}
	if asked == 0 || asked > 3 {
		t.Errorf("asked %d times", asked)
	}
}

// TestHeld: twenty long lines each way leave a few kilobytes in a session.
func TestHeld(t *testing.T) {
	for _, policy := range []Policy{{}, {Checks: Strict}, {Repair: RepairAll, Deny: map[string]bool{"SITE": true}}} {
		for name, line := range map[string][2]string{
			"spaces before": {"PORT " + strings.Repeat(" ", 4000) + "192,168,1,5,200,%d", "227 " + strings.Repeat("x", 4000) + " (203,0,113,9,200,%d)"},
			"spaces behind": {"PORT 192,168,1,5,200,%d" + strings.Repeat(" ", 4000), "227 (203,0,113,9,200,%d) " + strings.Repeat("x", 4000)},
			"no offers":     {"SITE %d" + strings.Repeat("x", 4000), "500 %d" + strings.Repeat("x", 4000)},
		} {
			g := newGateway(shrinkActive, policy)
			talk(t, g, login)
			if strings.HasPrefix(line[0], "PORT") {
				line[0] = strings.Replace(line[0], "192,168,1,5", "192,168,100,200", 1)
			}
			next := [2]uint32{g.next(Original), g.next(Reply)}
			for i := range 20 {
				for d, text := range []string{"PASV\r\n" + fmt.Sprintf(line[0], i) + "\r\n", fmt.Sprintf(line[1], i) + "\r\n200 ok\r\n"} {
					for len(text) > 0 { // in segments
						n := min(len(text), 1460)
						g.acks = nil
						g.c.received(Direction(1-d), next[d], next[1-d])
						g.segment(Direction(d), next[d], []byte(text[:n]))
						next[d] += uint32(n)
						text = text[n:]
					}
				}
			}
			limit := 8 << 10
			if policy.Checks == Strict {
				limit += 2 * maxHistory
			}
			if n := g.c.Held(); n > limit {
				t.Errorf("%s, %v: %d bytes are held", name, policy.Checks, n)
			}
		}
	}
}
