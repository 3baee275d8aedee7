// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// server64 starts an IPv4-only server.
func (s *Site) server64(t *testing.T, k *ServerKind) *Server {
	t.Helper()
	return s.Server.StartServer(t, k, netip.AddrPortFrom(serverAddr[IPv4], 21))
}

// TestNAT64 runs IPv6-only clients against IPv4-only servers, through Tayga on a
// firewall that drops everything else. It tries each client with each server, in
// short mode with two of them. PASVPORT_NAT64 selects a baseline: "unaware" is a
// daemon without --nat64, and "none" no daemon.
func TestNAT64(t *testing.T) {
	needDaemon(t)
	subject, flags, patience := Auto, []string{nat64Flag}, time.Duration(0)
	switch os.Getenv("PASVPORT_NAT64") {
	case "unaware":
		flags, patience = nil, 2*time.Second
	case "none":
		subject, patience = Nothing, 2*time.Second
	}
	for i, k := range nat64Servers {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			site := newNAT64(t, subject, AllowRelated)
			site.StartSubject(t, flags...)
			server := site.server64(t, k)
			for j, c := range nat64Clients {
				if testing.Short() && (i+j)%4 > 0 {
					continue
				}
				t.Run(c.kind().Name, func(t *testing.T) {
					c.client.Need(t)
					site.Case(Case{Mode: c.mode, Family: IPv6, Server: k.Name, Client: c.client.Name}).Count(t)
					Job{Client: c.kind(), From: site.Client, Dial: nat64.Dial(IPv6, 0), Server: server, Mode: c.mode, Size: smallFile,
						Timeout: patience}.Verify(t)
				})
			}
		})
	}
}

// TestNAT64Strategies covers both strategies, every way for the administrator to
// accept data connections, and both ways of announcing.
func TestNAT64Strategies(t *testing.T) {
	needDaemon(t)
	for _, s := range []Subject{Expectation, Claim} {
		for _, a := range []Allow{AllowRelated, AllowMark, AllowChain} {
			t.Run(s.Name+"/"+string(a), func(t *testing.T) {
				t.Parallel()
				site := newNAT64(t, s, a)
				site.StartSubject(t, nat64Flag)
				server := site.server64(t, Vsftpd)
				for _, m := range IPv6.Modes() {
					Job{Client: Ftplib, From: site.Client, Dial: nat64.Dial(IPv6, 0), Server: server, Mode: m, Size: 1 << 20}.Verify(t)
				}
				site.mustSay(t, "tayga runs here: both sides of what it translates pass our rules", nat64Flag)
				for _, f := range site.examine(t, nat64Flag).Findings {
					if f.Level != "ok" && f.Position != "output" { // the ruleset has nothing for the firewall's own
						t.Errorf("the doctor reports a fault: %+v", f)
					}
				}
			})
		}
	}
}

// TestNAT64Prefixes runs a translator with each prefix length.
func TestNAT64Prefixes(t *testing.T) {
	needDaemon(t)
	needPrograms(t, "nft", "conntrack")
	site := &Site{Topology: NewTopology(NewNet(t), 1, true), Position: nat64, Allow: AllowRelated, Subject: Auto}
	fw := site.Firewalls[0]
	fw.LoadRules(t, strings.NewReplacer(`"nat64"`, `"nat64*"`, nat64Pool.String(), "192.168.240.0/20").Replace(fmt.Sprintf(nat64Rules, AllowRelated.accept())))
	var flags []string
	var prefixes []netip.Prefix
	for i, text := range []string{"2001:d64::/32", "2001:db8:4000::/40", "2001:db8:4800::/48", "2001:db8:5600:56::/56", "2001:db8:6400:64::/64", "2001:db8:9600:96::/96"} {
		prefix, pool := netip.MustParsePrefix(text).Masked(), netip.MustParsePrefix(fmt.Sprintf("192.168.24%d.0/24", i))
		fw.startTaygaAs(t, tayga{device: fmt.Sprintf("nat64%d", i), own: pair(fmt.Sprintf("192.168.24%d.1", i), fmt.Sprintf("2001:db8:65::%d", i+1)), prefix: prefix, pool: pool})
		site.Client.routeTo(t, prefix, clientGate[IPv6])
		flags, prefixes = append(flags, "--nat64", prefix.String()+","+pool.String()), append(prefixes, prefix)
	}
	site.StartSubject(t, append(flags, "--checks", "strict")...) // opens nothing for a foreign 227
	for _, p := range prefixes {
		t.Run(fmt.Sprint(p.Bits()), func(t *testing.T) {
			site.Position.Target = Pair{IPv6: embedIn(p, serverAddr[IPv4])}
			d := site.talk64(t, site.Client)
			for _, m := range IPv6.Modes() {
				o := d.announce64(m)
				o.MustRefuse(t, site.Third, "a third host")
				o.MustOpen(t)
			}
			d.announceLiteral().MustOpen(t)
		})
	}
}

