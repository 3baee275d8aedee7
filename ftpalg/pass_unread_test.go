// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"strings"
	"testing"
)

const loggedIn = `
	S: 220 ready
	C: USER me
	S: 331 password
	C: PASS x
	S: 230 in
`

// TestUnreadLines runs dialogues twice, with the last lines read and unread: the
// engine must be in the same state afterwards. want is how many may pass unread.
func TestUnreadLines(t *testing.T) {
	for _, tt := range []struct {
		name, read, unread string
		want               int
	}{
		{"a transfer", "", "C: RETR f\nS: 150 coming\nS: 226 done", 3},
		{"a transfer in progress", "", "C: stor f\nS: 125 coming", 2},
		{"one just asked for", "", "C: LIST", 1},
		{"one that fails", "", "C: RETR f\nS: 550 no", 2},
		{"asks for a port", "", "C: NOOP\nS: 200 ok\nC: PASV", 3},
		{"asks for an extended port", "", "C: EPSV", 1},
		{"its reply", "C: EPSV", "S: 229 (|||2000|)", 0},
		{"of one family", "", "C: EPSV 1", 0},
		{"nothing else", "", "C: EPSV ALL", 0},
		{"the reply to an offer", "C: PORT 192,168,1,5,10,10", "S: 200 ok\nC: RETR f\nS: 150 x\nS: 226 y", 4},
		{"an offer is rejected", "C: PORT 192,168,1,5,10,10", "S: 500 no", 0},
		{"no data connection", "C: RETR f", "S: 425 no", 0},
		{"goodbye", "", "S: 421 bye", 0},
		{"an offer", "", "C: PORT 192,168,1,5,10,10", 0},
		{"quits", "", "C: QUIT", 0},
		{"logs in again", "", "C: USER you", 0},
		{"encrypts", "", "C: AUTH TLS", 0},
		{"two at once", "", "C: NOOP\nC: NOOP", 1},
		{"an answer to nothing", "", "S: 200 ok", 0},
		{"many lines", "C: STAT", "S: 211-here", 0},
		{"the last of them", "C: STAT\nS: 211-here", "S: 211 end", 0},
		{"begun twice", "C: RETR f\nS: 150 coming", "S: 150 again", 0},
		{"one that has not begun", "C: NOOP", "S: 150 what", 0},
		{"half a line", "", `C: NOOP\`, 0},
		{"a line end too many", "", `C: NOOP\r\r\n\`, 0},
		{"two lines", "", `C: NOOP\r\nNOOP\r\n\`, 0},
		{"LF alone", "", `C: NOOP\n\`, 0},
		{"Telnet", "", `C: NOOP \xff\xf4`, 0},
		{"NUL", "", `C: NOOP \0`, 0},
		{"a longer word", "", "C: NOOPS", 0},
		{"a tab", "", "C: NOOP\tx", 0},
		{"no word", "", "C: 12", 0},
		{"three letters", "", "C: PWD\nS: 257 /\nC: CWD /", 3},
		{"a bare code", "C: NOOP", "S: 200", 0},
		{"as long as may be", "", "C: CWD " + strings.Repeat("x", MaxUnread-6), 1},
		{"longer", "", "C: CWD " + strings.Repeat("x", MaxUnread-5), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, slow := newGateway(routed, Policy{}), newGateway(routed, Policy{})
			g.fast = true
			dialogue := loggedIn
			if tt.read != "" {
				dialogue += tt.read + "\n"
			}
			for _, g := range []*gateway{g, slow} {
				talk(t, g, dialogue)
			}
			before := g.passed
			g, slow = newGateway(routed, Policy{}), newGateway(routed, Policy{})
			g.fast = true
			for _, g := range []*gateway{g, slow} {
				talk(t, g, dialogue+tt.unread)
			}
			if got := g.passed - before; got != tt.want {
				t.Errorf("%d lines passed unread, want %d", got, tt.want)
			}
			if g.unread != nil {
				g.c.Passed(g.unread)
			}
			sameState(t, g.c, slow.c)
		})
	}
}

// sameState compares everything in two engines that later decisions depend on.
func sameState(t *testing.T, a, b *Conn) {
	t.Helper()
	if a.said != b.said || a.beginning != b.beginning || a.opaque != b.opaque {
		t.Errorf("said %+v, want %+v; began %+v, want %+v", a.said, b.said, a.beginning, b.beginning)
	}
	if pa, pb := a.pending.list, b.pending.list; len(pa) != len(pb) || len(pa) > 0 && pa[0] != pb[0] {
		t.Errorf("unanswered %+v, want %+v", pa, pb)
	}
	for d := range a.stream {
		x, y := &a.stream[d], &b.stream[d]
		if x.next != y.next || x.aligned != y.aligned || x.acked != y.acked || string(x.line) != string(y.line) {
			t.Errorf("direction %d: %+v, want %+v", d, x, y)
		}
	}
}

// TestRest: no line passes unread where the policy compares or denies, before the
// dialogue is known, or when the connection is encrypted.
func TestRest(t *testing.T) {
	for _, tt := range []struct {
		name, dialogue string
		policy         Policy
		want           bool
	}{
		{"logged in", loggedIn, Policy{}, true},
		{"nothing said", "", Policy{}, false},
		{"before the client spoke", "S: 220 ready", Policy{}, false},
		{"in the middle of the login", "S: 220 ready\nC: USER me\nS: 331 password\nC: PASS x", Policy{}, false},
		{"strict", loggedIn, Policy{Checks: Strict}, false},
		{"repeats", loggedIn, Policy{Checks: Normal | CheckRepeats}, false},
		{"a denied command", loggedIn, Policy{Deny: map[string]bool{"SITE": true}}, false},
		{"no encryption", loggedIn, Policy{DenyTLS: true}, false},
		{"encrypted", loggedIn + "C: AUTH TLS\nS: 234 go", Policy{}, false},
		{"half a line", loggedIn + `C: NO\`, Policy{}, false},
		{"many lines", loggedIn + "C: STAT\nS: 211-here", Policy{}, false},
		{"two unanswered", loggedIn + "C: SYST\nC: NOOP", Policy{}, false},
		{"a port asked for", loggedIn + "C: PASV", Policy{}, true},
	} {
		g := newGateway(routed, tt.policy)
		if tt.dialogue != "" {
			talk(t, g, tt.dialogue)
		}
		if _, ok := g.c.Rest(); ok != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, ok, tt.want)
		}
	}
	g := newGateway(routed, Policy{})
	talk(t, g, loggedIn)
	g.c.SetAdjustBy(Caller)
	if _, ok := g.c.Rest(); ok {
		t.Error("lines may pass although sequence numbers are adjusted here")
	}
}
