// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The positions of a gateway at a translator, and its policies.
var (
	// inV6 is the client's connection, inV4 the connection to the server.
	inV6 = Endpoints{Client: ap("[2001:db8:7::7]:40000"), Dialled: ap("[2001:db8:64::c633:6402]:21"),
		Server: ap("[2001:db8:64::c633:6402]:21"), SeenAs: ap("[2001:db8:7::7]:40000")}
	inV4 = Endpoints{Client: ap("192.168.255.7:40000"), Dialled: ap("198.51.100.2:21"),
		Server: ap("198.51.100.2:21"), SeenAs: ap("203.0.113.1:40000")}
	inV4Public = Endpoints{Client: ap("192.168.255.7:40000"), Dialled: ap("198.51.100.2:21"),
		Server: ap("198.51.100.2:21"), SeenAs: ap("192.168.255.7:40000")}

	prefix64 = netip.MustParsePrefix("2001:db8:64::/96")
	here64   = Policy{NAT64: []NAT64{{prefix64, netip.MustParsePrefix("192.168.255.0/24")}}}
	there64  = Policy{NAT64: []NAT64{{Prefix: prefix64}}}
)

func TestEmbedded(t *testing.T) {
	// The table of RFC 6052 section 2.4.
	for _, tt := range []struct{ prefix, addr string }{
		{"2001:db8::/32", "2001:db8:c000:221::"},
		{"2001:db8:100::/40", "2001:db8:1c0:2:21::"},
		{"2001:db8:122::/48", "2001:db8:122:c000:2:2100::"},
		{"2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"},
		{"2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"},
		{"2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"},
	} {
		n := NAT64{Prefix: netip.MustParsePrefix(tt.prefix)}
		if got, want := n.Embedded(addr(tt.addr)), addr("192.0.2.33"); got != want {
			t.Errorf("%s in %s: %v, want %v", tt.addr, tt.prefix, got, want)
		}
	}
}

var padding = regexp.MustCompile(" +")

// unpadded removes the spaces that keep the length of lines.
func unpadded(lines string) string {
	return strings.ReplaceAll(padding.ReplaceAllString(lines, " "), " \r", "\r")
}

// login64 begins the dialogues.
const login64 = "S: 220 hi\nC: USER a\nS: 331 p\nC: PASS b\nS: 230 in\n"

