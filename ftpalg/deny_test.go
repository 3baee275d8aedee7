// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"fmt"
	"strings"
	"testing"
)

func allow(verbs ...string) map[string]bool {
	m := map[string]bool{}
	for _, v := range verbs {
		m[v] = true
	}
	return m
}

// TestDenied tests commands that the administrator's policy denies.
func TestDenied(t *testing.T) {
	deniedBy := func(r Reason) []string { return []string{"denied " + r.String()} }
	exe := func(a FileActions, fold bool) Policy {
		return Policy{Files: []FileRule{{Patterns: []string{"*.exe", "s?cret"}, Actions: a, FoldCase: fold}}}
	}
	for name, tests := range map[string][]struct {
		policy Policy
		ep     Endpoints
		line   string
		want   []string
		server string
	}{
		"subcommands of SITE": {
			{policy: Policy{Deny: allow("SITE CHMOD")}, line: "site chmod 777 x", want: deniedBy(ReasonCommandDenied), server: "XXXX chmod 777 x"},
			{policy: Policy{Deny: allow("SITE CHMOD")}, line: "SITE\tCHMOD", want: deniedBy(ReasonCommandDenied), server: "XXXX\tCHMOD"},
			{policy: Policy{Deny: allow("SITE CHMOD")}, line: `SITE CH\xff\xf1MOD x`, want: deniedBy(ReasonCommandDenied), server: "XXXX CH\xff\xf1MOD x"},
			{policy: Policy{Deny: allow("SITE CHMOD")}, line: "SITE CHMODX x", server: "SITE CHMODX x"},
			{policy: Policy{Deny: allow("SITE CHMOD")}, line: "SITE HELP", server: "SITE HELP"},
			{policy: Policy{Deny: allow("SITE CHMOD")}, line: "SITE", server: "SITE"},
		},
		"allowed commands": {
			{policy: Policy{Allow: allow("RETR", "SITE UTIME")}, line: "RETR x", server: "RETR x"},
			{policy: Policy{Allow: allow("RETR")}, line: "REST 5", want: deniedBy(ReasonCommandDenied), server: "XXXX 5"},
			{policy: Policy{Allow: allow("RETR")}, line: "WHATEVER", want: deniedBy(ReasonCommandDenied), server: "XXXXXXXX"},
			{policy: Policy{Allow: allow("RETR", "SITE UTIME")}, line: "SITE utime x", server: "SITE utime x"},
			{policy: Policy{Allow: allow("RETR", "SITE UTIME")}, line: "SITE CHMOD x", want: deniedBy(ReasonCommandDenied), server: "XXXX CHMOD x"},
			{policy: Policy{Allow: allow("SITE")}, line: "SITE CHMOD x", server: "SITE CHMOD x"},
			{policy: Policy{Allow: allow("SITE"), Deny: allow("SITE CHMOD")}, line: "SITE CHMOD x", want: deniedBy(ReasonCommandDenied), server: "XXXX CHMOD x"},
			{policy: Policy{Allow: allow("PASV")}, line: "P@SW", server: "P@SW"},
		},
		"modes": {
			{policy: Policy{NoActive: true}, ep: snat, line: "PORT 192,168,1,5,200,10", want: deniedBy(ReasonMode), server: "XXXX 192,168,1,5,200,10"},
			{policy: Policy{NoActive: true}, ep: snat, line: "eprt |1|192.168.1.5|51210|", want: deniedBy(ReasonMode), server: "XXXX |1|192.168.1.5|51210|"},
			{policy: Policy{NoActive: true}, line: "PASV", server: "PASV"},
			{policy: Policy{NoPassive: true}, line: "PASV", want: deniedBy(ReasonMode), server: "XXXX"},
			{policy: Policy{NoPassive: true}, line: "P@SW", want: deniedBy(ReasonMode), server: "XXXX"},
			{policy: Policy{NoPassive: true}, line: "EPSV ALL", want: deniedBy(ReasonMode), server: "XXXX ALL"},
			{policy: Policy{NoPassive: true}, line: "SPSV", want: deniedBy(ReasonMode), server: "XXXX"},
		},
		"families": {
			{policy: Policy{NoIPv4: true}, line: "EPSV", want: deniedBy(ReasonFamilyDenied), server: "XXXX"},
			{policy: Policy{NoIPv6: true}, line: "EPSV", server: "EPSV"},
			{policy: Policy{NoIPv6: true}, ep: routed6, line: "EPRT |2|fd77::2|51210|", want: deniedBy(ReasonFamilyDenied), server: "XXXX |2|fd77::2|51210|"},
		},
		"anonymous": {
			{policy: Policy{Anonymous: AnonymousNever}, line: "USER Anonymous", want: deniedBy(ReasonAnonymous), server: "XXXX Anonymous"},
			{policy: Policy{Anonymous: AnonymousNever}, line: `USER ftp \0x`, want: deniedBy(ReasonAnonymous), server: "XXXX ftp \x00x"},
			{policy: Policy{Anonymous: AnonymousNever}, line: "USER ftpadmin", server: "USER ftpadmin"},
			{policy: Policy{Anonymous: AnonymousOnly}, line: "USER ftp", server: "USER ftp"},
			{policy: Policy{Anonymous: AnonymousOnly}, line: "USER root", want: deniedBy(ReasonAnonymous), server: "XXXX root"},
			{policy: Policy{Anonymous: AnonymousOnly}, line: `USER ftp\0root`, want: deniedBy(ReasonAnonymous), server: "XXXX ftp\x00root"},
			{policy: Policy{Anonymous: AnonymousOnly}, line: "USER", want: deniedBy(ReasonAnonymous), server: "XXXX"},
		},
		"lengths": {
			{policy: Policy{MaxLine: 10}, line: "NOOP 12345", server: "NOOP 12345"},
			{policy: Policy{MaxLine: 10}, line: "NOOP 123456", want: deniedBy(ReasonLength), server: "XXXX 123456"},
			{policy: Policy{MaxArgument: 3}, line: "HELP  abcd", want: deniedBy(ReasonLength), server: "XXXX  abcd"},
			{policy: Policy{MaxArgument: 3}, line: "HELP  abc", server: "HELP  abc"},
			{policy: Policy{MaxPath: 3}, line: "MKD abcd", want: deniedBy(ReasonLength), server: "XXX abcd"},
			{policy: Policy{MaxPath: 3}, line: "HELP abcd", server: "HELP abcd"},
		},
		"files": {
			{policy: exe(0, false), line: "STOR dir.exe/a", server: "STOR dir.exe/a"},
			{policy: exe(0, false), line: "STOR dir/a.exe", want: deniedBy(ReasonFileDenied), server: "XXXX dir/a.exe"},
			{policy: exe(0, false), line: "STOR dir/a.EXE", server: "STOR dir/a.EXE"},
			{policy: exe(0, true), line: "STOR dir/a.EXE", want: deniedBy(ReasonFileDenied), server: "XXXX dir/a.EXE"},
			{policy: exe(0, false), line: `RETR x\a.exe`, want: deniedBy(ReasonFileDenied), server: `XXXX x\a.exe`},
			{policy: exe(0, false), line: "RETR a.exe. .", want: deniedBy(ReasonFileDenied), server: "XXXX a.exe. ."},
			{policy: exe(0, false), line: `RETR a.exe\0b`, want: deniedBy(ReasonFileDenied), server: "XXXX a.exe\x00b"},
			{policy: exe(0, false), line: `RETR s\xffcret`, server: `RETR s` + "\xffcret", want: deniedBy(ReasonFileDenied)},
			{policy: exe(0, false), line: "DELE a.exe/", want: deniedBy(ReasonFileDenied), server: "XXXX a.exe/"},
			{policy: exe(FileUpload, false), line: "RETR a.exe", server: "RETR a.exe"},
			{policy: exe(FileUpload, false), line: "APPE a.exe", want: deniedBy(ReasonFileDenied), server: "XXXX a.exe"},
			{policy: exe(FileRename, false), line: "RNTO a.exe", want: deniedBy(ReasonFileDenied), server: "XXXX a.exe"},
			{policy: exe(FileRename|FileDelete, false), line: "RMD a.exe", want: deniedBy(ReasonFileDenied), server: "XXX a.exe"},
			{policy: exe(0, false), line: "CWD a.exe", server: "CWD a.exe"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, tt := range tests {
				if !tt.ep.Client.IsValid() {
					tt.ep = routed
				}
				// Once in one piece, and once with its sender writing byte by byte.
				runDialogues(t, "", []dialogueTest{{name: tt.line, ep: tt.ep, policy: tt.policy, begun: true,
					lines: "S: 200 ok\nC: " + tt.line, want: tt.want, server: strings.Replace(tt.server, "RETR s\xff", "XXXX s\xff", 1)}})
				t.Run("in pieces", func(t *testing.T) { deniedInPieces(t, tt.ep, tt.policy, tt.line, len(tt.want) > 0) })
			}
		})
	}
}