// announce64 announces a new listener through the translator, and checks the form
// in which each end receives it.
func (d *Dialogue) announce64(m Mode) *Offer {
	d.t.Helper()
	host, own, opener := d.site.Server, serverAddr[IPv4], d.from
	if m.Active() {
		host, own, opener = d.from, addrOf(d.Client.LocalAddr()).Addr(), d.site.Server
	}
	ln, err := host.Listen(netip.AddrPortFrom(own, 0))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { ln.Close() })
	o := &Offer{Opener: opener, listener: ln}
	go o.serve()
	d.announceAgain64(o)
	return o
}

// announceAgain64 announces the same listener again.
func (d *Dialogue) announceAgain64(o *Offer) {
	d.t.Helper()
	var err error
	if o.Opener == d.site.Server {
		heard := d.Command("EPRT " + argument(EPRT, addrOf(o.listener.Addr())))
		d.Reply("200 ok")
		if o.To, err = parseCommand(heard); err == nil && o.To.Addr() != serverGate[IPv4] {
			err = fmt.Errorf("received %q, want PORT with %v", heard, serverGate[IPv4])
		}
	} else {
		d.hears("EPSV", "PASV")
		o.To, err = parseExtended(d.Reply("227 Entering Passive Mode ("+argument(PORT, addrOf(o.listener.Addr()))+")."), addrOf(d.Client.RemoteAddr()).Addr())
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// announceLiteral announces a listener of the server in a 227 that reaches the
// client unchanged.
func (d *Dialogue) announceLiteral() *Offer {
	d.t.Helper()
	ln, err := d.site.Server.Listen(netip.AddrPortFrom(serverAddr[IPv4], 0))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { ln.Close() })
	o := &Offer{Opener: d.from, listener: ln, To: netip.AddrPortFrom(addrOf(d.Client.RemoteAddr()).Addr(), addrOf(ln.Addr()).Port())}
	go o.serve()
	said := "227 Entering Passive Mode (" + argument(PORT, addrOf(ln.Addr())) + ")."
	d.hears("PASV", "PASV")
	d.told(said, said)
	return o
}

// hears sends a line from the client and checks that the server receives want.
func (d *Dialogue) hears(line, want string) {
	d.t.Helper()
	if got := d.Command(line); got != want {
		d.t.Errorf("%s: the server received %q, want %q", line, got, want)
	}
}

// told sends a line from the server and checks that the client receives want,
// apart from extra spaces.
func (d *Dialogue) told(line, want string) {
	d.t.Helper()
	if got := strings.Join(strings.Fields(d.Reply(line)), " "); got != want {
		d.t.Errorf("%s: the client received %q, want %q", line, got, want)
	}
}

// talk64 is Talk with an IPv4-only server.
func (s *Site) talk64(t *testing.T, from *Host) *Dialogue {
	t.Helper()
	ln, err := s.Server.Listen(netip.AddrPortFrom(serverAddr[IPv4], 21))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return s.Talk(t, ln, from, IPv6)
}

// TestNAT64Dialogue checks RFC 6384 section by section, on the wire.
func TestNAT64Dialogue(t *testing.T) {
	needDaemon(t)
	site := newNAT64(t, Auto, AllowRelated)
	site.StartSubject(t, nat64Flag, "--max-pinholes", "4")
	d := site.talk64(t, site.Client)
	for range 3 {
		for _, m := range IPv6.Modes() {
			o := d.announce64(m)
			o.MustRefuse(t, site.Third, "a third host")
			o.MustOpen(t)
			o.MustRefuse(t, o.Opener, "a second time")
		}
	}
	d.hears("EPSV 2", "PASV")
	d.told("500 no", "500 no")
	d.hears("EPSV 1", "NOOP")
	d.told("200 ok", "522 Use (2).")
	d.hears("EPSV ALL", "NOOP")
	d.told("200 NOOP command successful, with many words about it", "504 Command not implemented for that parameter.")
	d.hears("EPRT |2|2001:db8::99|5000|", "XPRT |2|2001:db8::99|5000|")
	d.told("500 what?", "500 what?")
	d.hears("ALGS STATUS64", "ALGS STATUS64")
	d.told("500 Unknown command.", "216 EPSVEPRT")
	d.hears("ALGS DISABLE64", "ALGS DISABLE64")
	d.told("500 Unknown command.", "216 NONE")
	d.hears("EPSV", "EPSV")
	d.told("500 no", "500 no")
	d.hears("ALGS ENABLE64", "ALGS ENABLE64")
	d.told("202 superfluous", "216 EPSVEPRT")
	d.hears("LANG fr", "LANG fr")
	d.told("200 oui", "200 oui")
	d.hears("AUTH TLS", "AUTH TLS")
	d.told("500 no", "500 no")
	d.announce64(EPSV).MustOpen(t)

	// No pinhole can be opened.
	two := site.talk64(t, site.Client2)
	d.announce64(EPSV)
	two.announce64(EPSV)
	three := site.talk64(t, site.Client)
	three.hears("EPSV", "PASV")
	three.told("227 Entering Passive Mode (203,0,113,2,100,1).", "425 Can't open data connection.")

	d.hears("AUTH TLS", "AUTH TLS")
	d.told("234 go on", "234 go on")
	d.hears("EPSV", "EPSV")
}

// TestNAT64Literals: the client program speaks IPv4, and the translator on its
// own host turns it into IPv6 (464XLAT). Its announcements stay unchanged.
func TestNAT64Literals(t *testing.T) {
	needDaemon(t)
	site := newNAT64(t, Auto, AllowRelated)
	site.StartSubject(t, nat64Flag)
	d := site.talk64(t, site.Client)
	for range 2 {
		d.announceLiteral().MustOpen(t)
		d.announce64(EPSV).MustOpen(t)
		for _, m := range []Mode{PORT, EPRT} {
			ln, err := site.Client.Listen(netip.AddrPortFrom(clientAddr[IPv6], 0))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() })
			o := &Offer{Opener: site.Server, listener: ln}
			go o.serve()
			heard := d.Command(string(m) + " " + argument(m, netip.AddrPortFrom(netip.MustParseAddr("192.0.0.2"), addrOf(ln.Addr()).Port())))
			d.Reply("200 ok")
			if o.To, err = parseCommand(heard); err != nil || o.To.Addr() != serverGate[IPv4] {
				t.Fatalf("received %q: %v", heard, err)
			}
			o.MustOpen(t)
		}
	}
}

