// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/netip"
	"testing"
)

// checked are announcements that the strict checks refuse, each with its reason.
// The lines have the format of injections.
var checked = []struct {
	reason string
	mode   Mode
	lines  []string
}{
	{"not-logged-in", PORT, []string{"C: REIN", "S: 220 again", "C: %s", "S: 200 ok"}},
	{"not-logged-in", PASV, []string{"C: USER other", "S: 331 password", "C: PASV", "S: %s"}},
	{"not-answered", PORT, []string{"C: NOOP", "C: %s", "S: 200 ok", "S: 200 ok"}},
	{"not-answered", PASV, []string{"C: NOOP", "C: PASV", "S: 200 ok", "S: %s"}},
	{"line-end", PORT, []string{"C: %s\nNOOP", "S: 200 ok", "S: 200 ok"}},
	{"line-end", EPSV, []string{"C: EPSV", "S: %s\n200 ok"}},
	{"text-behind", PASV, []string{"C: PASV", "S: %s, which is a port for you"}},
	{"text-behind", EPSV, []string{"C: EPSV", "S: %s, which is a port for you"}},
	{"epsv-all", EPRT, []string{"C: EPSV ALL", "S: 200 ok", "C: %s", "S: 200 ok"}},
	{"epsv-all", PASV, []string{"C: EPSV ALL", "S: 200 ok", "C: PASV", "S: %s"}},
	{"unasked-reply", PASV, []string{"S: %s"}},
	{"telnet-inside", PORT, []string{"C: PO\xff\xf1RT %a", "S: 200 ok"}},
	{"syntax", PORT, []string{"C: %s HTTP/1.1", "S: 200 ok"}},
}

// TestStrict: an announcement that the strict policy refuses opens nothing, and
// the session's next proper announcement does.
func TestStrict(t *testing.T) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("both-nat"), AllowRelated, s, "--checks", "strict")
			ln := site.ListenControl(t, IPv4)
			for _, c := range checked {
				d := site.Talk(t, ln, site.Client, IPv4)
				t.Run(c.reason+"/"+string(c.mode), func(t *testing.T) {
					site.Case(Case{Mode: c.mode, Family: IPv4, Kind: "strict"}).Count(t)
					d.t = t
					before := site.decisions(t)[c.reason]
					d.inject(t, c.mode, c.lines)
					if n := site.decisions(t)[c.reason]; n != before+1 {
						t.Errorf("%v refusals for %s, want one more than %v", n, c.reason, before)
					}
				})
			}
			t.Run("proper", func(t *testing.T) {
				d := site.Talk(t, ln, site.Client, IPv4)
				for _, m := range IPv4.Modes() {
					d.Announce(m).MustOpen(t)
				}
			})
			for m, port := range map[Mode]uint16{PORT: 6000, EPRT: 5900, PASV: 3306, EPSV: 5432} {
				t.Run("known-service/"+string(m), func(t *testing.T) {
					d := site.Talk(t, ln, site.Client, IPv4)
					host, addr, opener := d.listensAt(m)
					service, err := host.Listen(netip.AddrPortFrom(addr, port))
					if err != nil {
						t.Fatal(err)
					}
					d.AnnounceListener(m, service, opener).MustRefuse(t, opener, "port of a known service")
				})
			}
		})
	}
}
