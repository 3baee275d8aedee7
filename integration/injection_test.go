// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// injections are announcements in texts that an attacker chose: file names,
// banners, messages. %s is the announcement, without a line end, and %a its
// numbers. Lines are sent in order, those of the server begin with "S: ".
var injections = []struct {
	name  string
	mode  Mode // of the announcement
	lines []string
}{
	{"directory name", PASV, []string{"C: PWD", "S: 257 \"/%s\" is the directory"}},
	{"directory name with a line end", PASV, []string{"C: PWD", "S: 257 \"/x\r\n%s\" is the directory"}},
	{"error text", PASV, []string{"C: RETR %s", "S: 550 %s: no such file"}},
	{"error text of several lines", PASV, []string{"C: RETR x", "S: 550-x\r\n%s\r\n550 end"}},
	{"error text to PASV", PASV, []string{"C: PASV", "S: 550 %s"}},
	{"error of several lines to PASV", PASV, []string{"C: PASV", "S: 550-no\r\n%s\r\n550 end"}},
	{"status", PASV, []string{"C: STAT", "S: 211-status\r\n%s\r\n211 end"}},
	{"listing on the control connection", PASV, []string{"C: STAT /", "S: 213-list\r\n-rw %s\r\n%s\r\n213 end"}},
	{"message of a directory", PASV, []string{"C: CWD x", "S: 250-hello\r\n%s\r\n250 end"}},
	{"unasked", PASV, []string{"C: NOOP", "S: 200 ok", "S: %s"}},
	{"229 in an error text", EPSV, []string{"C: EPSV", "S: 522 %s"}},
	{"229 in a status", EPSV, []string{"C: STAT", "S: 211-status\r\n%s\r\n211 end"}},
	{"file name", PORT, []string{"C: RETR %s", "S: 550 no"}},
	{"file name with CR", PORT, []string{"C: RETR x\r%s", "S: 550 no", "S: 200 ok"}},
	{"behind a space", PORT, []string{"C:  %s", "S: 200 ok"}},
	{"argument of a site command", PORT, []string{"C: SITE %s", "S: 200 ok"}},
	{"the server sends PORT", PORT, []string{"S: %s", "S: 200 ok"}},
	{"the server sends PORT in a reply", PORT, []string{"C: STAT", "S: 211-status\r\n%s\r\n211 end", "S: 200 ok"}},
	{"the server sends EPRT", EPRT, []string{"S: %s", "S: 200 ok"}},
	{"the client sends 227", PASV, []string{"C: %s", "S: 200 ok"}},
	{"the client sends 227 after PASV", PASV, []string{"C: PASV", "C: %s", "S: 500 no"}},
}

// TestInjection: no such text opens a port, neither for the end that an
// announcement is for nor for the other, in front of NAT or behind it.
func TestInjection(t *testing.T) {
	needDaemon(t)
	for _, p := range []string{"routed", "both-nat"} {
		for _, s := range subjects(t) {
			t.Run(p+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(p), AllowRelated, s)
				ln := site.ListenControl(t, IPv4)
				for _, c := range injections {
					d := site.Talk(t, ln, site.Client, IPv4)
					t.Run(c.name, func(t *testing.T) {
						site.Case(Case{Mode: c.mode, Family: IPv4, Kind: "injection"}).Count(t)
						d.t = t
						d.inject(t, c.mode, c.lines)
					})
				}
			})
		}
	}
}

// inject sends the lines, which must arrive unchanged, and tries the data
// connection at the address in them and at its translation.
func (d *Dialogue) inject(t *testing.T, m Mode, lines []string) {
	t.Helper()
	host, addr, opener := d.listensAt(m)
	ln := d.site.listen(t, host, addr)
	a := addrOf(ln.Addr())
	text := string(m) + " " + argument(m, a)
	switch m {
	case PASV:
		text = "227 Entering Passive Mode (" + argument(PORT, a) + ")."
	case EPSV:
		text = fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", a.Port())
	}
	for _, line := range lines {
		line = strings.ReplaceAll(strings.ReplaceAll(line, "%s", text), "%a", argument(PORT, a))
		if got, err := d.speak(line + "\r\n"); err != nil || got != line[3:] {
			t.Errorf("%q arrived as %q, %v", line, got, err)
		}
	}
	o := &Offer{Opener: opener, listener: ln}
	go o.serve()
	seen := addrOf(d.Client.RemoteAddr()).Addr()
	if m.Active() {
		seen = addrOf(d.Server.RemoteAddr()).Addr()
	}
	for _, to := range []netip.Addr{addr, seen} {
		o.To = netip.AddrPortFrom(to, a.Port())
		o.MustRefuse(t, opener, "to "+to.String())
	}
}

// TestFlood: a thousand PASV without a data connection leave one pinhole, the
// last, and the daemon no larger.
func TestFlood(t *testing.T) {
	needDaemon(t)
	const flood = 1000
	for _, p := range []string{"routed", "both-nat"} {
		for _, s := range subjects(t) {
			t.Run(p+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(p), AllowChain, s)
				site.Case(Case{Mode: PASV, Family: IPv4, Kind: "flood"}).Count(t)
				d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
				own := site.ServerAddr(IPv4)
				for i := range 100 {
					d.AnnounceText(PASV, netip.AddrPortFrom(own, uint16(20000+i)))
				}
				before := site.Daemons[0].memory(t)
				for i := range flood {
					d.AnnounceText(PASV, netip.AddrPortFrom(own, uint16(21000+i)))
				}
				last := d.Announce(PASV)
				site.onePinhole(t)
				if grown := site.Daemons[0].memory(t) - before; grown > 8<<10 {
					t.Errorf("the daemon has grown by %d kB in %d offers", grown, flood)
				}
				last.MustOpen(t)
			})
		}
	}
}