// newOnTheWay builds a firewall that drops everything, with the translator on
// another machine behind it.
func newOnTheWay(t *testing.T) *Site {
	t.Helper()
	needPrograms(t, "nft", "conntrack")
	site := &Site{Topology: NewTopology(NewNet(t), 2, true), Position: nat64, Allow: AllowRelated, Subject: Auto}
	near, far := site.Firewalls[0], site.Firewalls[1]
	far.startTayga(t)
	far.LoadRules(t, "table ip nat { chain post { type nat hook postrouting priority srcnat; ip saddr 192.168.255.0/24 masquerade; }; }")
	far.routeTo(t, netip.MustParsePrefix("fd07::/64"), midNear[IPv6])
	site.Client.routeNAT64(t, clientGate)
	near.routeNAT64(t, midFar)
	near.LoadRules(t, position("routed").Ruleset(0, AllowRelated))
	return site
}

// TestNAT64OnTheWay: the translator runs on another machine, behind a firewall
// that knows only the prefix. That firewall translates passive mode.
func TestNAT64OnTheWay(t *testing.T) {
	needDaemon(t)
	site := newOnTheWay(t)
	near := site.Firewalls[0]
	site.Daemons = append(site.Daemons, site.StartDaemon(t, near, "--nat64", nat64Prefix.String()))
	server := site.server64(t, Vsftpd)
	for _, k := range []*ClientKind{Ftplib, Wget, Curl} { // Wget reports EPSV 2
		k.Need(t)
		Job{Client: k, From: site.Client, Dial: nat64.Dial(IPv6, 0), Server: server, Mode: EPSV, Size: smallFile}.Verify(t)
	}
	server.Stop()
	d := site.talk64(t, site.Client)
	d.announce64(EPSV).MustOpen(t)
	d.hears("ALGS STATUS64", "ALGS STATUS64")
	d.told("500 Unknown command", "216 EPSV")
	d.hears("EPSV ALL", "NOOP")
	d.told("200 ok", "504 No such.")
	d.announce64(EPSV).MustOpen(t)
	d.hears("EPRT |2|fd07::2|5000|", "EPRT |2|fd07::2|5000|") // only the translator's machine can change it
	d.told("522 no", "522 no")
}