// deniedInPieces sends a line cut in two at every place, again and again: if it
// is denied its verb must not pass, otherwise all of it must in the end.
func deniedInPieces(t *testing.T, ep Endpoints, policy Policy, line string, denied bool) {
	text := []byte(unescape(line) + "\r\n")
	front := len(text) - len(strings.TrimLeft(string(text), " \x00"))
	for cut := front + 1; cut < len(text); cut++ {
		g := newGateway(ep, policy).midway()
		rcv := &receiver{t: t}
		g.acks = func(d Direction) uint32 { return uint32(rcv.next()) }
		for range 3 {
			for _, out := range g.segment(Original, 0, text[:cut]) {
				rcv.take(out)
			}
			g.timeout(Original)
		}
		for _, out := range g.segment(Original, 0, text) {
			rcv.take(out)
		}
		if got := string(rcv.buf); len(got) != len(text) || strings.HasPrefix(got, "X") != denied {
			t.Errorf("cut at %d the server got %q", cut, got)
		}
		if got := len(g.log); got != 0 && !denied {
			t.Errorf("cut at %d: %q", cut, g.log)
		}
	}
}

// TestDeniedLong: a line that is too long to be read does not pass where it may
// be a denied one, and passes where it cannot.
func TestDeniedLong(t *testing.T) {
	files := Policy{Files: []FileRule{{Patterns: []string{"*.exe"}}}}
	for _, tt := range []struct {
		policy Policy
		verb   string
		denied bool
	}{
		{files, "STOR ", true}, {files, "CWD ", false}, {Policy{MaxArgument: 5000}, "CWD ", true},
		{Policy{Anonymous: AnonymousNever}, "USER ", true}, {Policy{Anonymous: AnonymousNever}, "PASS ", false},
	} {
		text := []byte(tt.verb + strings.Repeat("a/", 3000) + "x.exe\r\n")
		for _, size := range []int{1000, 4096, 8000} {
			t.Run(fmt.Sprint(tt.verb, size), func(t *testing.T) {
				g := newGateway(routed, tt.policy).midway()
				rcv := &receiver{t: t}
				g.acks = func(d Direction) uint32 { return uint32(rcv.next()) }
				for at := 0; at < len(text); at += size {
					for _, out := range g.segment(Original, uint32(at), text[at:min(at+size, len(text))]) {
						rcv.take(out)
					}
				}
				if got := string(rcv.buf); len(got) != len(text) || strings.HasPrefix(got, "X") != tt.denied {
					t.Errorf("the server got %q... (%d bytes)", got[:min(10, len(got))], len(got))
				}
			})
		}
	}
}

