// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"strings"
	"testing"
)

// TestSpellings tests lines that vsftpd, proftpd, pure-ftpd or pyftpdlib accept,
// and replies that clients accept, besides those that the RFCs describe. Where a
// line changes, only its numbers do.
func TestSpellings(t *testing.T) {
	const (
		offered6  = "[2001:db8::9]:51210 fd77::2>[2001:db8::9]:51210=[2001:db8::9]:51210"
		answer    = "\nS: 227 ok (10,0,0,2,200,10)"
		extended  = "\nS: 229 ok (|||51210|)"
		translate = "227 ok (203,0,113,1,200,10)"
	)
	behind := []string{"offered 227 " + passiveBehind}
	port := []string{"offered PORT " + activeBehind}
	eprt := []string{"offered EPRT " + activeBehind}
	zeros := strings.Repeat("0", 40)
	runDialogues(t, login, []dialogueTest{
		{name: "CRs behind PORT", ep: snat, lines: `C: PORT 192,168,1,5,200,10\r\r`, want: port, server: "PORT 198,51,100,77,200,10\r\r"},
		{name: "CRs behind EPRT", ep: snat, lines: `C: EPRT |1|192.168.1.5|51210|\r\r\r`, want: eprt, server: "EPRT |1|198.51.100.77|51210|\r\r\r"},
		{name: "CRs behind LPRT", ep: snat, lines: `C: LPRT 4,4,192,168,1,5,2,200,10\r`, want: []string{"offered LPRT " + activeBehind},
			server: "LPRT 4,4,198,51,100,77,2,200,10\r"},
		{name: "CRs behind PASV", ep: dnat, lines: `C: PASV\r\r` + answer, want: behind, client: translate},
		{name: "CRs behind EPSV", ep: routed, lines: `C: EPSV\r` + extended, want: []string{"offered 229 " + passiveOffer}},
		{name: "CRs behind EPSV ALL", ep: routed, lines: "C: EPSV ALL\\r\nS: 200 ok\\r\nC: PORT 192,168,1,5,200,10", want: []string{"refused epsv-all PORT"}},
		{name: "CRs behind a 227", ep: dnat, lines: "C: PASV\nS: 227 ok (10,0,0,2,200,10)\\r", want: behind, client: translate + "\r"},
		{name: "CRs behind the end of a reply", ep: dnat, lines: "C: PASV\nS: 227-here\\r\nS: 227 10,0,0,2,200,10\\r\\r", want: behind},
		{name: "CRs in another segment", ep: snat, lines: `C: PORT 192,168,1,5,200,10\r\
			C: \r`, want: port, server: "PORT 198,51,100,77,200,10\r\r"},
		{name: "CRs, strict", ep: snat, policy: with(Strict), lines: `C: PORT 192,168,1,5,200,10\r`, want: port},
		{name: "LF alone, strict", ep: snat, policy: with(Strict), lines: `C: PORT 192,168,1,5,200,10\n\`, want: []string{"refused line-end PORT"}},

		{name: "zeros in PORT", ep: snat, lines: "C: PORT 192,168,001,005,200,010", want: port, server: "PORT 198,51,100,77,200,10"},
		{name: "many zeros in PORT", ep: snat, lines: "C: PORT 192,168,1,5,200," + zeros + "10", want: port, server: "PORT 198,51,100,77,200,10"},
		{name: "zeros in EPRT", ep: snat, lines: "C: EPRT |1|192.168.001.005|51210|", want: eprt, server: "EPRT |1|198.51.100.77|51210|"},
		{name: "zeros in the family and port of EPRT", ep: snat, lines: "C: EPRT |01|192.168.1.5|00051210|", want: eprt, server: "EPRT |01|198.51.100.77|51210|"},
		{name: "zeros in EPRT, untranslated", ep: routed, lines: "C: EPRT |1|192.168.001.005|51210|", want: []string{"offered EPRT " + activeOffer},
			server: "EPRT |1|192.168.001.005|51210|"},
		{name: "too many numbers in EPRT", ep: routed, lines: "C: EPRT |1|192.168.1.5.1|51210|\nC: EPRT |1|192.168.01|51210|\nC: EPRT |1|192.168.01.256|51210|",
			want: []string{"refused syntax EPRT", "refused syntax EPRT", "refused syntax EPRT"}},
		{name: "zeros in a 227", ep: dnat, lines: "C: PASV\nS: 227 ok (010,000,000,002,200,010)", want: behind, client: translate},
		{name: "zeros in a 229", ep: routed, lines: "C: EPSV\nS: 229 ok (|||0000051210|)", want: []string{"offered 229 " + passiveOffer}},

		{name: "tab behind PASV", ep: dnat, lines: "C: PASV\t" + answer, want: behind},
		{name: "tab behind EPSV", ep: routed, lines: "C: EPSV\t1\t" + extended, want: []string{"offered 229 " + passiveOffer}},
		{name: "tab before the numbers of PORT", ep: snat, lines: "C: PORT\t192,168,1,5,200,10", want: port, server: "PORT\t198,51,100,77,200,10"},
		{name: "tab in EPSV ALL", ep: routed, lines: "C: EPSV\tALL \nS: 200 ok\nC: PORT 192,168,1,5,200,10", want: []string{"refused epsv-all PORT"}},
		{name: "NUL behind PASV", ep: dnat, lines: `C: PASV\0` + answer, want: behind},
		{name: "NUL behind EPSV ALL", ep: routed, lines: "C: EPSV ALL\\0\nS: 200 ok\nC: PORT 192,168,1,5,200,10", want: []string{"refused epsv-all PORT"}},

		{name: "spaces in PORT", ep: snat, lines: "C: PORT 192, 168 ,1,\t5 , 200,10", want: port, server: "PORT 198, 51 ,100,\t77 , 200,10"},
		{name: "spaces in LPRT", ep: snat, lines: "C: LPRT 4, 4, 192,168,1,5,2,200,10", want: []string{"offered LPRT " + activeBehind},
			server: "LPRT 4, 4, 198,51,100,77,2,200,10"},
		{name: "spaces in a 227", ep: dnat, lines: "C: PASV\nS: 227 ok (10, 0, 0, 2, 200, 10)", want: behind, client: "227 ok (203, 0, 113, 1, 200, 10)"},
		{name: "spaces in a 227 with numbers before", ep: dnat, lines: "C: PASV\nS: 227 at 5, 10,0,0,2,200,10", want: behind, client: "227 at 5, 203,0,113,1,200,10"},
		{name: "spaces in a 227 of seven numbers", ep: dnat, lines: "C: PASV\nS: 227 7, 10, 0, 0, 2, 200, 10", want: []string{"refused syntax 227"}},
		{name: "spaces in a 228", ep: dnat, lines: "C: LPSV\nS: 228 ok (4, 4, 10, 0, 0, 2, 2, 200, 10)", want: []string{"offered 228 " + passiveBehind},
			client: "228 ok (4, 4, 203, 0, 113, 1, 2, 200, 10)"},

		{name: "dot behind PORT", ep: snat, lines: "C: PORT 192,168,1,5,200,10.", want: port, server: "PORT 198,51,100,77,200,10."},
		{name: "NUL behind PORT", ep: snat, lines: `C: PORT 192,168,1,5,200,10\0`, want: port, server: "PORT 198,51,100,77,200,10\x00"},
		{name: "CR and NUL behind PORT", ep: snat, lines: `C: PORT 192,168,1,5,200,10\r\0`, want: port},
		{name: "NUL behind EPRT", ep: snat, lines: `C: EPRT |1|192.168.1.5|51210|\0`, want: eprt},
		{name: "NULs and dots behind LPRT", ep: snat, lines: `C: LPRT 4,4,192,168,1,5,2,200,10 .\0\0`, want: []string{"offered LPRT " + activeBehind}},

		{name: "P@SW", ep: dnat, lines: "C: P@SW" + answer, want: behind, client: translate},
		{name: "p@sw", ep: dnat, lines: "C: p@sw" + answer, want: behind},
		{name: "CPSV", ep: dnat, lines: "C: CPSV" + answer, want: behind},
		{name: "P@SW is PASV", ep: routed, policy: Policy{Deny: map[string]bool{"PASV": true}}, lines: "C: P@SW\nS: 500 ?",
			want: []string{"denied command-denied"}, server: "XXXX"},
		{name: "P@SW in parts is PASV", ep: routed, policy: Policy{Deny: map[string]bool{"PASV": true}}, lines: `C: P@\
			C: SW
			S: 500 ?`, want: []string{"denied command-denied"}, server: "XXXX"},

		{name: "IPv4 in IPv6 in EPRT", ep: snat, lines: "C: EPRT |2|::ffff:192.168.1.5|51210|", want: eprt, server: "EPRT |2|::ffff:198.51.100.77|51210|"},
		{name: "IPv4 in IPv6 in EPRT, in hexadecimal", ep: snat, lines: "C: EPRT |2|::FFFF:C0A8:0105|51210|", want: eprt, server: "EPRT |2|::ffff:198.51.100.77|51210|"},
		{name: "IPv4 in IPv6 in EPRT, of a third host", ep: snat, lines: "C: EPRT |2|::ffff:192.168.1.6|51210|", want: []string{"refused foreign-address EPRT"}},
		{name: "IPv4 in IPv6 in LPRT", ep: snat, lines: "C: LPRT 6,16,0,0,0,0,0,0,0,0,0,0,255,255,192,168,1,5,2,200,10", want: []string{"offered LPRT " + activeBehind},
			server: "LPRT 6,16,0,0,0,0,0,0,0,0,0,0,255,255,198,51,100,77,2,200,10"},

		{name: "family in a 229", ep: routed, lines: "C: EPSV\nS: 229 ok (|1||51210|)", want: []string{"offered 229 " + passiveOffer}},
		{name: "another family in a 229", ep: routed, lines: "C: EPSV\nS: 229 ok (|2||51210|)", want: []string{"offered 229 " + passiveOffer}},
		{name: "family in a 229, another port", ep: dnat, shift: 1, lines: "C: EPSV\nS: 229 ok (|1||51209|)", want: []string{"offered 229 10.0.0.2:51209 198.51.100.3>203.0.113.1:51209=10.0.0.2:51209"},
			client: "229 ok (|1||51210|)"},
		{name: "address in a 229", ep: routed, lines: "C: EPSV\nS: 229 ok (|1|203.0.113.9|51210|)", want: []string{"offered 229 " + passiveOffer},
			client: "229 ok (|1|203.0.113.9|51210|)"},
		{name: "address in a 229, translated", ep: dnat, lines: "C: EPSV\nS: 229 ok (|1|10.0.0.2|51210|)", want: []string{"offered 229 " + passiveBehind},
			client: "229 ok (|1|203.0.113.1|51210|)"},
		{name: "address without family in a 229, translated", ep: dnat, lines: "C: EPSV\nS: 229 ok (||10.0.0.2|51210|)", want: []string{"offered 229 " + passiveBehind},
			client: "229 ok (||203.0.113.1|51210|)"},
		{name: "IPv4 in IPv6 in a 229, translated", ep: dnat, lines: "C: EPSV\nS: 229 ok (!2!::ffff:10.0.0.2!51210!)", want: []string{"offered 229 " + passiveBehind},
			client: "229 ok (!2!::ffff:203.0.113.1!51210!)"},
		{name: "address in a 229 over IPv6, translated", ep: Endpoints{Client: ap("[fd77::2]:40000"), Dialled: ap("[2001:db8:2::1]:21"),
			Server: ap("[2001:db8::9]:21"), SeenAs: ap("[fd77::2]:40000")}, lines: "C: EPSV\nS: 229 ok (|2|2001:db8::9|51210|)",
			want: []string{"offered 229 [2001:db8::9]:51210 fd77::2>[2001:db8:2::1]:51210=[2001:db8::9]:51210"}, client: "229 ok (|2|2001:db8:2::1|51210|)"},
		{name: "address of no use in a 229", ep: routed6, lines: "C: EPSV\nS: 229 ok (|2|::|51210|)",
			want: []string{"repaired 229 [::]:51210 fd77::2>[2001:db8::9]:51210=[2001:db8::9]:51210"}, client: "229 ok (|2|2001:db8::9|51210|)"},
		{name: "address of a third host in a 229", ep: routed6, lines: "C: EPSV\nS: 229 ok (|2|2001:db8::7|51210|)",
			want: []string{"foreign-text 229 [2001:db8::7]:51210 fd77::2>[2001:db8::9]:51210=[2001:db8::9]:51210"}, client: "229 ok (|2|2001:db8::7|51210|)"},

		{name: "0,0,0,0 over IPv6", ep: routed6, lines: "C: PASV\nS: 227 Entering Passive Mode (0,0,0,0,200,10).",
			want:   []string{"repaired 227 0.0.0.0:51210 " + offered6[len("[2001:db8::9]:51210 "):]},
			client: "227 Entering Passive Mode (0,0,0,0,200,10)."},
		{name: "IPv4 address over IPv6", ep: routed6, lines: "C: PASV\nS: 227 Entering Passive Mode (192,0,2,9,200,10).",
			want:   []string{"foreign-text 227 192.0.2.9:51210 " + offered6[len("[2001:db8::9]:51210 "):]},
			client: "227 Entering Passive Mode (192,0,2,9,200,10)."},
		{name: "IPv4 address over IPv6, another port", ep: Endpoints{Client: ap("[fd77::2]:40000"), Dialled: ap("[2001:db8:2::1]:21"),
			Server: ap("[2001:db8::9]:21"), SeenAs: ap("[fd77::2]:40000")}, shift: 1, lines: "C: PASV\nS: 227 ok (192,0,2,9,200,10).",
			want: []string{"foreign-text 227 192.0.2.9:51210 fd77::2>[2001:db8:2::1]:51210=[2001:db8::9]:51210"}, client: "227 ok (192,0,2,9,200,11)."},
		{name: "IPv4 address over IPv6, private ones repaired", ep: routed6, policy: Policy{Repair: RepairPrivate},
			lines: "C: PASV\nS: 227 ok (10,0,0,9,200,10).", want: []string{"repaired 227 10.0.0.9:51210 " + offered6[len("[2001:db8::9]:51210 "):]},
			client: "227 ok (10,0,0,9,200,10)."},
		{name: "IPv4 address over IPv6, third party believed", ep: routed6, policy: Policy{ThirdParty: true},
			lines: "C: PASV\nS: 227 ok (192,0,2,9,200,10).", want: []string{"foreign-text 227 192.0.2.9:51210 " + offered6[len("[2001:db8::9]:51210 "):]}},
		{name: "IPv4 address over IPv6, strict", ep: routed6, policy: with(Strict),
			lines: "C: PASV\nS: 227 ok (192,0,2,9,200,10)", want: []string{"refused foreign-address 227"}},
		{name: "IPv6 address over IPv4", ep: dnat, lines: "C: LPSV\nS: 228 ok (6,16,32,1,13,184,0,1,0,0,0,0,0,0,0,0,0,1,2,200,10)",
			want: []string{"foreign-text 228 [2001:db8:1::1]:51210 198.51.100.3>203.0.113.1:51210=10.0.0.2:51210"}},
		{name: "IPv4 address of the client over IPv6", ep: routed6, lines: "C: PORT 192,0,0,2,200,10", want: []string{"refused address-family PORT"}},

		{name: "227 as goodbye", ep: routed, lines: "C: PORT 192,168,1,5,200,10\nS: 200 ok\nC: QUIT\nS: 227 Logout.",
			want: []string{"offered PORT " + activeOffer, "cancelled quit"}},
		{name: "227 as goodbye of two lines", ep: routed, lines: "C: QUIT\nS: 221-Goodbye.\nS: 221 Logout.\nS: 227 Logout."},
		{name: "227 without an offer, lenient", ep: routed, policy: with(Lenient), lines: "C: QUIT\nS: 227 Logout."},
	})
}