// clat makes the client's programs speak IPv4 to the server, through a translator
// of the client's own to IPv6.
func (s *Site) clat(t *testing.T) {
	t.Helper()
	as := tayga{device: "clat", own: pair("192.0.0.2", "fd07:c1a7::2"), prefix: nat64Prefix, client: pair("192.0.0.1", "fd07:c1a7::1")}
	s.Client.startTaygaAs(t, as)
	if err := s.Client.Sysctl("net/ipv6/conf/all/forwarding", "1"); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"address add 192.0.0.1/32 dev clat",
		"link set clat mtu 1280",
		"route add " + serverAddr[IPv4].String() + "/32 dev clat src 192.0.0.1",
	} {
		if out, err := s.Client.Run(startTimeout, Cmd(append([]string{"ip"}, strings.Fields(args)...)...)); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	s.Firewalls[0].routeTo(t, netip.MustParsePrefix("fd07:c1a7::/64"), clientAddr[IPv6])
}

// TestNAT64CLAT runs real IPv4 programs on an IPv6-only host (464XLAT). The
// firewall is the other translator, or on the path to it.
func TestNAT64CLAT(t *testing.T) {
	needDaemon(t)
	programs := func(t *testing.T, site *Site, modes ...Mode) {
		server := site.server64(t, Vsftpd)
		for _, k := range []*ClientKind{Curl, Lftp, Tnftp, Wget, Ftplib} {
			for _, m := range modes {
				if !slices.Contains(k.modes[IPv4], m) {
					continue
				}
				t.Run(k.Name+"/"+string(m), func(t *testing.T) {
					k.Need(t)
					Job{Client: k, From: site.Client, Dial: netip.AddrPortFrom(serverAddr[IPv4], 21), Server: server, Mode: m, Size: smallFile}.Verify(t)
				})
			}
		}
	}
	t.Run("plat", func(t *testing.T) {
		t.Parallel()
		site := newNAT64(t, Auto, AllowRelated)
		site.clat(t)
		site.StartSubject(t, nat64Flag)
		programs(t, site, IPv4.Modes()...)
	})
	for name, flags := range map[string][]string{"on the way": nil, "on the way, told": {"--nat64", nat64Prefix.String()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := newOnTheWay(t)
			site.clat(t)
			site.Firewalls[1].routeTo(t, netip.MustParsePrefix("fd07:c1a7::/64"), midNear[IPv6])
			site.Daemons = append(site.Daemons, site.StartDaemon(t, site.Firewalls[0], flags...))
			programs(t, site, PASV, EPSV)
		})
	}
}

// TestNAT64Restart restarts the daemon between command and reply, and between
// announcement and data connection.
func TestNAT64Restart(t *testing.T) {
	needDaemon(t)
	for _, ending := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		for _, s := range []Subject{Expectation, Claim} {
			t.Run(s.Name+"/"+ending.String(), func(t *testing.T) {
				t.Parallel()
				site := newNAT64(t, s, AllowRelated)
				site.StartSubject(t, nat64Flag)
				site.ending = ending
				d := site.talk64(t, site.Client)
				for _, m := range IPv6.Modes() {
					d.announce64(m).MustOpen(t) // changes the lengths of texts
					o := d.announce64(m)
					site.restart(t, nat64Flag)
					o.MustOpen(t)
					d.Exchange()
					d.announce64(m).MustOpen(t)
				}
				for _, cmd := range []string{"EPSV", "EPSV 2", "EPSV ALL", "ALGS STATUS64"} {
					d.Command(cmd)
					site.restart(t, nat64Flag)
					switch code := cmd; {
					case code == "EPSV ALL" && ending == syscall.SIGTERM:
						d.told("200 NOOP command successful", "504 No such.")
					case code == "ALGS STATUS64" && ending == syscall.SIGTERM:
						d.told("500 Unknown command.", "216 EPSVEPRT")
					case code == "EPSV" || code == "EPSV 2":
						d.told("227 Entering Passive Mode (203,0,113,2,100,1).", "229 Entering Extended Passive Mode (|||25601|)")
					default:
						d.Reply("200 ok")
					}
					d.Exchange()
					d.announce64(EPSV).MustOpen(t)
				}
			})
		}
	}
}