// TestTLSRequired: a login without TLS fails, with an error that says why.
func TestTLSRequired(t *testing.T) {
	policy := Policy{RequireTLS: true}
	refused := []string{"denied tls-required"}
	runDialogues(t, "S: 220 hi\n", []dialogueTest{
		{name: "USER", ep: routed, policy: policy, lines: "C: USER me\nS: 500 Unknown command.", want: refused, server: "XXXX me", client: "500 TLS is required "},
		{name: "long words", ep: routed, policy: policy, lines: "C: USER me\nS: 530 Please login with USER and PASS, or do not.", want: refused,
			client: "530 TLS is required here, use AUTH TLS         "},
		{name: "few words", ep: routed, policy: policy, lines: "C: USER me\nS: 500 Unknown", want: refused, client: "500 Use TLS"},
		{name: "no words", ep: routed, policy: policy, lines: "C: USER me\nS: 500 no", want: refused, client: "500 no"},
		{name: "several lines", ep: routed, policy: policy, lines: "C: USER me\nS: 500-Unknown\nS: 500 Try HELP for a list", want: refused,
			client: "500-Unknown\r\n500 TLS is required    "},
		{name: "in pieces", ep: routed, policy: policy, lines: "C: USER me\nS: 500 OO\\\nS: PS: what is this\\\nS:  then?", want: refused,
			client: "500 TLS is required         "},
		{name: "a banner that is late", ep: routed, policy: policy, lines: "C: USER me\nS: 220 Welcome to this\nS: 500 Unknown command", want: refused,
			client: "220 Welcome to this\r\n500 Unknown command"},
		{name: "USER and PASS ahead", ep: routed, policy: policy, lines: "C: USER me\nC: PASS x\nS: 500 Unknown command\nS: 500 Unknown command",
			want: []string{"denied tls-required", "denied tls-required"}, server: "XXXX me\r\nXXXX x", client: "500 TLS is required\r\n500 TLS is required"},
		{name: "others", ep: routed, policy: policy, lines: "C: FEAT\nS: 500 Unknown command", client: "500 Unknown command"},
		{name: "encrypted", ep: routed, policy: policy, lines: "C: AUTH TLS\nS: 234 go\nC: USER me", want: []string{"opaque"}, server: "USER me"},
	})
}

