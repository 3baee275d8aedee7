// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
)

// TestPASVOverIPv6: a 227 cannot carry an IPv6 address. vsftpd announces 0,0,0,0,
// and a translator between IPv6 and IPv4 (NAT64, CLAT) leaves an address that
// means nothing here. Clients connect to the control connection's server, and the
// port is open to that and nowhere else.
func TestPASVOverIPv6(t *testing.T) {
	needDaemon(t)
	for _, name := range []string{"routed", "nat66"} {
		for _, s := range subjects(t) {
			t.Run(name+"/"+s.Name+"/vsftpd", func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(name), AllowRelated, s)
				server := site.StartServer(t, Vsftpd)
				defer server.Stop()
				site.listByPASV(t)
			})
			t.Run(name+"/"+s.Name+"/translator", func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(name), AllowRelated, s)
				talk := site.Talk(t, site.ListenControl(t, IPv6), site.Client, IPv6)
				ln, err := site.Server.Listen(netip.AddrPortFrom(site.ServerAddr(IPv6), 0))
				if err != nil {
					t.Fatal(err)
				}
				defer ln.Close()
				o := &Offer{Opener: site.Client, listener: ln, To: netip.AddrPortFrom(addrOf(talk.Client.RemoteAddr()).Addr(), addrOf(ln.Addr()).Port())}
				go o.serve()
				talk.Command("PASV")
				said := fmt.Sprintf("227 Entering Passive Mode (192,0,2,9,%d,%d).", o.To.Port()>>8, o.To.Port()&255)
				if heard := talk.Reply(said); heard != said {
					t.Errorf("%q became %q", said, heard)
				}
				o.MustOpen(t)
			})
		}
	}
}

// listByPASV logs in to vsftpd, asks for a port with PASV, and makes the server
// list its files there.
func (s *Site) listByPASV(t *testing.T) {
	t.Helper()
	s.Case(Case{Mode: PASV, Family: IPv6, Server: "vsftpd", Client: "mini"}).Count(t)
	session, err := miniDial(s.Client, s.Dial(s.Client, IPv6, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer session.c.Close()
	var said string
	for _, line := range []string{"USER anonymous", "PASS x", "PASV"} {
		if said, err = session.command(line); err != nil {
			t.Fatal(err)
		}
	}
	a, err := parseCommand("PORT " + numbers(said))
	if err != nil || !a.Addr().IsUnspecified() {
		t.Fatalf("vsftpd answers PASV with %q, want 0,0,0,0 (%v)", said, err)
	}
	c, err := s.Client.Dial(netip.AddrPort{}, netip.AddrPortFrom(s.Dial(s.Client, IPv6, 0).Addr(), a.Port()), lineTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, want := range []string{"150 ", "226 "} {
		if want == "150 " {
			said, err = session.command("LIST")
		} else {
			said, err = session.reply()
		}
		if err != nil || !strings.HasPrefix(said, want) {
			t.Fatalf("%q, %v, want %s", said, err, want)
		}
	}
	if text, err := io.ReadAll(c); err != nil || !strings.Contains(string(text), "upload") {
		t.Errorf("listing %q, %v", text, err)
	}
}