// TestNAT64Older: a session is older than the daemon.
func TestNAT64Older(t *testing.T) {
	needDaemon(t)
	for _, s := range []Subject{Auto, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			site := newNAT64(t, s, AllowRelated)
			d := site.talk64(t, site.Client)
			site.StartSubject(t, nat64Flag)
			d.Exchange()
			for _, m := range IPv6.Modes() {
				d.announce64(m).MustOpen(t)
			}
			d.hears("EPSV 1", "NOOP")
			d.told("200 ok", "522 Use (2).")
		})
	}
}

// TestNAT64Hostile: a client announces addresses of others, in every form there
// is.
func TestNAT64Hostile(t *testing.T) {
	needDaemon(t)
	site := newNAT64(t, Auto, AllowRelated)
	site.StartSubject(t, nat64Flag)
	victim := site.talk64(t, site.Client2)
	at := func(h *Host, a netip.Addr) *Offer {
		ln, err := h.Listen(netip.AddrPortFrom(a, 25600))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		o := &Offer{Opener: site.Server, listener: ln, To: netip.AddrPortFrom(serverGate[IPv4], 25600)}
		go o.serve()
		return o
	}
	own, other := at(site.Client, clientAddr[IPv6]), at(site.Client2, client2Addr[IPv6])
	pool := addrOf(victim.Server.RemoteAddr()).Addr() // the server's address of the victim
	d := site.talk64(t, site.Client)
	for _, line := range []string{
		"EPRT |2|" + client2Addr[IPv6].String() + "|25600|",
		"EPRT |2|" + nat64Addr(serverAddr[IPv4]).String() + "|25600|",
		"EPRT |2|" + nat64Addr(nat64Pool.Addr().Next()).String() + "|25600|",
		"EPRT |2|::ffff:" + pool.String() + "|25600|",
		"EPRT |1|" + pool.String() + "|25600|",
		"EPRT |2|fd07::2|80|",
		"EPRT |2|fd07::2|25600|\xff\xf1",
		"PORT " + argument(PORT, netip.AddrPortFrom(pool, 25600)),
		"PORT " + argument(PORT, netip.AddrPortFrom(serverAddr[IPv4], 25600)),
		"PORT 127,0,0,1,100,0",
		"LPRT 6,16,253,7,0,0,0,0,0,0,0,0,0,0,0,0,0,2,2,100,0",
	} {
		d.Command(line)
		d.told("200 as you like", "200 as you like")
		var both sync.WaitGroup
		for _, o := range []*Offer{own, other} {
			both.Go(func() { o.MustRefuse(t, site.Server, line) })
		}
		both.Wait()
	}
	// Private addresses stand for the sender, whoever uses them on this side
	// (464XLAT).
	d.Command("PORT 192,168,255,9,100,0")
	d.told("200 ok", "200 ok")
	own.MustOpen(t)
	other.MustRefuse(t, site.Server, "PORT of a private address")

	ln, err := site.Server.Listen(netip.AddrPortFrom(serverAddr[IPv4], 25600))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	o := &Offer{Opener: site.Client, listener: ln, To: netip.AddrPortFrom(nat64Addr(serverAddr[IPv4]), 25600)}
	go o.serve()
	d.told("227 Entering Passive Mode (203,0,113,2,100,0).", "227 Entering Passive Mode (203,0,113,2,100,0).") // no one asked
	o.MustRefuse(t, site.Client, "an answer to nothing")
	d.hears("EPSV", "PASV")
	d.told("227 Entering Passive Mode (192,168,255,1,100,0).", "229 Entering Extended Passive Mode (|||25600|)")
	o.MustRefuse(t, site.Client2, "the port of another client's session")
	o.MustOpen(t)
	d.hears("EPSV", "PASV")
	if _, err := d.Server.Write([]byte("227 Entering Passive Mode (203,0,113,2,100,0).\r\n")); err != nil {
		t.Fatal(err)
	}
	before := strings.Count(site.Daemons[0].Output(), `msg="pinhole closed"`)
	d.Server.Close() // after its answer
	if got, err := hear(d.Client, d.heardByClient); err != nil || got != "229 Entering Extended Passive Mode (|||25600|)" {
		t.Errorf("received %q, %v", got, err)
	}
	d.Client.Close()
	err = waitFor(startTimeout, "the pinholes of the session to close", func() bool {
		return strings.Count(site.Daemons[0].Output(), `msg="pinhole closed"`) >= before+2
	})
	if err != nil {
		t.Error(err)
	}
	o.MustRefuse(t, site.Client, "the session has ended")
}