// TestDeniedOffers tests announcements that the policy does not permit, though no
// command was denied.
func TestDeniedOffers(t *testing.T) {
	ports := Policy{ActivePorts: PortRange{2000, 3000}, PassivePorts: PortRange{51210, 51211}}
	lenient := func(p Policy) Policy { p.Checks = Lenient; return p }
	runDialogues(t, login, []dialogueTest{
		{name: "a port of the client", ep: routed, policy: ports, lines: "C: PORT 192,168,1,5,200,10", want: []string{"refused port-out-of-range PORT"}},
		{name: "a port of the server", ep: routed, policy: ports, lines: "C: PASV\nS: 227 (203,0,113,9,200,10)", want: []string{"offered 227 " + passiveOffer}},
		{name: "another port of the server", ep: routed, policy: ports, lines: "C: PASV\nS: 227 (203,0,113,9,200,12)", want: []string{"refused port-out-of-range 227"}},
		{name: "passive, unasked", ep: routed, policy: lenient(Policy{NoPassive: true}), lines: "S: 227 (203,0,113,9,200,10)", want: []string{"refused mode-denied 227"}},
		{name: "family, unasked", ep: routed, policy: lenient(Policy{NoIPv4: true}), lines: "S: 227 (203,0,113,9,200,10)", want: []string{"refused family-denied 227"}},
	})
}

// TestMatches tests patterns of file names.
func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		fold, want    bool
	}{
		{"", "", false, true}, {"", "a", false, false}, {"*", "", false, true}, {"?", "", false, false}, {"?", "\xfe", false, true},
		{"?", "é", false, false}, {"??", "é", false, true}, {"a*b*c", "aXbbc", false, true}, {"a*b*c", "aXbbcd", false, false},
		{"*.exe", ".exe", false, true}, {"*.EXE", "x.exe", true, true}, {"[a]", "[A]", true, true}, {"[a]", "{A}", true, false},
		{"É", "é", true, false}, {"**a**", "bab", false, true}, {strings.Repeat("*a", 50) + "b", strings.Repeat("a", 4000), false, false},
	} {
		if got := matches(tt.pattern, []byte(tt.name), tt.fold); got != tt.want {
			t.Errorf("%q matches %q (fold %t): %t, want %t", tt.pattern, tt.name, tt.fold, got, tt.want)
		}
	}
}

// TestDeniedInAnyReading: a name is denied in every spelling that a server
// accepts for it.
func TestDeniedInAnyReading(t *testing.T) {
	p := Policy{Files: []FileRule{{Patterns: []string{"*.exe"}}}}
	for _, tt := range []struct {
		path string
		want bool
	}{
		{"a.exe", true}, {"/d/a.exe", true}, {"a.exe/", true}, {"a.exe. ", true}, {"a.exe\x00.txt", true}, {"a.exe\\", true}, {"d\\a.exe", true},
		{"a.exe/.", true}, {"a.exe/./", true}, {"a.exe/. ", true}, {"a.exe/d/..", true}, {"a.exe/d/e/../../", true}, {"a.exe/d/.././/e/..", true},
		{"a.exe\\d\\..", true}, {"a.exe/..\\d/..", true}, {"a.exe/.\x00", true},
		{"", false}, {".", false}, {"..", false}, {"/", false}, {"a.exe/..", false}, {"a.exe/../b", false}, {"a.exe/b", false}, {"../../..", false},
	} {
		if _, got := p.deniedFile(FileRename, []byte(tt.path)); got != tt.want {
			t.Errorf("%q is denied: %t, want %t", tt.path, got, tt.want)
		}
	}
}

// TestDeniedCommandIsNamed: the log can name the denied command.
func TestDeniedCommandIsNamed(t *testing.T) {
	for _, tt := range []struct {
		policy Policy
		line   string
		want   string
	}{
		{Policy{Deny: map[string]bool{"DELE": true}}, "dele x\r\n", "DELE"},
		{Policy{Allow: map[string]bool{"USER": true}}, "SYST\r\n", "SYST"},
		{Policy{NoActive: true}, "PORT 192,168,1,5,200,10\r\n", "PORT"},
		{Policy{NoIPv4: true}, "EPSV\r\n", "EPSV"},
	} {
		c := terms{ep: routed, policy: &tt.policy}
		cmd, v, _ := parseVerb([]byte(tt.line))
		if why, rule := c.deniedVerb(cmd, &v); why == ReasonPlain || rule != tt.want {
			t.Errorf("%q is denied by %q for %s, want %q", tt.line, rule, why, tt.want)
		}
	}
}
