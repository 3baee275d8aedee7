// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "testing"

// TestCancelled tests replies and commands that void an offer, and others that do
// not.
func TestCancelled(t *testing.T) {
	const port = "C: PORT 192,168,1,5,200,10\n"
	const pasv = "C: PASV\nS: 227 (203,0,113,9,200,10)\n"
	active, passive := "offered PORT "+activeOffer, "offered 227 "+passiveOffer
	runDialogues(t, login, []dialogueTest{
		{name: "PORT rejected", ep: routed, lines: port + "S: 500 no", want: []string{active, "cancelled rejected-by-server"}},
		{name: "EPRT rejected with 522", ep: routed, lines: "C: EPRT |1|192.168.1.5|51210|\nS: 522 use (2)",
			want: []string{"offered EPRT " + activeOffer, "cancelled rejected-by-server"}},
		{name: "PORT accepted", ep: routed, lines: port + "S: 200 ok", want: []string{active}},
		{name: "first of two rejected", ep: routed, lines: port + port + "S: 500 no\nS: 200 ok", want: []string{active, active}},
		{name: "second of two rejected", ep: routed, lines: port + port + "S: 200 ok\nS: 500 no",
			want: []string{active, active, "cancelled rejected-by-server"}},
		{name: "a refused offer rejected", ep: routed, lines: "C: PORT 1,2,3,4,200,10\nS: 500 no", want: []string{"refused foreign-address PORT"}},
		{name: "PORT rejected after PASV", ep: routed, lines: port + pasv + "S: 500 no", want: []string{active, passive}},
		{name: "a transfer that fails before it connects", ep: routed, lines: pasv + "C: RETR x\nS: 550 no such file", want: []string{passive}},
		{name: "no data connection", ep: routed, lines: pasv + "C: RETR x\nS: 425 cannot connect", want: []string{passive, "cancelled no-data-connection"}},
		{name: "no data connection after 150", ep: routed, lines: port + "S: 200 ok\nC: RETR x\nS: 150 opening\nS: 425 cannot connect",
			want: []string{active, "cancelled no-data-connection"}},
		{name: "no data connection for a transfer before the offer", ep: routed, lines: port + "C: RETR x\n" + port + "C: RETR y\nS: 200 ok\nS: 150 opening\nS: 425 cannot connect\nS: 200 ok\nS: 150 opening",
			want: []string{active, active}},
		{name: "no data connection for both transfers", ep: routed, lines: port + "C: RETR x\n" + port + "C: RETR y\nS: 200 ok\nS: 425 cannot connect\nS: 200 ok\nS: 425 cannot connect",
			want: []string{active, active, "cancelled no-data-connection"}},
		{name: "PORT not answered, no data connection", ep: routed, lines: port + "C: RETR x\nS: 425 cannot connect", want: []string{active, "cancelled rejected-by-server"}},
		{name: "transfer done", ep: routed, lines: pasv + "C: RETR x\nS: 150 here\nS: 226 done", want: []string{passive}},
		{name: "421 to anything", ep: routed, lines: pasv + "C: NOOP\nS: 421 bye", want: []string{passive, "cancelled service-closing"}},
		{name: "421 unasked", ep: routed, lines: pasv + "S: 421 timeout", want: []string{passive, "cancelled service-closing"}},
		{name: "421 without an offer", ep: routed, lines: "S: 421 timeout"},
		{name: "421 twice", ep: routed, lines: pasv + "S: 421 bye\nS: 421 bye", want: []string{passive, "cancelled service-closing"}},
		{name: "REIN", ep: routed, lines: pasv + "C: REIN\nS: 220 again", want: []string{passive, "cancelled login-reset"}},
		{name: "REIN refused", ep: routed, lines: pasv + "C: REIN\nS: 502 no", want: []string{passive}},
		{name: "REIN ends EPSV ALL", ep: routed, lines: "C: EPSV ALL\nS: 200 ok\nC: REIN\nS: 220 again\n" + port, want: []string{active}},
		{name: "another user", ep: routed, lines: pasv + "C: USER y\nS: 331 password", want: []string{passive, "cancelled login-reset"}},
		{name: "another user refused", ep: routed, lines: pasv + "C: USER y\nS: 530 no", want: []string{passive}},
		{name: "REIN before the offer", ep: routed, lines: "C: REIN\nC: USER x\nC: PASS y\n" + port + "S: 220 again\nS: 331 password\nS: 230 in\nS: 200 ok", want: []string{active}},
		{name: "another user before the offer", ep: routed, lines: "C: USER y\nC: PASS z\n" + port + "S: 331 password\nS: 230 in\nS: 200 ok", want: []string{active}},
		{name: "QUIT before the offer", ep: routed, lines: "C: QUIT\n" + port + "S: 221 bye", want: []string{active, "cancelled quit"}},
		{name: "QUIT", ep: routed, lines: pasv + "C: QUIT\nS: 221 bye", want: []string{passive, "cancelled quit"}},
		{name: "QUIT behind a transfer", ep: routed, lines: pasv + "C: RETR x\nC: QUIT\nS: 150 here\nS: 226 done\nS: 221 bye",
			want: []string{passive, "cancelled quit"}},
		{name: "PASV refused, EPSV after it", ep: routed, lines: "C: PASV\nS: 502 no\nC: EPSV\nS: 229 (|||51210|)", want: []string{"offered 229 " + passiveOffer}},
		{name: "two PASV, two answers", ep: routed, lines: "C: PASV\nC: PASV\nS: 227 (203,0,113,9,200,10)\nS: 227 (203,0,113,9,200,10)\nS: 227 (203,0,113,9,200,10)",
			want: []string{passive, passive, "refused unasked-reply 227"}},
		{name: "a PASV that is never answered", ep: routed,
			lines: "C: PASV\nC: NOOP\nS: 200 ok\nC: NOOP\nS: 200 ok\nC: NOOP\nS: 200 ok\nC: NOOP\nS: 200 ok\nS: 227 (203,0,113,9,200,10)",
			want:  []string{"refused unasked-reply 227"}},
		{name: "after EPSV ALL EPSV", ep: routed, lines: "C: EPSV ALL\nS: 200 ok\nC: EPSV\nS: 229 (|||51210|)", want: []string{"offered 229 " + passiveOffer}},
		{name: "after EPSV ALL EPSV answered by 227", ep: routed, lines: "C: EPSV ALL\nS: 200 ok\nC: EPSV\nS: 227 (203,0,113,9,200,10)", want: []string{passive}},
		{name: "after EPSV ALL the rest", ep: routed, lines: "C: EPSV ALL\nS: 200 ok\n" + pasv + "C: LPSV\nS: 228 (4,4,203,0,113,9,2,200,10)\nC: EPRT |1|192.168.1.5|51210|",
			want: []string{"refused epsv-all 227", "refused epsv-all 228", "refused epsv-all EPRT"}},
		{name: "EPSV ALL, pinholes are needed", ep: routed, lines: "C: EPSV ALL\nS: 200 ok"},
		{name: "AUTH GSSAPI", ep: routed, lines: "C: AUTH GSSAPI\nS: 334 go on\nC: ADAT xyz\nS: 235 done\n" + port, want: []string{"opaque"}},
		{name: "AUTH sent ahead", ep: routed, lines: "C: NOOP\nC: AUTH TLS\nS: 200 ok\nS: 234 go\n" + port, want: []string{"opaque"}},
		{name: "234 unasked", ep: routed, lines: "C: NOOP\nS: 234 go\n" + port, want: []string{active}},
	})
}

