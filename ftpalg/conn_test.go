// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const login = `S: 220 ready
	C: USER anonymous
	S: 331 password
	C: PASS x
	S: 230 in
	`

// dialogueTest is a dialogue and its expected events.
type dialogueTest struct {
	name   string
	ep     Endpoints
	policy Policy
	shift  uint16
	begun  bool // adopted in the middle of the dialogue
	lines  string
	want   []string // events
	client string   // expected form of the last reply at the client, if given
	server string   // expected form of the last command at the server, if given
}

func TestDialogues(t *testing.T) {
	runDialogues(t, login, []dialogueTest{
		{name: "PORT routed", ep: routed, lines: "C: PORT 192,168,1,5,200,10\nS: 200 ok",
			want:   []string{"offered PORT 192.168.1.5:51210 203.0.113.9>192.168.1.5:51210=192.168.1.5:51210"},
			server: "PORT 192,168,1,5,200,10"},
		{name: "PORT behind SNAT", ep: snat, lines: "C: PORT 192,168,1,5,200,10\nS: 200 ok",
			want:   []string{"offered PORT 192.168.1.5:51210 203.0.113.9>198.51.100.77:51210=192.168.1.5:51210"},
			server: "PORT 198,51,100,77,200,10"},
		{name: "PORT another port", ep: snat, shift: 1, lines: "C: port 192,168,1,5,200,255",
			want:   []string{"offered PORT 192.168.1.5:51455 203.0.113.9>198.51.100.77:51455=192.168.1.5:51455"},
			server: "port 198,51,100,77,201,0"},
		{name: "PORT both", ep: both, lines: "C: PoRt 192,168,1,5,4,1",
			want:   []string{"offered PORT 192.168.1.5:1025 10.0.0.2>10.0.0.1:1025=192.168.1.5:1025"},
			server: "PoRt 10,0,0,1,4,1"},
		{name: "EPRT IPv4", ep: snat, lines: "C: EPRT |1|192.168.1.5|51210|",
			want:   []string{"offered EPRT 192.168.1.5:51210 203.0.113.9>198.51.100.77:51210=192.168.1.5:51210"},
			server: "EPRT |1|198.51.100.77|51210|"},
		{name: "EPRT IPv6, other delimiter", ep: nat66, lines: "C: EPRT !2!fd77:0::2!51210!",
			want:   []string{"offered EPRT [fd77::2]:51210 2001:db8::9>[2001:db8:1::1]:51210=[fd77::2]:51210"},
			server: "EPRT !2!2001:db8:1::1!51210!"},
		{name: "227 behind DNAT keeps its words", ep: dnat, lines: "C: PASV\nS: 227 Entering Passive Mode (10,0,0,2,200,10).",
			want:   []string{"offered 227 10.0.0.2:51210 198.51.100.3>203.0.113.1:51210=10.0.0.2:51210"},
			client: "227 Entering Passive Mode (203,0,113,1,200,10)."},
		{name: "227 without parentheses", ep: dnat, lines: "C: PASV\nS: 227 10,0,0,2,200,10",
			want:   []string{"offered 227 10.0.0.2:51210 198.51.100.3>203.0.113.1:51210=10.0.0.2:51210"},
			client: "227 203,0,113,1,200,10"},
		{name: "227 shorter", ep: Endpoints{Client: ap("198.51.100.3:4"), Dialled: ap("8.8.8.8:21"), Server: ap("192.168.100.200:21"), SeenAs: ap("198.51.100.3:4")},
			lines:  "C: PASV\nS: 227 Passive (192,168,100,200,200,10)",
			want:   []string{"offered 227 192.168.100.200:51210 198.51.100.3>8.8.8.8:51210=192.168.100.200:51210"},
			client: "227 Passive (8,8,8,8,200,10)"},
		{name: "227 multi-line", ep: dnat, lines: "C: PASV\nS: 227-listen socket created\nS: 227 (10,0,0,2,200,10)",
			want:   []string{"offered 227 10.0.0.2:51210 198.51.100.3>203.0.113.1:51210=10.0.0.2:51210"},
			client: "227 (203,0,113,1,200,10)"},
		{name: "229 routed", ep: routed6, lines: "C: EPSV\nS: 229 Entering Extended Passive Mode (|||51210|)",
			want:   []string{"offered 229 [2001:db8::9]:51210 fd77::2>[2001:db8::9]:51210=[2001:db8::9]:51210"},
			client: "229 Entering Extended Passive Mode (|||51210|)"},
		{name: "229 another port", ep: dnat, shift: 1, lines: "C: EPSV 1\nS: 229 Extended (|||9999|).",
			want:   []string{"offered 229 10.0.0.2:9999 198.51.100.3>203.0.113.1:9999=10.0.0.2:9999"},
			client: "229 Extended (|||10000|)."},
		{name: "EPSV answered by 227", ep: routed, lines: "C: EPSV\nS: 227 ok (203,0,113,9,200,10)",
			want: []string{"offered 227 203.0.113.9:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"}},
		{name: "already translated 227", ep: dnat, lines: "C: PASV\nS: 227 ok (203,0,113,1,200,10)",
			want:   []string{"already-translated 227 203.0.113.1:51210 198.51.100.3>203.0.113.1:51210=10.0.0.2:51210"},
			client: "227 ok (203,0,113,1,200,10)"},
		{name: "227 foreign keeps its text", ep: dnat, lines: "C: PASV\nS: 227 ok (1,2,3,4,200,10)",
			want:   []string{"foreign-text 227 1.2.3.4:51210 198.51.100.3>203.0.113.1:51210=10.0.0.2:51210"},
			client: "227 ok (1,2,3,4,200,10)"},
		{name: "227 unusable is repaired", ep: routed, lines: "C: PASV\nS: 227 Entering (0,0,0,0,200,10)",
			want:   []string{"repaired 227 0.0.0.0:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"},
			client: "227 Entering (203,0,113,9,200,10)"},
		{name: "227 repair none", ep: routed, policy: Policy{Repair: RepairNone}, lines: "C: PASV\nS: 227 ok (0,0,0,0,200,10)",
			want:   []string{"foreign-text 227 0.0.0.0:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"},
			client: "227 ok (0,0,0,0,200,10)"},
		{name: "227 private repaired", ep: routed, policy: Policy{Repair: RepairPrivate}, lines: "C: PASV\nS: 227 Passive mode (10,9,9,9,200,10)",
			want:   []string{"repaired 227 10.9.9.9:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"},
			client: "227 Passive mode (203,0,113,9,200,10)"},
		{name: "PORT foreign", ep: snat, lines: "C: PORT 1,2,3,4,200,10", want: []string{"refused foreign-address PORT"},
			server: "PORT 1,2,3,4,200,10"},
		{name: "PORT loopback", ep: snat, lines: "C: PORT 127,0,0,1,200,10", want: []string{"refused foreign-address PORT"}},
		{name: "PORT repaired", ep: snat, policy: Policy{Repair: RepairAll}, lines: "C: PORT 1,2,3,4,200,10",
			want:   []string{"repaired PORT 1.2.3.4:51210 203.0.113.9>198.51.100.77:51210=192.168.1.5:51210"},
			server: "PORT 198,51,100,77,200,10"},
		{name: "PORT third party", ep: snat, policy: Policy{ThirdParty: true}, lines: "C: PORT 1,2,3,4,200,10",
			want:   []string{"third-party PORT 1.2.3.4:51210 203.0.113.9>1.2.3.4:51210=1.2.3.4:51210"},
			server: "PORT 1,2,3,4,200,10"},
		{name: "PORT already outside", ep: snat, lines: "C: PORT 198,51,100,77,200,10",
			want: []string{"already-translated PORT 198.51.100.77:51210 203.0.113.9>198.51.100.77:51210=192.168.1.5:51210"}},
		{name: "advertise", ep: routed, policy: Policy{Advertise: AddressMap{addr("203.0.113.9"): addr("198.18.0.1")}},
			lines:  "C: PASV\nS: 227 Entering (203,0,113,9,200,10)",
			want:   []string{"offered 227 203.0.113.9:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"},
			client: "227 Entering (198,18,0,1,200,10)"},
		{name: "external address", ep: dnat, policy: Policy{External: map[netip.Addr]netip.Addr{addr("10.0.0.2"): addr("198.18.0.1")}},
			lines:  "C: PASV\nS: 227 Entering (10,0,0,2,200,10)",
			want:   []string{"offered 227 10.0.0.2:51210 198.51.100.3>198.18.0.1:51210=10.0.0.2:51210"},
			client: "227 Entering (198,18,0,1,200,10)"},
		{name: "external address, announced", ep: dnat, policy: Policy{External: map[netip.Addr]netip.Addr{addr("10.0.0.2"): addr("198.18.0.1")}},
			lines:  "C: PASV\nS: 227 ok (198,18,0,1,200,10)",
			want:   []string{"already-translated 227 198.18.0.1:51210 198.51.100.3>198.18.0.1:51210=10.0.0.2:51210"},
			client: "227 ok (198,18,0,1,200,10)"},
		{name: "external address, 229", ep: dnat, policy: Policy{External: map[netip.Addr]netip.Addr{addr("10.0.0.2"): addr("198.18.0.1")}},
			lines:  "C: EPSV\nS: 229 Extended (|||51210|)",
			want:   []string{"offered 229 10.0.0.2:51210 198.51.100.3>203.0.113.1:51210=10.0.0.2:51210"},
			client: "229 Extended (|||51210|)"},
		{name: "external address, dialled at its own", ep: routed, policy: Policy{External: map[netip.Addr]netip.Addr{addr("203.0.113.9"): addr("198.18.0.1")}},
			lines:  "C: PASV\nS: 227 ok (203,0,113,9,200,10)",
			want:   []string{"offered 227 203.0.113.9:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"},
			client: "227 ok (203,0,113,9,200,10)"},
		{name: "low port", ep: routed, lines: "C: PORT 192,168,1,5,0,25", want: []string{"refused port-below-minimum PORT"}},
		{name: "low port allowed", ep: routed, policy: Policy{MinDataPort: 20}, lines: "C: PORT 192,168,1,5,0,25",
			want: []string{"offered PORT 192.168.1.5:25 203.0.113.9>192.168.1.5:25=192.168.1.5:25"}},
		{name: "port zero", ep: routed, lines: "C: PORT 192,168,1,5,0,0", want: []string{"refused port-zero PORT"}},
		{name: "octet", ep: routed, lines: "C: PORT 192,168,1,261,4,4", want: []string{"refused number-over-255 PORT"}},
		{name: "four commas", ep: routed, lines: "C: PORT 192,168,1,5,4", want: []string{"refused syntax PORT"}},
		{name: "six commas", ep: routed, lines: "C: PORT 192,168,1,5,4,4,4", want: []string{"refused syntax PORT"}},
		{name: "text behind", ep: routed, lines: "C: PORT 192,168,1,5,4,4 x", want: []string{"refused syntax PORT"}},
		{name: "EPRT family", ep: routed, lines: "C: EPRT |2|192.168.1.5|5000|", want: []string{"refused address-family EPRT"}},
		{name: "EPRT IPv6 on IPv4", ep: routed, lines: "C: EPRT |2|fd77::2|5000|", want: []string{"refused address-family EPRT"}},
		{name: "EPRT without address", ep: routed, lines: "C: EPRT |||5000|", want: []string{"refused syntax EPRT"}},
		{name: "unasked", ep: routed, lines: "C: NOOP\nS: 227 ok (203,0,113,9,200,10)", want: []string{"refused unasked-reply 227"}},
		{name: "empty 227", ep: routed, lines: "C: PASV\nS: 227 Entering Passive Mode (", want: []string{"refused syntax 227"}},
		{name: "227 in an error text", ep: routed, lines: "C: RETR 227 (203,0,113,9,200,10)\nS: 550 227 (203,0,113,9,200,10): no such file"},
		{name: "227 inside another reply", ep: routed, lines: "C: PASV\nC: STAT\nS: 211-here\nS: 227 (203,0,113,9,200,10)\nS: 211 end"},
		{name: "server sends PORT", ep: routed, lines: "S: PORT 203,0,113,9,200,10"},
		{name: "client sends 227", ep: routed, lines: "C: 227 (203,0,113,9,200,10)"},
		{name: "rejected", ep: routed, lines: "C: PORT 192,168,1,5,200,10\nS: 500 Illegal PORT command.",
			want: []string{"offered PORT 192.168.1.5:51210 203.0.113.9>192.168.1.5:51210=192.168.1.5:51210", "cancelled rejected-by-server"}},
		{name: "EPSV ALL", ep: routed, lines: "C: EPSV ALL\nS: 200 ok\nC: PORT 192,168,1,5,200,10\nS: 200 ok", want: []string{"refused epsv-all PORT"}},
		{name: "AUTH TLS", ep: routed, lines: "C: AUTH TLS\nS: 234 go\nC: PORT 192,168,1,5,200,10", want: []string{"opaque"}},
		{name: "AUTH refused", ep: routed, lines: "C: AUTH TLS\nS: 500 no\nC: PORT 192,168,1,5,200,10",
			want: []string{"offered PORT 192.168.1.5:51210 203.0.113.9>192.168.1.5:51210=192.168.1.5:51210"}},
		{name: "AUTH denied", ep: routed, policy: Policy{DenyTLS: true}, lines: "C: auth TLS\nS: 500 what?\nC: PORT 192,168,1,5,200,10",
			want:   []string{"denied tls-denied", "offered PORT 192.168.1.5:51210 203.0.113.9>192.168.1.5:51210=192.168.1.5:51210"},
			server: "XXXX TLS\r\nPORT 192,168,1,5,200,10"},
		{name: "several lines in a segment", ep: snat, lines: `C: NOOP\r\nPORT 192,168,1,5,200,10\r\nNOOP\r\nPORT 192,168,1,5,200,11`,
			want: []string{"offered PORT 192.168.1.5:51210 203.0.113.9>198.51.100.77:51210=192.168.1.5:51210",
				"offered PORT 192.168.1.5:51211 203.0.113.9>198.51.100.77:51211=192.168.1.5:51211"},
			server: "NOOP\r\nPORT 198,51,100,77,200,10\r\nNOOP\r\nPORT 198,51,100,77,200,11"},
		{name: "LF only", ep: snat, lines: `C: PORT 192,168,1,5,200,10\n\`,
			want:   []string{"offered PORT 192.168.1.5:51210 203.0.113.9>198.51.100.77:51210=192.168.1.5:51210"},
			server: "PORT 198,51,100,77,200,10\n"},
		{name: "ABOR with Telnet", ep: routed, lines: `C: RETR x
			S: 150 here
			C: \xff\xf4\xff\xf2ABOR
			S: 426 closed
			S: 226 done
			C: PASV
			S: 227 (203,0,113,9,200,10)`,
			want: []string{"offered 227 203.0.113.9:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"}},
		{name: "one reply short after ABOR", ep: routed, lines: "C: RETR x\nS: 150 here\nC: ABOR\nS: 226 done\nC: PASV\nS: 227 (203,0,113,9,200,10)",
			want: []string{"offered 227 203.0.113.9:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"}},
		{name: "multi-line reply that never ends", ep: routed, lines: "C: LIST\nS: 230-hello\nS: 226 done\nC: PASV\nS: 227 (203,0,113,9,200,10)",
			want: []string{"offered 227 203.0.113.9:51210 192.168.1.5>203.0.113.9:51210=203.0.113.9:51210"}},
	})
}

// runDialogues runs each dialogue after the given beginning.
func runDialogues(t *testing.T, before string, tests []dialogueTest) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(tt.ep, tt.policy)
			if tt.begun {
				g.midway()
			}
			g.shift = tt.shift
			client, server := talk(t, g, before+tt.lines)
			if diff := cmp.Diff(tt.want, g.log); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if len(g.fails) > 0 {
				t.Errorf("not announced: %v", g.fails)
			}
			endsWith(t, "client", client, tt.client)
			endsWith(t, "server", server, tt.server)
		})
	}
}

func endsWith(t *testing.T, who, got, want string) {
	t.Helper()
	if want == "" {
		return
	}
	got = strings.TrimSuffix(got, "\r\n")
	if !strings.HasSuffix(got, want) || len(got) > len(want) && got[len(got)-len(want)-1] != '\n' {
		t.Errorf("%s received %q, want it to end with %q", who, got, want)
	}
}