// TestNAT64 holds dialogues through a translator. What is behind an arrow is what
// the other side receives; a line without one passes unchanged.
func TestNAT64(t *testing.T) {
	type say = []string
	for _, tt := range []struct {
		name    string
		section string // of RFC 6384
		ep      Endpoints
		policy  Policy
		here    bool // sequence numbers are adjusted by the gateway
		full    bool // no pinhole can be opened
		lines   string
		want    say // expected log
	}{
		{name: "EPSV", section: "6", ep: inV4, policy: here64, lines: `
			C: EPSV > PASV
			S: 227 Entering Passive Mode (10,1,2,3,100,1). > 229 Entering Extended Passive (|||25601|)`,
			want: say{"offered 229 198.51.100.2:25601 192.168.255.7>198.51.100.2:25601=198.51.100.2:25601"}},
		{name: "EPSV 2", section: "6", ep: inV4, policy: here64, lines: `
			C: EPSV 2 > PASV
			S: 227 (198,51,100,2,100,1) > 229 Entering (|||25601|)
			C: EPSV  2  > PASV
			S: 227 1,1,1,1,255,255 > 229 (|||65535|)
			C: epsv > PASV
			S: 227 =1,1,1,1,255,255 > 229 (|||65535|)`,
			want: say{"offered 229 198.51.100.2:25601 192.168.255.7>198.51.100.2:25601=198.51.100.2:25601",
				"offered 229 198.51.100.2:65535 192.168.255.7>198.51.100.2:65535=198.51.100.2:65535",
				"offered 229 198.51.100.2:65535 192.168.255.7>198.51.100.2:65535=198.51.100.2:65535"}},
		{name: "a reply of several lines", section: "6", ep: inV4, policy: here64, lines: `
			C: EPSV > PASV
			S: 227-here > 229-here
			S:  it is: (10,1,2,3,100,2)... >                    (|||25602|)
			S: 227 end > 229 end
			C: EPSV > PASV
			S: 227-Passive (10,1,2,3,100,2) > 229-Entering     (|||25602|)
			S: 227 end > 229 end
			C: EPSV > PASV
			S: 227-Passive > 229-Passive
			S: 227-more > 229-more
			S: 227 at last 10,1,2,3,100,2 > 229 Entering      (|||25602|)`,
			want: say{"offered 229 198.51.100.2:25602 192.168.255.7>198.51.100.2:25602=198.51.100.2:25602",
				"offered 229 198.51.100.2:25602 192.168.255.7>198.51.100.2:25602=198.51.100.2:25602",
				"offered 229 198.51.100.2:25602 192.168.255.7>198.51.100.2:25602=198.51.100.2:25602"}},
		{name: "other arguments of EPSV", section: "6", ep: inV4, policy: here64, lines: `
			C: EPSV 1 > NOOP
			S: 200 Zzz... Zzz > 522 Use (2).
			C: EPSV 77 > NOOP
			S: 500 I know nothing of that, and so say many words here > 522 Network protocol not supported, use (2).
			C: EPSV all > NOOP
			S: 200 NOOP command successful > 504 No such.
			C: PORT 192,0,0,1,100,1 > PORT 203,0,113,1,100,1
			S: 200 ok`,
			want: say{"repaired PORT 192.0.0.1:25601 198.51.100.2>203.0.113.1:25601=192.168.255.7:25601"}},
		{name: "no reply is longer than it was if it can be short", section: "12", ep: inV4Public, policy: here64, here: true, lines: `
			C: EPSV ALL > NOOP
			S: 200 OK > 504 No such.
			C: EPSV ALL > NOOP
			S: 200-OK > 504-OK
			S:  ok
			S: 200 that was it > 504 No such.`},
		{name: "the server refuses", section: "6", ep: inV4, policy: here64, lines: `
			C: EPSV > PASV
			S: 425 no
			C: NOOP
			S: 200 ok
			C: EPSV > PASV
			S: 227 wherever you like > 425 No data.`,
			want: say{"refused syntax 229"}},
		{name: "no pinhole", section: "6", ep: inV4, policy: here64, full: true, lines: `
			C: EPSV > PASV
			S: 227 Entering Passive Mode (10,1,2,3,100,1). > 425 Can't open data connection.
			C: EPSV > PASV
			S: 227-Entering Passive Mode (10,1,2,3,100,1). > 229-Entering Passive Mode (10,1,2,3,100,1).
			S: 227 end > 229 end`,
			want: say{"offered 229 198.51.100.2:25601 192.168.255.7>198.51.100.2:25601=198.51.100.2:25601",
				"offered 229 198.51.100.2:25601 192.168.255.7>198.51.100.2:25601=198.51.100.2:25601"}},
		{name: "no pinhole in IPv6", section: "6", ep: inV6, policy: here64, full: true, lines: `
			C: EPSV
			S: 229 Entering Extended Passive (|||25601|). > 425 Can't open data connection.`,
			want: say{"offered 229 [2001:db8:64::c633:6402]:25601 2001:db8:7::7>[2001:db8:64::c633:6402]:25601=[2001:db8:64::c633:6402]:25601"}},
		{name: "EPRT", section: "7", ep: inV4, policy: here64, lines: `
			C: EPRT |2|2001:db8:7::7|5000| > PORT 203,0,113,1,19,136
			S: 200 ok`,
			want: say{"offered EPRT 192.168.255.7:5000 198.51.100.2>203.0.113.1:5000=192.168.255.7:5000"}},
		{name: "EPRT in IPv6", section: "7", ep: inV6, policy: here64, lines: `
			C: EPRT |2|2001:db8:7::7|5000|
			S: 200 ok
			C: EPRT |2|2001:db8:7::8|5000| > XPRT |2|2001:db8:7::8|5000|
			S: 500 what?`,
			want: say{"offered EPRT [2001:db8:7::7]:5000 2001:db8:64::c633:6402>[2001:db8:7::7]:5000=[2001:db8:7::7]:5000",
				"refused foreign-address EPRT"}},
		{name: "the same, the translator is further on", section: "7", ep: inV6, policy: there64, lines: `
			C: EPRT |2|2001:db8:7::8|5000|
			S: 500 what?
			C: EPSV > PASV
			S: 227 Entering Passive Mode (10,1,2,3,100,1). > 229 Entering Extended Passive (|||25601|)
			C: ALGS STATUS64
			S: 500 Unknown command. > 216 EPSV            
			C: PASV
			S: 227 Entering Passive Mode (198,51,100,2,100,1).
			C: PASV
			S: 227 Entering Passive Mode (198,51,100,9,100,1).`,
			want: say{"refused foreign-address EPRT",
				"offered 229 [2001:db8:64::c633:6402]:25601 2001:db8:7::7>[2001:db8:64::c633:6402]:25601=[2001:db8:64::c633:6402]:25601",
				"already-translated 227 198.51.100.2:25601 2001:db8:7::7>[2001:db8:64::c633:6402]:25601=[2001:db8:64::c633:6402]:25601",
				"foreign-text 227 198.51.100.9:25601 2001:db8:7::7>[2001:db8:64::c633:6402]:25601=[2001:db8:64::c633:6402]:25601"}},
		{name: "ALGS", section: "11", ep: inV4, policy: here64, lines: `
			C: ALGS STATUS64
			S: 500 Unknown command. > 216 EPSVEPRT        
			C: algs disable64
			S: 202 Command not implemented, superfluous at this site. > 216 NONE FTP translation is off.                         
			C: EPSV
			S: 229 Entering (|||25601|)
			C: EPRT |2|2001:db8:7::7|5000|
			S: 522 no
			C: ALGS STATUS64
			S: 500 what > 216 NONE   
			C: ALGS nonsense
			S: 500 Unknown command. > 504 No such.        
			C: ALGS ENABLE64
			S: 500 Unknown command. > 216 EPSVEPRT        
			C: EPSV > PASV
			S: 227 (198,51,100,2,100,1) > 229 Entering (|||25601|)`,
			want: say{"offered 229 198.51.100.2:25601 192.168.255.7>198.51.100.2:25601=198.51.100.2:25601",
				"refused address-family EPRT",
				"offered 229 198.51.100.2:25601 192.168.255.7>198.51.100.2:25601=198.51.100.2:25601"}},
		{name: "ALGS in IPv6", section: "11", ep: inV6, policy: here64, lines: `
			C: ALGS STATUS64
			S: 216 EPSVEPRT`},
		{name: "AUTH", section: "5", ep: inV4, policy: here64, lines: `
			C: AUTH TLS
			C: EPSV
			S: 500 no
			S: 229 Entering (|||25601|)
			C: EPSV > PASV
			S: 227 (198,51,100,2,100,1) > 229 Entering (|||25601|)
			C: AUTH TLS
			S: 234 go on
			C: EPSV
			S: 227 (198,51,100,2,100,1)`,
			want: say{"offered 229 198.51.100.2:25601 192.168.255.7>198.51.100.2:25601=198.51.100.2:25601",
				"offered 229 198.51.100.2:25601 192.168.255.7>198.51.100.2:25601=198.51.100.2:25601", "opaque"}},
		{name: "LANG, and all else", section: "5.1, 10", ep: inV4, policy: here64, lines: `
			C: LANG fr
			S: 200 oui
			C: PASV
			S: 227 Entering Passive Mode (198,51,100,2,100,1).
			C: LPRT 6,16,32,1,13,184,0,7,0,0,0,0,0,0,0,0,0,7,2,19,136
			S: 500 what?`,
			want: say{"offered 227 198.51.100.2:25601 192.168.255.7>198.51.100.2:25601=198.51.100.2:25601", "refused address-family LPRT"}},
		{name: "464XLAT", section: "-", ep: inV6, policy: here64, lines: `
			C: PORT 192,0,0,1,100,1
			S: 200 ok
			C: EPRT |1|10.1.2.3|5000|
			S: 200 ok
			C: PORT 8,8,8,8,100,1
			S: 500 no
			C: PASV
			S: 227 Entering Passive Mode (198,51,100,2,100,1).`,
			want: say{"already-translated PORT 192.0.0.1:25601 2001:db8:64::c633:6402>[2001:db8:7::7]:25601=[2001:db8:7::7]:25601",
				"already-translated EPRT 10.1.2.3:5000 2001:db8:64::c633:6402>[2001:db8:7::7]:5000=[2001:db8:7::7]:5000",
				"refused address-family PORT",
				"already-translated 227 198.51.100.2:25601 2001:db8:7::7>[2001:db8:64::c633:6402]:25601=[2001:db8:64::c633:6402]:25601"}},
		{name: "464XLAT in IPv4", section: "-", ep: inV4, policy: here64, lines: `
			C: PORT 192,0,0,1,100,1 > PORT 203,0,113,1,100,1
			S: 200 ok
			C: EPRT |1|10.1.2.3|5000| > EPRT |1|203.0.113.1|5000|
			S: 200 ok
			C: PORT 8,8,8,8,100,1
			S: 500 no`,
			want: say{"repaired PORT 192.0.0.1:25601 198.51.100.2>203.0.113.1:25601=192.168.255.7:25601",
				"repaired EPRT 10.1.2.3:5000 198.51.100.2>203.0.113.1:5000=192.168.255.7:5000",
				"refused foreign-address PORT"}},
		{name: "Telnet options", section: "5", ep: inV4Public, policy: here64, lines: `
			C: \xff\xfb\x01\ > \xff\xfc\x01\
			C: \xff\xfd\x03\xff\xf4\xff\xfb\x01EPSV > \xff\xfe\x03\xff\xf4\xff\xfc\x01PASV
			S: \xff\xfd\x01\xff\xfe\x03227 (198,51,100,2,100,1) > \xff\xfe\x01\xff\xfe\x03229 Entering (|||25601|)
			C: \xff\ > \xff\
			C: \xfb\ > \xfc\
			C: \x01\xff\xfc\x01\xff\xfe\x01NOOP \xff\xfb\x01
			S: 200 \xff\xfb\x01 ok
			C: ALGS DISABLE64
			S: 500 what? > 216 NONE
			C: \xff\xfb\x01NOOP
			S: 200 ok`,
			want: say{"offered 229 198.51.100.2:25601 192.168.255.7>198.51.100.2:25601=198.51.100.2:25601"}},
		{name: "Telnet options in IPv6", section: "5", ep: inV6, policy: here64, lines: `
			C: \xff\xfb\x01NOOP
			S: 200 ok`},
		{name: "no port is chosen", section: "8", ep: inV4, policy: here64, lines: `
			C: RETR file
			S: 150 coming
			S: 226 done
			C: PASV
			S: 227 (198,51,100,2,100,1)
			C: LIST
			S: 150 coming
			S: 226 done
			C: NLST
			S: 425 no data connection
			C: EPSV > PASV
			S: 500 no
			C: LIST
			S: 425 no
			C: PORT 192,0,0,1,100,1 > PORT 203,0,113,1,100,1
			S: 200 ok
			C: STOR file
			S: 150 coming
			S: 226 done
			C: ALGS DISABLE64
			S: 500 what? > 216 NONE   
			C: LIST
			S: 425 no`,
			want: say{"offered default 192.168.255.7:40000 198.51.100.2>203.0.113.1:40000=192.168.255.7:40000",
				"offered 227 198.51.100.2:25601 192.168.255.7>198.51.100.2:25601=198.51.100.2:25601",
				"offered default 192.168.255.7:40000 198.51.100.2>203.0.113.1:40000=192.168.255.7:40000",
				"cancelled rejected-by-server",
				"repaired PORT 192.0.0.1:25601 198.51.100.2>203.0.113.1:25601=192.168.255.7:25601", "cancelled no-data-connection"}},
		{name: "no port is chosen in IPv6", section: "8", ep: inV6, policy: here64, lines: `
			C: LIST
			S: 150 coming
			S: 226 done`,
			want: say{"offered default [2001:db8:7::7]:40000 2001:db8:64::c633:6402>[2001:db8:7::7]:40000=[2001:db8:7::7]:40000"}},
		{name: "the same, the translator is further on", section: "5, 8", ep: inV6, policy: there64, lines: `
			C: \xff\xfb\x01LIST > \xff\xfc\x01LIST
			S: 150 coming
			S: 226 done`,
			want: say{"offered default [2001:db8:7::7]:40000 2001:db8:64::c633:6402>[2001:db8:7::7]:40000=[2001:db8:7::7]:40000"}},
		{name: "no port is chosen, strict", section: "8", ep: inV6, policy: Policy{NAT64: here64.NAT64, Checks: CheckAnswered}, lines: `
			C: TYPE I
			C: LIST
			S: 200 ok
			S: 425 no`,
			want: say{"refused not-answered default"}},
		{name: "active mode is not allowed", section: "8", ep: inV6, policy: Policy{NAT64: here64.NAT64, NoActive: true}, lines: `
			C: LIST
			S: 425 no`,
			want: say{"refused mode-denied default"}},
		{name: "the server goes", section: "12", ep: inV4, policy: here64, lines: `
			C: EPSV ALL > NOOP
			S: 421 bye`},
		{name: "an answer of several lines that begins before, and goes on", section: "12", ep: inV4, policy: here64, lines: `
			C: RETR file
			C: EPSV ALL > NOOP
			S: 150-coming
			S: 150 here
			S: 226-done
			S: 226 really
			S: 500-NOOP > 504-NOOP
			S: 500 is what you say > 504 No such.        `,
			want: say{"offered default 192.168.255.7:40000 198.51.100.2>203.0.113.1:40000=192.168.255.7:40000"}},
		{name: "asked twice, answered before, behind and not at all", section: "6", ep: inV4, policy: here64, lines: `
			S: 227 (198,51,100,2,100,1)
			C: EPSV > PASV
			C: EPSV 2 > PASV
			C: LIST
			S: 227 (198,51,100,2,100,2) > 229 Entering (|||25602|)
			S: 227 (198,51,100,2,100,3) > 229 Entering (|||25603|)
			S: 227 (198,51,100,2,100,4)
			S: 229 Entering Extended Passive Mode (|||25605|)`,
			want: say{"refused unasked-reply 227",
				"offered 229 198.51.100.2:25602 192.168.255.7>198.51.100.2:25602=198.51.100.2:25602",
				"offered 229 198.51.100.2:25603 192.168.255.7>198.51.100.2:25603=198.51.100.2:25603",
				"refused unasked-reply 227", "refused unasked-reply 229"}},
		{name: "a 229 that was none, with delimiters of its own", section: "6", ep: inV4, policy: here64, lines: `
			C: EPSV > PASV
			S: 229 passive (!!!25601!)
			C: EPSV > PASV
			S: 229 passive (|1|10.1.2.3|25602|)
			C: EPSV > PASV
			S: 229 passive (|2|2001:db8::9|25603|)`,
			want: say{"offered 229 198.51.100.2:25601 192.168.255.7>198.51.100.2:25601=198.51.100.2:25601",
				"foreign-text 229 10.1.2.3:25602 192.168.255.7>198.51.100.2:25602=198.51.100.2:25602",
				"foreign-text 229 [2001:db8::9]:25603 192.168.255.7>198.51.100.2:25603=198.51.100.2:25603"}},
		{name: "addresses of others in IPv6", section: "7", ep: inV6, policy: here64, lines: `
			C: EPRT |2|::ffff:192.0.2.9|5000| > XPRT |2|::ffff:192.0.2.9|5000|
			S: 500 what?
			C: eprt !2!2001:db8:64::c633:6402!5000! > Xprt !2!2001:db8:64::c633:6402!5000!
			S: 500 what?
			C: EPRT |2|::|5000| > XPRT |2|::|5000|
			S: 500 what?
			C: EPRT |2|2001:DB8:7:0::7|5000|
			S: 200 ok
			C: EPRT |3|2001:db8:7::7|5000|
			S: 500 what?
			C: EPRT |1|192.0.2.9|5000|
			S: 500 what?
			C: EPRT |2|\xff\xf12001:db8:7::7|5000|
			S: 500 what?
			C: PORT 0,0,0,0,100,1
			S: 500 what?
			C: PORT 127,0,0,1,100,1
			S: 500 what?`,
			want: say{"refused foreign-address EPRT", "refused foreign-address EPRT", "refused foreign-address EPRT",
				"offered EPRT [2001:db8:7::7]:5000 2001:db8:64::c633:6402>[2001:db8:7::7]:5000=[2001:db8:7::7]:5000",
				"refused address-family EPRT", "refused address-family EPRT", "refused telnet-inside EPRT", "refused address-family PORT", "refused address-family PORT"}},
		{name: "not through the translator", section: "-", ep: routed6, policy: here64, lines: `
			C: EPSV 2
			S: 229 Entering (|||25601|)
			C: ALGS STATUS64
			S: 500 what
			C: EPSV ALL
			S: 200 ok`,
			want: say{"offered 229 [2001:db8::9]:25601 fd77::2>[2001:db8::9]:25601=[2001:db8::9]:25601"}},
		{name: "a denied command is not given in another form", section: "-", ep: inV4,
			policy: Policy{NAT64: here64.NAT64, Deny: map[string]bool{"EPSV": true}}, lines: `
			C: EPSV > XXXX
			S: 500 what`,
			want: say{"denied command-denied"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(tt.ep, tt.policy)
			if tt.here {
				g.adjustHere()
			}
			if tt.full {
				g.opens = func(*Offer) bool { return false }
			}
			said, want := login64, [2]string{}
			for l := range strings.Lines(login64) {
				d, p := parseLine(t, strings.TrimRight(l, "\n"))
				want[d] += string(p)
			}
			for l := range strings.Lines(strings.TrimSpace(tt.lines)) {
				l = strings.TrimLeft(strings.TrimRight(l, "\n"), "\t")
				text, as, changed := strings.Cut(l, " > ")
				d, p := parseLine(t, text)
				if changed {
					_, p = parseLine(t, "C: "+as)
				}
				said, want[d] = said+text+"\n", want[d]+string(p)
			}
			client, server := talk(t, g, strings.TrimSpace(said))
			if diff := cmp.Diff([]string{unpadded(want[Reply]), unpadded(want[Original])}, []string{unpadded(client), unpadded(server)}); diff != "" {
				t.Errorf("client and server received (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, g.log); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if len(g.fails) > 0 {
				t.Errorf("not announced: %v", g.fails)
			}
			if adj := g.c.Position(Reply).Adjusted; adj.After != 0 && !tt.here {
				t.Errorf("replies changed length: %+v", adj)
			}
		})
	}
}

// TestNAT64Adjusts: where no one adjusts sequence numbers yet, the first line
// that needs it has to be retransmitted, and no other.
func TestNAT64Adjusts(t *testing.T) {
	for _, can := range []bool{true, false} {
		g := newGateway(inV6, there64)
		g.c.SetAdjustBy(Nobody)
		g.adjusts = can
		step := func(line string) string {
			out := g.segment(Original, g.next(Original), []byte(line))
			if len(out) == 0 {
				return "again"
			}
			return string(out[0].p)
		}
		var got []string
		for _, line := range []string{"NOOP\r\n", "EPSV\r\n", "EPSV 2\r\n", "EPSV 2\r\n", "EPSV ALL\r\n"} {
			got = append(got, step(line))
		}
		want := []string{"NOOP\r\n", "PASV\r\n", "again", "PASV\r\n", "NOOP\r\n"}
		if !can { // what cannot be changed passes unchanged
			want = []string{"NOOP\r\n", "PASV\r\n", "again", "EPSV 2\r\n", "EPSV ALL\r\n"}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("adjusted %v (-want +got):\n%s", can, diff)
		}
	}
}

// TestNAT64TelnetFlood: endless attempts to negotiate take bounded memory.
func TestNAT64TelnetFlood(t *testing.T) {
	for _, line := range []string{"\xff\xfb\x01", "\xff\xfd\x01NOOP\r\n"} {
		g := newGateway(inV4Public, here64)
		seq := g.next(Original)
		for range 20 {
			p := bytes.Repeat([]byte(line), 60000/len(line))
			g.segment(Original, seq, p)
			seq += uint32(len(p))
		}
		if held := g.c.Held(); held > 16<<10 {
			t.Errorf("%q: %d bytes are held", line, held)
		}
	}
}

// TestNAT64Continues: the client receives the same reply when another engine
// takes over before it.
func TestNAT64Continues(t *testing.T) {
	for _, tt := range []struct{ before, cmd, reply, want string }{
		{"", "EPSV", "227 Entering Passive Mode (198,51,100,2,100,1).", "229 Entering Extended Passive Mode (|||25601|)"},
		{"", "PASV", "227 Entering Passive Mode (198,51,100,2,100,1).", "227 Entering Passive Mode (198,51,100,2,100,1)."},
		{"", "EPSV ALL", "200 NOOP command successful", "504 No such."},
		{"", "EPSV 1", "200 NOOP command successful", "522 Use (2)."},
		{"", "ALGS STATUS64", "500 Unknown command", "216 EPSVEPRT"},
		{"ALGS DISABLE64", "ALGS STATUS64", "500 Unknown command", "216 NONE"},
		{"ALGS DISABLE64", "EPSV", "229 Entering (|||25601|)", "229 Entering (|||25601|)"},
		{"", "RETR file", "150 coming", "150 coming"},
	} {
		g := newGateway(inV4, here64)
		lines := strings.TrimSpace(login64)
		if tt.before != "" {
			lines += "\nC: " + tt.before + "\nS: 500 Unknown command."
		}
		talk(t, g, lines+"\nC: "+tt.cmd)
		state := g.c.State()
		next := newGateway(inV4, here64)
		adj := [2]Adjustment{g.c.Position(Original).Adjusted, g.c.Position(Reply).Adjusted}
		next.c = NewConn(inV4, &here64, Options{AdjustBy: Kernel, Adjusted: adj})
		next.kernel = g.kernel
		next.c.Continue(&state, true)
		var got string
		for _, s := range next.segment(Reply, state.Stream[Reply].Next, []byte(tt.reply+"\r\n")) {
			got += string(s.p)
		}
		if got = unpadded(got); got != tt.want+"\r\n" {
			t.Errorf("%s %s: %q, want %q", tt.before, tt.cmd, got, tt.want)
		}
		next.segment(Original, state.Stream[Original].Next, []byte("NOOP\r\nRETR file\r\n"))
		// Without a port the transfer offers the default one if it goes through a
		// translator.
		offers := strings.Contains(fmt.Sprint(next.log), " default")
		if want := tt.before == "" && (tt.cmd == "EPSV ALL" || tt.cmd == "ALGS STATUS64" || tt.cmd == "RETR file"); offers != want {
			t.Errorf("%s %s: the default port is offered: %v, want %v: %v", tt.before, tt.cmd, offers, want, next.log)
		}
	}
	// The new engine knows nothing: the first 227 may be the reply to EPSV, but
	// not once the client has asked again.
	for _, ask := range []bool{false, true} {
		c := newGateway(inV4, here64)
		c.c = NewConn(inV4, &here64, Options{AdjustBy: Kernel})
		c.c.Continue(nil, true)
		if ask {
			c.segment(Original, 100, []byte("PASV\r\n"))
		}
		out := c.segment(Reply, 100, []byte("227 Entering Passive Mode (198,51,100,2,100,1).\r\n"))
		if got := string(out[0].p[:3]); got != map[bool]string{false: "229", true: "227"}[ask] {
			t.Errorf("after a crash, asked again %v: %s", ask, got)
		}
	}
}

// exchange64 makes an exchange through a translator; with attempt the server
// tries to negotiate.
func exchange64(r *rand.Rand, ep Endpoints, attempt string) exchange {
	end := []string{"\r\n", "\r\n", "\r\n", "\n", "\r\r\n"}[r.IntN(5)]
	server := netip.AddrPortFrom(addr("203.0.113.9"), port(r))
	answer := []string{"200 ok", "200-ok" + end + "200 and more", "500 what?", "200 Zzz... and so on and so forth, and a lot more of it than anybody needs"}[r.IntN(4)] + end
	switch r.IntN(11) {
	case 0:
		return exchange{"NOOP" + end, answer}
	case 8:
		return exchange{"\xff\xfb\x01\xff\xfd\x03" + []string{"NOOP", "EPSV 2", "\xff\xfbxEPSV ALL"}[r.IntN(3)] + end, attempt + "500 no" + end}
	case 1:
		return exchange{"STAT" + end, "211-here" + end + " 227 is a number" + end + "211 end" + end}
	case 2:
		// If the command is not translated, a server that accepts it changes what
		// may follow.
		answer = []string{"500 no", "500 NOOP is what you say, and I do not like it"}[r.IntN(2)] + end
		return exchange{[]string{"EPSV ALL", "epsv all", "EPSV 1", "\xff\xf1EPSV 7"}[r.IntN(4)] + end, answer}
	case 3:
		return exchange{[]string{"ALGS STATUS64", "ALGS", "algs nonsense", "ALGS ENABLE64"}[r.IntN(4)] + end, answer}
	case 4:
		return exchange{"RETR file" + end, "150 coming" + end + "226 done" + end}
	case 5:
		a := ep.Client.Addr()
		if a.Is4() {
			a = netip.MustParseAddr("2001:db8:7::7")
		}
		text := []string{a.String(), a.StringExpanded(), "2001:db8:9::" + fmt.Sprint(r.IntN(10))}[r.IntN(3)]
		return exchange{fmt.Sprintf("EPRT |2|%s|%d|%s", text, port(r), end), "200 ok" + end}
	case 6:
		return exchange{fmt.Sprintf("PORT 192,0,0,2,%d,%d%s", 4+r.IntN(250), r.IntN(256), end), "200 ok" + end}
	case 7:
		return exchange{"EPSV" + end, "425 no" + end}
	}
	cmd := []string{"EPSV", "EPSV 2", "epsv", "EPSV ", "PASV"}[r.IntN(5)]
	words := []string{"227 Entering Passive Mode (%s)" + end, "227 %s" + end, "227-here" + end + " it is" + end + "227 (%s)." + end,
		"227-here (%s)" + end + "227 end" + end, "227-here" + end + "227-%s" + end + "227 end" + end, "227 =%s" + end}[r.IntN(6)]
	return exchange{cmd + end, fmt.Sprintf(words, list(hostPortNumbers(server)))}
}

// TestAnyCutNAT64 is TestAnyCut for connections through a translator whose
// pinholes cannot always be opened.
func TestAnyCutNAT64(t *testing.T) {
	n, cuts, pieces, patient := rounds(6000), 0, 0, 0
	opens := func(o *Offer) bool { return o.Announced.Port()%5 > 0 }
	for i := range n {
		r := rand.New(rand.NewPCG(uint64(i), 64))
		s := script{shift: uint16(r.IntN(2) * 7), ep: []Endpoints{inV6, inV4, inV4Public, inV6}[i%4], policy: here64}
		if i%4 == 3 {
			s.policy = there64
		}
		s.batches = [][]exchange{{{"USER me\r\n", "331 password\r\n"}}, {{"PASS x\r\n", "230 in\r\n"}}}
		attempt := []string{"", "\xff\xfc\x01\xff\xfd\x01"}[r.IntN(2)]
		for range 2 + r.IntN(6) {
			var b []exchange
			for range 1 + r.IntN(4) {
				b = append(b, exchange64(r, s.ep, attempt))
			}
			s.batches = append(s.batches, b)
			switch r.IntN(8) {
			case 0:
				s.batches = append(s.batches, []exchange{{"AUTH TLS\r\n", "500 what?\r\n"}})
			case 1:
				if attempt != "" { // whether it counts depends on what comes first
					continue
				}
				s.batches = append(s.batches, []exchange{{"ALGS DISABLE64\r\n", "500 what?\r\n"}})
			}
		}
		whole := newGateway(s.ep, s.policy)
		whole.shift, whole.opens = s.shift, opens
		client, server := s.whole(t, whole)
		g := newGateway(s.ep, s.policy)
		g.shift, g.opens = s.shift, opens
		if i%3 == 0 {
			g.adjusts = true
			g.c.SetAdjustBy(Nobody)
		}
		w := newWire(t, r, g)
		w.name, w.small = fmt.Sprint("seed ", i), i%2 == 0
		w.run(&s)
		cuts, pieces = cuts+w.cuts, pieces+g.pieces
		if g.patient { // what waited too long passes unchanged
			patient++
			continue
		}
		if diff := cmp.Diff(whole.logs, g.logs); diff != "" {
			t.Fatalf("seed %d: events (-whole lines +cut):\n%s", i, diff)
		}
		if diff := cmp.Diff([]string{client, server}, []string{string(w.rcv[Reply].buf), string(w.rcv[Original].buf)}); diff != "" {
			t.Fatalf("seed %d: received (-whole lines +cut):\n%s", i, diff)
		}
	}
	t.Logf("%d dialogues, %d segments, %d of them absorbed", n, cuts, pieces)
	if pieces == 0 || patient > n/100 {
		t.Errorf("%d segments were taken in, and %d dialogues waited for too long", pieces, patient)
	}
}