// TestNAT64SamePort: twenty clients announce the same port at once. To the server
// they are all one address.
func TestNAT64SamePort(t *testing.T) {
	needDaemon(t)
	site := newNAT64(t, Auto, AllowRelated)
	site.StartSubject(t, nat64Flag)
	var offers []*Offer
	for i := range 20 {
		own := netip.MustParseAddr(fmt.Sprintf("fd07::1:%x", i+1))
		if out, err := site.Client.Run(startTimeout, Cmd("ip", "address", "add", own.String()+"/64", "dev", "eth0", "nodad")); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		ln, err := site.Server.Listen(netip.AddrPortFrom(serverAddr[IPv4], 21))
		if err != nil {
			t.Fatal(err)
		}
		d := site.connect(t, ln, site.Client, IPv6, netip.AddrPortFrom(own, 0))
		ln.Close()
		d.Reply("220 ready")
		d.login()
		data, err := site.Client.Listen(netip.AddrPortFrom(own, 5000))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { data.Close() })
		o := &Offer{Opener: site.Server, listener: data}
		go o.serve()
		if o.To, err = parseCommand(d.Command("EPRT " + argument(EPRT, addrOf(data.Addr())))); err != nil {
			t.Fatal(err)
		}
		d.Reply("200 ok")
		offers = append(offers, o)
	}
	for _, o := range offers {
		o.MustOpen(t) // proves that it ends at its own client
	}
}

// TestNAT64Pieces sends lines byte by byte, and several in one segment.
func TestNAT64Pieces(t *testing.T) {
	needDaemon(t)
	site := newNAT64(t, Auto, AllowRelated)
	site.StartSubject(t, nat64Flag)
	d := site.talk64(t, site.Client)
	dribble := func(text string, to interface{ Write([]byte) (int, error) }) {
		for i := range len(text) {
			if _, err := to.Write([]byte{text[i]}); err != nil {
				t.Fatal(err)
			}
		}
	}
	line := func(heard func() (string, error), want string) {
		t.Helper()
		if got, err := heard(); err != nil || strings.TrimRight(got, " ") != want {
			t.Errorf("received %q, %v, want %q", got, err, want)
		}
	}
	server := func() (string, error) { return hear(d.Server, d.heardByServer) }
	client := func() (string, error) { return hear(d.Client, d.heardByClient) }
	dribble("EPSV 2\r\nNOOP\r\nEPSV ALL\r\n", d.Client)
	for _, want := range []string{"PASV", "NOOP", "NOOP"} {
		line(server, want)
	}
	dribble("227 Entering Passive Mode (203,0,113,2,100,1).\r\n200 ok\r\n200 ok\r\n", d.Server)
	for _, want := range []string{"229 Entering Extended Passive Mode (|||25601|)", "200 ok", "504 No such."} {
		line(client, want)
	}
	dribble("EPRT |2|fd07::2|25600|\r\n", d.Client)
	line(server, "PORT 203,0,113,171,100,0")
	dribble("200 ok\r\n", d.Server)
	line(client, "200 ok")
	if _, err := d.Client.Write([]byte("EPSV\r\nEPSV 2\r\nEPSV 1\r\nALGS STATUS64\r\nNOOP\r\n")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PASV", "PASV", "NOOP", "ALGS STATUS64", "NOOP"} {
		line(server, want)
	}
	if _, err := d.Server.Write([]byte("227 (203,0,113,2,100,1)\r\n227 (203,0,113,2,100,2)\r\n200 ok\r\n500 what?\r\n200 ok\r\n")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"229         (|||25601|)", "229         (|||25602|)", "522 Use (2).", "216 EPSVEPRT", "200 ok"} {
		line(client, want)
	}
	d.announce64(EPSV).MustOpen(t)
}

