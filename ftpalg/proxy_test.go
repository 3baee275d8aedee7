// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	proxyFour = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\xcb\x00\x71\x09\x9c\x40\x00\x15"
	proxySix  = "\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x28\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x9c\x40\x00\x15\x04\x00\x01\x0a"
	proxyLocal = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

// TestProxyHeader: a header before the first command is skipped, however it is
// cut, and nothing is opened for its addresses.
func TestProxyHeader(t *testing.T) {
	four := "{198.51.100.7:40000 203.0.113.9:21}"
	six := "{[2001:db8::7]:40000 [2001:db8::9]:21}"
	none := "{invalid AddrPort invalid AddrPort}"
	for _, tt := range []struct{ name, header, want string }{
		{"text", "PROXY TCP4 198.51.100.7 203.0.113.9 40000 21\r\n", four},
		{"text, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::9 40000 21\r\n", six},
		{"text, unknown", "PROXY UNKNOWN\r\n", none},
		{"text, unknown with more", "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", none},
		{"binary", proxyFour, four},
		{"binary, IPv6, with an announcement of no interest", proxySix, six},
		{"binary, the proxy itself", proxyLocal, none},
	} {
		for _, greeted := range []bool{true, false} {
			for cut := range len(tt.header) {
				g := newGateway(routed, Policy{})
				at := uint32(1000)
				server := uint32(5000)
				say := func(d Direction, text string) {
					if d == Original {
						g.steps(step{d, at, server, text})
						at += uint32(len(text))
						return
					}
					g.steps(step{d, server, at, text})
					server += uint32(len(text))
				}
				if greeted {
					say(Reply, "220 hi\r\n")
				}
				if cut > 0 {
					say(Original, tt.header[:cut])
				}
				say(Original, tt.header[cut:])
				if !greeted {
					say(Reply, "220 hi\r\n")
				}
				for _, l := range []string{"C USER x", "S 331 password", "C PASS x", "S 230 in", "C PORT 198,51,100,7,200,10", "S 500 no", "C PORT 192,168,1,5,200,10"} {
					say(map[byte]Direction{'C': Original, 'S': Reply}[l[0]], l[2:]+"\r\n")
				}
				want := []string{"forwarded", "refused foreign-address PORT", "offered PORT " + activeOffer}
				if d := cmp.Diff(want, g.log); d != "" {
					t.Fatalf("%s, greeted %t, cut at %d: events (-want +got):\n%s", tt.name, greeted, cut, d)
				}
				if got := fmt.Sprint(g.forwarded); got != tt.want {
					t.Fatalf("%s: %s, want %s", tt.name, got, tt.want)
				}
			}
		}
	}
}

// TestProxyNot: what is not a header, or not where one may be, is read as usual.
func TestProxyNot(t *testing.T) {
	for _, first := range []string{
		"PROXY TCP4 198.51.100.7 203.0.113.9 40000 21\n", "PROXY TCP4 198.51.100.7 203.0.113.9 40000\r\n", "PROXY TCP4 198.51.100.7  203.0.113.9 40000 21\r\n",
		"PROXY TCP4 198.51.100.7 203.0.113.9 040000 21\r\n", "PROXY TCP4 198.51.100.7 203.0.113.9 40000 65536\r\n", "PROXY TCP4 2001:db8::7 2001:db8::9 40000 21\r\n",
		"PROXY TCP6 fe80::1%eth0 2001:db8::9 40000 21\r\n", "PROXY TCP5 198.51.100.7 203.0.113.9 40000 21\r\n", "proxy TCP4 198.51.100.7 203.0.113.9 40000 21\r\n",
		"PROXY UNKNOWN " + strings.Repeat("x", 100) + "\r\n", "PROXY TCP4 198.51.100.7 203.0.113.9 40000 21 \r\n",
		strings.Replace(proxyFour, "\x21", "\x31", 1), strings.Replace(proxyFour, "\x21\x11", "\x22\x11", 1), strings.Replace(proxyFour, "\x11\x00\x0c", "\x12\x00\x0c", 1),
		strings.Replace(proxyFour, "\x00\x0c", "\x00\x0b", 1), strings.Replace(proxyFour, "\x00\x0c", "\x0f\x0c", 1), proxyFour[:11] + "X\r\n",
		"POST / HTTP/1.1\r\nPROXY UNKNOWN\r\n",
	} {
		for cut := range len(first) {
			g := newGateway(routed, Policy{})
			g.steps(step{Reply, 5000, 1000, "220 hi\r\n"}, step{Original, 1000, 5008, first[:cut]}, step{Original, 1000 + uint32(cut), 5008, first[cut:]})
			at := 1000 + uint32(len(first))
			g.steps(step{Original, at, 5008, "USER x\r\nPORT 192,168,1,5,200,10\r\n"})
			if slices.ContainsFunc(g.log, opens) || slices.Contains(g.log, "forwarded") || !slices.Contains(g.log, "foreign not-ftp") {
				t.Fatalf("%q, cut at %d: %q", first, cut, g.log)
			}
		}
	}
	g := newGateway(routed, Policy{})
	talk(t, g, "S: 220 hi\nC: USER x\nC: PROXY UNKNOWN")
	if len(g.log) > 0 {
		t.Errorf("after a command: %q", g.log)
	}
	g = newGateway(routed, Policy{})
	talk(t, g, "S: 220 hi\nC: PROXY UNKNOWN\nC: PROXY UNKNOWN")
	if want := []string{"forwarded", "foreign not-ftp", "released not-ftp"}; !slices.Equal(g.log, want) {
		t.Errorf("twice: %q", g.log)
	}
}

// TestProxyDenied: no denied command passes as part of a header.
func TestProxyDenied(t *testing.T) {
	for _, cut := range []int{1, 8, 12, 15} {
		g := newGateway(routed, Policy{Deny: map[string]bool{"QUIT": true, "SITE": true}})
		var got []byte
		text := proxyFour[:cut] + "\nSITE x\r\nSITE y\r\n"
		g.c.received(Original, 5000, 1000)
		g.segment(Reply, 5000, []byte("220 hi\r\n"))
		for _, s := range [][2]int{{0, cut}, {cut, len(text)}} {
			g.c.received(Reply, 1000+uint32(s[0]), 5008)
			for _, out := range g.segment(Original, 1000+uint32(s[0]), []byte(text[s[0]:s[1]])) {
				got = append(got, out.p...)
			}
		}
		if strings.Contains(string(got), "SITE") {
			t.Errorf("cut at %d: the server got %q", cut, got)
		}
	}
}