// TestInjection tests offers in text that the peer chose. None of them counts.
func TestInjection(t *testing.T) {
	const in = "227 Entering Passive Mode (203,0,113,9,200,10)"
	runDialogues(t, login, []dialogueTest{
		{name: "file name in an error", ep: routed, lines: "C: RETR " + in + "\nS: 550 " + in + ": no such file"},
		{name: "directory name", ep: routed, lines: "C: PWD\nS: 257 \"" + in + "\" is current"},
		{name: "directory name of two lines", ep: routed, lines: "C: PWD\nS: 257 \"x\\n" + in + "\"", want: []string{"refused unasked-reply 227"}},
		{name: "banner", ep: routed, lines: "C: USER x\nS: 230-" + in + "\nS: " + in + "\nS: 230 in"},
		{name: "banner while PASV waits", ep: routed, lines: "C: STAT\nC: PASV\nS: 211-\nS: " + in + "\nS:  " + in + "\nS: 211 end\nS: 500 no"},
		{name: "listing on the control connection", ep: routed, lines: "C: STAT .\nS: 213-status\nS: -rw-r--r-- 1 0 0 0 " + in + "\nS: " + in + "\nS: 213 end"},
		{name: "help text", ep: routed, lines: "C: HELP PASV\nS: 214 " + in},
		{name: "error to PASV", ep: routed, lines: "C: PASV\nS: 500 " + in},
		{name: "reply without a space behind the code", ep: routed, lines: "C: PASV\nS: 227(203,0,113,9,200,10)"},
		{name: "server sends PORT", ep: routed, lines: "C: NOOP\nS: PORT 203,0,113,9,200,10"},
		{name: "client sends 227", ep: routed, lines: "C: " + in},
		{name: "PORT in an argument", ep: routed, lines: "C: RETR PORT 192,168,1,5,200,10"},
		{name: "PORT behind a bare CR", ep: routed, lines: `C: NOOP x\rPORT 192,168,1,5,200,10`},
		{name: "PORT behind a space", ep: routed, lines: "C:  PORT 192,168,1,5,200,10"},
		{name: "PORT with words behind", ep: routed, lines: "C: PORT 192,168,1,5,200,10 HTTP/1.1", want: []string{"refused syntax PORT"}},
		{name: "longer word", ep: routed, lines: "C: PORTS 192,168,1,5,200,10\nC: XPORT 192,168,1,5,200,10"},
		{name: "foreign PORT", ep: routed, lines: "C: PORT 192,168,1,6,200,10", want: []string{"refused foreign-address PORT"}},
		{name: "low port", ep: routed, lines: "C: PORT 192,168,1,5,0,139", want: []string{"refused port-below-minimum PORT"}},
	})
}