// TestNAT64Loss: transfers succeed although packets are lost on both sides.
func TestNAT64Loss(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	site := newNAT64(t, Auto, AllowRelated)
	site.StartSubject(t, nat64Flag)
	server := site.server64(t, Vsftpd)
	site.lose(t, 12)
	for i, c := range []invocation{{Wget, EPSV, EPSV}, {Ftplib, EPRT, EPRT}, {Tnftp, EPRT, EPRT}, {Curl, EPSV, EPSV}} {
		t.Run(fmt.Sprint(c.kind().Name, i), func(t *testing.T) {
			c.client.Need(t)
			// A segment that is lost four times in a row takes TCP 30 s.
			Job{Client: c.kind(), From: site.Client, Dial: nat64.Dial(IPv6, 0), Server: server, Mode: c.mode, Size: smallFile,
				Timeout: 3 * time.Minute}.Verify(t)
		})
	}
	if before, behind := site.lost(t); before == 0 || behind == 0 {
		t.Errorf("%d packets lost before and %d after the firewall", before, behind)
	}
}

// TestNAT64DefaultPort: a client that announces no port listens on the port of
// its control connection, and the server connects from port 20. Both negotiate
// Telnet options first.
func TestNAT64DefaultPort(t *testing.T) {
	needDaemon(t)
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := newNAT64(t, s, AllowRelated)
			site.StartSubject(t, nat64Flag)
			own := netip.AddrPortFrom(clientAddr[IPv6], 40001)
			ln, err := site.Server.Listen(netip.AddrPortFrom(serverAddr[IPv4], 21))
			if err != nil {
				t.Fatal(err)
			}
			d := site.connect(t, ln, site.Client, IPv6, own)
			ln.Close()
			d.Reply("220 ready")
			d.login()
			d.hears("\xff\xfb\x01\xff\xfd\x03NOOP", "\xff\xfc\x01\xff\xfe\x03NOOP")
			d.told("\xff\xfd\x01200 ok", "\xff\xfe\x01200 ok")
			data, err := site.Client.listenBeside(own)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { data.Close() })
			o := &Offer{Opener: site.Server, To: addrOf(d.Server.RemoteAddr()), listener: data}
			go o.serve()
			from := netip.AddrPortFrom(serverAddr[IPv4], 20)
			refused := func(why string) {
				t.Helper()
				if c, err := site.Server.Dial(from, o.To, refusedTimeout); err == nil {
					c.Close()
					t.Error("a data connection was let through: ", why)
				}
			}
			refused("before a transfer")
			for range 2 {
				d.hears("RETR file", "RETR file")
				o.MustRefuse(t, site.Server, "from another port")
				c, err := site.Server.Dial(from, o.To, openTimeout)
				if err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(o.token()))
				if _, err := io.ReadFull(c, got); err != nil || string(got) != o.token() {
					t.Fatalf("%q, %v, want %q", got, err, o.token())
				}
				d.Reply("150 coming")
				c.SetLinger(0) // the same ports again
				c.Close()
				d.Reply("226 done")
				refused("a second time")
			}
			d.announce64(EPSV).MustOpen(t)
			d.hears("RETR file", "RETR file")
			refused("another port was chosen")
		})
	}
}

// TestNAT64TLS: encrypted announcements are not translated; EPSV still works.
func TestNAT64TLS(t *testing.T) {
	needDaemon(t)
	site := newNAT64(t, Auto, AllowRelated)
	site.StartSubject(t, nat64Flag, "--tls", "range="+tlsRange)
	server := site.server64(t, vsftpdTLS(false))
	for _, c := range tlsClients {
		t.Run(c.name, func(t *testing.T) { tlsFetch(t, site, server, IPv6, 0, false, c.command) })
	}
}

// listenBeside listens on a port that a connection already uses.
func (h *Host) listenBeside(local netip.AddrPort) (*net.TCPListener, error) {
	var ln net.Listener
	var err error
	err = h.Enter(func() error {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		}}
		lc.SetMultipathTCP(false)
		ln, err = lc.Listen(context.Background(), "tcp", local.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return ln.(*net.TCPListener), nil
}
