// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"strings"
	"testing"
)

// The offers that most dialogues below lead to.
const (
	passiveOffer  = "203.0.113.9:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"
	passiveBehind = "10.0.0.2:51210 198.51.100.3>203.0.113.1:51210=10.0.0.2:51210"
	activeOffer   = "192.168.1.5:51210 203.0.113.9>192.168.1.5:51210=192.168.1.5:51210"
	activeBehind  = "192.168.1.5:51210 203.0.113.9>198.51.100.77:51210=192.168.1.5:51210"
)

// TestOddities tests servers, clients and middleboxes that are known to break
// gateways. The number is that of the list in docs/protocol.md.
func TestOddities(t *testing.T) {
	long := strings.Repeat("x", 5000)
	runDialogues(t, login, []dialogueTest{
		{name: "C1 multi-line 227, address in the last line", ep: dnat,
			lines:  "C: PASV\nS: 227-listen socket created\nS: 227 (10,0,0,2,200,10)",
			want:   []string{"offered 227 " + passiveBehind},
			client: "227 (203,0,113,1,200,10)"},
		{name: "C2 227 of bare numbers", ep: dnat, lines: "C: PASV\nS: 227 10,0,0,2,200,10",
			want: []string{"offered 227 " + passiveBehind}, client: "227 203,0,113,1,200,10"},
		{name: "C3 empty 227", ep: dnat, lines: "C: PASV\nS: 227 Entering Passive Mode (",
			want: []string{"refused syntax 227"}, client: "227 Entering Passive Mode ("},
		{name: "C3 227 without text", ep: dnat, lines: "C: PASV\nS: 227", want: []string{"refused syntax 227"}, client: "227"},
		{name: "C4 0.0.0.0", ep: routed, lines: "C: PASV\nS: 227 Entering Passive Mode (0,0,0,0,200,10)",
			want:   []string{"repaired 227 0.0.0.0:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"},
			client: "227 Entering Passive Mode (203,0,113,9,200,10)"},
		{name: "C5 EPSV answered by 227", ep: routed, lines: "C: EPSV\nS: 227 ok (203,0,113,9,200,10)",
			want: []string{"offered 227 " + passiveOffer}},
		{name: "C6 PASV answered by 229", ep: routed, lines: "C: PASV\nS: 229 ok (|||51210|)",
			want: []string{"offered 229 " + passiveOffer}},
		{name: "C7 spaces before the numbers", ep: dnat, lines: "C: PASV\nS: 227 Entering Passive Mode( **,  10,0,0,2,200,10).",
			want: []string{"offered 227 " + passiveBehind}, client: "227 Entering Passive Mode( **,  203,0,113,1,200,10)."},
		{name: "C7 seven numbers", ep: routed, lines: "C: PASV\nS: 227 (7,203,0,113,9,200,10)", want: []string{"refused syntax 227"}},
		{name: "C7 numbers in the words", ep: dnat, lines: "C: PASV\nS: 227 port 1234 10,0,0,2,200,10",
			want: []string{"offered 227 " + passiveBehind}, client: "227 port 1234 203,0,113,1,200,10"},
		{name: "C8 229 with trailing dot", ep: routed, lines: "C: EPSV\nS: 229 Entering Extended Passive Mode (|||51210|).",
			want: []string{"offered 229 " + passiveOffer}},
		{name: "C9 other words, lower case", ep: routed, lines: "C: PASV\nS: 227 entering passive mode 203,0,113,9,200,10",
			want: []string{"offered 227 " + passiveOffer}},
		{name: "C9 equals sign", ep: routed, lines: "C: PASV\nS: 227 =203,0,113,9,200,10",
			want: []string{"offered 227 " + passiveOffer}},
		{name: "C10 internal address", ep: routed, lines: "C: PASV\nS: 227 ok (172,17,0,2,200,10)",
			want:   []string{"foreign-text 227 172.17.0.2:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"},
			client: "227 ok (172,17,0,2,200,10)"},
		{name: "C10 internal address repaired", ep: routed, policy: Policy{Repair: RepairPrivate},
			lines:  "C: PASV\nS: 227 passive mode (172,17,0,2,200,10)",
			want:   []string{"repaired 227 172.17.0.2:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"},
			client: "227 passive mode (203,0,113,9,200,10)"},
		{name: "C11 multi-line reply that never ends", ep: routed,
			lines: "C: LIST\nS: 230-hello\nS: 226 done\nC: PASV\nS: 227 (203,0,113,9,200,10)",
			want:  []string{"offered 227 " + passiveOffer}},
		{name: "C12 octet over 255", ep: routed, lines: "C: PASV\nS: 227 (203,0,113,9,256,10)", want: []string{"refused number-over-255 227"}},
		{name: "C12 port over 65535", ep: routed, lines: "C: PASV\nS: 229 (|||65546|)", want: []string{"refused syntax 229"}},
		{name: "C12 number of many digits", ep: routed, lines: "C: PORT 192,168,1,5,200,1000000010", want: []string{"refused syntax PORT"}},
		{name: "C13 other delimiter", ep: routed, lines: "C: EPSV\nS: 229 (!!!51210!)", want: []string{"offered 229 " + passiveOffer}},
		{name: "C13 expanded IPv6 text", ep: nat66, lines: "C: EPRT |2|fd77:0000:0000:0000:0000:0000:0000:0002|51210|",
			want:   []string{"offered EPRT [fd77::2]:51210 2001:db8::9>[2001:db8:1::1]:51210=[fd77::2]:51210"},
			server: "EPRT |2|2001:db8:1::1|51210|"},
		{name: "C14 EPSV ALL, 200, then PORT", ep: routed, lines: "C: EPSV ALL\nS: 200 ok\nC: PORT 192,168,1,5,200,10\nS: 501 no",
			want: []string{"refused epsv-all PORT"}},
		{name: "C14 EPSV ALL, 503, then PORT", ep: routed, lines: "C: EPSV ALL\nS: 503 no\nC: PORT 192,168,1,5,200,10\nS: 200 ok",
			want: []string{"offered PORT " + activeOffer}},
		{name: "C15 EPSV, then PASV refused", ep: routed,
			lines: "C: EPSV\nS: 229 (|||51210|)\nC: PASV\nS: 500 Illegal PASV\nC: EPSV\nS: 229 (|||51211|)",
			want: []string{"offered 229 " + passiveOffer,
				"offered 229 " + strings.ReplaceAll(passiveOffer, "51210", "51211")}},
		{name: "C16 ABOR with IAC IP, IAC DM", ep: routed,
			lines: `C: RETR x
			S: 150 here
			C: \xff\xf4\xff\xf2ABOR
			S: 426 closed
			S: 226 done
			C: PASV
			S: 227 (203,0,113,9,200,10)`,
			want: []string{"offered 227 " + passiveOffer}},
		{name: "C17 STAT during a transfer", ep: routed,
			lines: "C: RETR x\nS: 150 here\nC: STAT\nS: 211 half\nS: 226 done\nC: PASV\nS: 227 (203,0,113,9,200,10)",
			want:  []string{"offered 227 " + passiveOffer}},
		{name: "C17 NOOP answered after the transfer", ep: routed,
			lines: "C: RETR x\nS: 150 here\nC: NOOP\nS: 226 done\nS: 200 ok\nC: PORT 192,168,1,5,200,10\nS: 500 no",
			want:  []string{"offered PORT " + activeOffer, "cancelled rejected-by-server"}},
		{name: "C18 the offer stands before the server answers", ep: routed, lines: "C: PORT 192,168,1,5,200,10",
			want: []string{"offered PORT " + activeOffer}},
		{name: "C19 data from a port that is not 20", ep: routed, lines: "C: PORT 192,168,1,5,200,10\nS: 200 ok",
			want: []string{"offered PORT " + activeOffer}}, // an offer names no source port
		{name: "C20 data from another address", ep: routed, lines: "C: PASV\nS: 227 (203,0,113,77,200,10)",
			want: []string{"foreign-text 227 203.0.113.77:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"}},
		{name: "C20 third party believed", ep: routed, policy: Policy{ThirdParty: true}, lines: "C: PASV\nS: 227 (203,0,113,77,200,10)",
			want: []string{"third-party 227 203.0.113.77:51210 192.168.1.5>203.0.113.77:51210=203.0.113.77:51210"}},
		{name: "C21 cleartext after CCC is not read", ep: routed,
			lines: "C: AUTH TLS\nS: 234 go\nC: CCC\nS: 200 clear\nC: PORT 192,168,1,5,200,10", want: []string{"opaque"}},
		{name: "C21 AUTH refused, client goes on", ep: routed, lines: "C: AUTH TLS\nS: 502 no\nC: AUTH SSL\nS: 502 no\nC: PASV\nS: 227 (203,0,113,9,200,10)",
			want: []string{"offered 227 " + passiveOffer}},
		{name: "C22 LPRT", ep: routed6, lines: "C: LPRT 6,16,253,119,0,0,0,0,0,0,0,0,0,0,0,0,0,2,2,200,10",
			want: []string{"offered LPRT [fd77::2]:51210 2001:db8::9>[fd77::2]:51210=[fd77::2]:51210"}},
		{name: "C22 LPRT translated", ep: nat66, lines: "C: LPRT 6,16,253,119,0,0,0,0,0,0,0,0,0,0,0,0,0,2,2,200,10",
			want:   []string{"offered LPRT [fd77::2]:51210 2001:db8::9>[2001:db8:1::1]:51210=[fd77::2]:51210"},
			server: "LPRT 6,16,32,1,13,184,0,1,0,0,0,0,0,0,0,0,0,1,2,200,10"},
		{name: "C22 LPSV translated", ep: dnat, lines: "C: LPSV\nS: 228 Entering Long Passive Mode (4,4,10,0,0,2,2,200,10)",
			want:   []string{"offered 228 " + passiveBehind},
			client: "228 Entering Long Passive Mode (4,4,203,0,113,1,2,200,10)"},
		{name: "C22 LPRT refused with 521", ep: routed, lines: "C: LPRT 4,4,192,168,1,5,2,200,10\nS: 521 Supported address families are (6)",
			want: []string{"offered LPRT " + activeOffer, "cancelled rejected-by-server"}},
		{name: "C22 LPRT for another family", ep: routed, lines: "C: LPRT 9,4,192,168,1,5,2,200,10", want: []string{"refused address-family LPRT"}},
		{name: "C23 a reply too many", ep: routed,
			lines: "C: TYPE I\nS: 200 Type set to I\nC: PASV\nS: 200 Type set to I\nS: 227 (203,0,113,9,200,10)",
			want:  []string{"offered 227 " + passiveOffer}},
		{name: "C23 a late 226 before the answer to PORT", ep: routed,
			lines: "C: PORT 192,168,1,5,200,10\nS: 226 done\nS: 500 no",
			want:  []string{"offered PORT " + activeOffer, "cancelled rejected-by-server"}},
		{name: "C24 numbers in other commands", ep: routed,
			lines: "C: SITE PORT 192,168,1,5,200,10\nS: 200 ok\nC: XMKD 227 (203,0,113,9,200,10)\nS: 257 227 (203,0,113,9,200,10) created"},
		{name: "C25 LF only", ep: snat, lines: `C: PORT 192,168,1,5,200,10\n\`,
			want: []string{"offered PORT " + activeBehind}, server: "PORT 198,51,100,77,200,10\n"},
		{name: "C25 NUL before a line", ep: routed, lines: `C: \0PORT 192,168,1,5,200,10`},
		{name: "C25 very long lines", ep: routed, lines: "C: STAT " + long + "\nS: 211-" + long + "\nS: 211 end\nC: PASV\nS: 227 (203,0,113,9,200,10)",
			want: []string{"offered 227 " + passiveOffer}},
		{name: "C25 offer in a very long line", ep: routed, lines: "C: PASV\nS: 227 " + long + " (203,0,113,9,200,10)"},
		{name: "C26 already rewritten 227", ep: dnat, lines: "C: PASV\nS: 227 ok (203,0,113,1,200,10)",
			want:   []string{"already-translated 227 203.0.113.1:51210 198.51.100.3>203.0.113.1:51210=10.0.0.2:51210"},
			client: "227 ok (203,0,113,1,200,10)"},
		{name: "C26 already rewritten PORT", ep: snat, lines: "C: PORT 198,51,100,77,200,10",
			want:   []string{"already-translated PORT 198.51.100.77:51210 203.0.113.9>198.51.100.77:51210=192.168.1.5:51210"},
			server: "PORT 198,51,100,77,200,10"},
		{name: "C26 broken by another gateway", ep: dnat, lines: "C: PASV\nS: 227 ok (203,0,113,1,200", want: []string{"refused syntax 227"}},
		{name: "C27 FXP", ep: snat, lines: "C: PORT 1,2,3,4,200,10", want: []string{"refused foreign-address PORT"}, server: "PORT 1,2,3,4,200,10"},
		{name: "C28 port digits split", ep: dnat, lines: `C: PASV
			S: 227 ok (10,0,0,2,200,1\
			S: 0)`,
			want: []string{"offered 227 " + passiveBehind}, client: "227 ok (203,0,113,1,200,10)"},
		{name: "C29 EPSV 2 over IPv4 refused", ep: routed, lines: "C: EPSV 2\nS: 522 Network protocol not supported, use (1)\nC: EPSV 1\nS: 229 (|||51210|)",
			want: []string{"offered 229 " + passiveOffer}},
		{name: "C29 EPSV 2 over IPv4, family ignored", ep: routed, lines: "C: EPSV 2\nS: 229 (|||51210|)",
			want: []string{"offered 229 " + passiveOffer}},
		{name: "C30 address in a continuation, none at the end", ep: dnat,
			lines:  "C: PASV\nS: 227-Entering Passive Mode (10,0,0,2,200,10)\nS: 227 ok",
			want:   []string{"offered 227 " + passiveBehind},
			client: "227-Entering Passive Mode (203,0,113,1,200,10)\r\n227 ok"},
		{name: "C30 address in a continuation and at the end", ep: dnat,
			lines: "C: PASV\nS: 227-Passive Mode (10,0,0,2,200,9)\nS: 227 Passive Mode (10,0,0,2,200,10)",
			want: []string{"offered 227 " + strings.ReplaceAll(passiveBehind, "51210", "51209"),
				"offered 227 " + passiveBehind},
			client: "227 Passive Mode (203,0,113,1,200,10)"},
		{name: "C30 hyphen on the only line", ep: routed,
			lines: "C: PASV\nS: 227-Entering Passive Mode (203,0,113,9,200,10)\nC: RETR x\nS: 150 here\nS: 226 done\nC: PASV\nS: 227-Entering Passive Mode (203,0,113,9,200,11)",
			want: []string{"offered 227 " + passiveOffer,
				"offered 227 " + strings.ReplaceAll(passiveOffer, "51210", "51211")}},
	})
}
