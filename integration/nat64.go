// SPDX-License-Identifier: Apache-2.0

package integration

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The addresses of a translator between IPv6 and IPv4: the IPv6 prefix for IPv4
// addresses, and the IPv4 addresses for clients. In 64:ff9b::/96 Tayga answers
// only for global addresses (RFC 6052 section 3.1).
var (
	nat64Prefix = netip.MustParsePrefix("2001:db8:64::/96")
	nat64Pool   = netip.MustParsePrefix("192.168.255.0/24")
)

// nat64Addr maps an IPv4 address into nat64Prefix.
func nat64Addr(a netip.Addr) netip.Addr { return embedIn(nat64Prefix, a) }

// embedIn maps an IPv4 address into a prefix (RFC 6052 section 2.2): it follows
// the prefix, and bits 64 to 71 are skipped.
func embedIn(p netip.Prefix, a netip.Addr) netip.Addr {
	b, at := p.Addr().As16(), p.Bits()/8
	for _, octet := range a.AsSlice() {
		if at == 8 {
			at++
		}
		b[at] = octet
		at++
	}
	return netip.AddrFrom16(b)
}

// nat64 has an IPv6-only client, a firewall that translates, and an IPv4-only
// server. The server has no route to the pool.
var nat64 = Position{Name: "nat64", Hidden: true, Families: []Family{IPv6},
	Target: Pair{IPv6: nat64Addr(serverAddr[IPv4])}}

// nat64Own is the same with the translator in a network namespace of its own.
var nat64Own = Position{Name: "nat64-own", Hidden: true, Families: []Family{IPv6}, Target: nat64.Target}

// The addresses on the link to a translator in a namespace of its own.
var (
	translatorGate = pair("192.168.254.1", "2001:db8:65:1::1")
	translatorAddr = pair("192.168.254.2", "2001:db8:65:1::2")
)

// translatorApart starts a translator on a host of its own, behind the firewall's
// interface to64: Jool, or Tayga if the kernel has no module for Jool.
func (s *Site) translatorApart(t testing.TB, start func(*Host, testing.TB)) *Host {
	t.Helper()
	fw, h := s.Firewalls[0], s.Host("translator")
	if err := (link{fw, h, "to64", "eth0", translatorGate, translatorAddr}).up(); err != nil {
		t.Fatal(err)
	}
	start(h, t)
	for _, f := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := h.Sysctl(f, "1"); err != nil {
			t.Fatal(err)
		}
	}
	fw.routeTo(t, nat64Prefix, translatorAddr[IPv6])
	fw.routeTo(t, nat64Pool, translatorAddr[IPv4])
	h.routeTo(t, netip.MustParsePrefix("::/0"), translatorGate[IPv6])
	h.routeTo(t, netip.MustParsePrefix("0.0.0.0/0"), translatorGate[IPv4])
	return h
}

// nat64Rules accept control connections on both sides of the translator, whose
// device is nat64; %s is the rule for related packets.
const nat64Rules = `table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		%s
		iifname "in*" oifname "nat64" tcp dport 21 ct state new accept
		iifname "nat64" oifname "out*" tcp dport 21 ct state new accept
	}
}
table ip nat {
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 192.168.255.0/24 oifname "out*" masquerade
	}
}
`

// taygaProgram is the translator Tayga, which needs TUN devices.
func taygaProgram(t testing.TB) string {
	t.Helper()
	program, err := unpacked("usr/sbin/tayga")()
	if err != nil {
		t.Skip(err)
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip(err)
	}
	return program
}

// tayga describes a translator: its device, its own addresses, the prefix for
// IPv4, and either the IPv4 addresses for clients, or one IPv4 client with the
// IPv6 address that stands for it.
type tayga struct {
	device       string
	own          Pair
	prefix, pool netip.Prefix
	client       Pair
}

// startTayga starts the translator that most tests use.
func (h *Host) startTayga(t testing.TB) {
	t.Helper()
	h.startTaygaAs(t, tayga{device: "nat64", own: pair("192.168.255.1", "2001:db8:65::1"), prefix: nat64Prefix, pool: nat64Pool})
}

// startTaygaAs starts a translator on a host, and adds its routes.
func (h *Host) startTaygaAs(t testing.TB, as tayga) {
	t.Helper()
	program, dir := taygaProgram(t), filepath.Join(h.Dir, as.device)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("tun-device %s\nipv4-addr %s\nipv6-addr %s\nprefix %s\ndata-dir %s\n", as.device, as.own[IPv4], as.own[IPv6], as.prefix, dir)
	to := []netip.Prefix{as.prefix, as.pool}
	if as.pool.IsValid() {
		text += fmt.Sprintf("dynamic-pool %s\n", as.pool)
	} else {
		text += fmt.Sprintf("map %s %s\n", as.client[IPv4], as.client[IPv6])
		to = []netip.Prefix{netip.PrefixFrom(as.client[IPv6], 128)}
	}
	conf, err := h.File(as.device+".conf", text)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := h.Run(startTimeout, Cmd(program, "--mktun", "-c", conf)); err != nil {
		t.Skipf("no TUN device: %v: %s", err, out)
	}
	if err := h.Up(as.device); err != nil {
		t.Fatal(err)
	}
	for _, p := range to {
		if err := h.RouteLink(p, as.device); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Start(Cmd(program, "-d", "-c", conf)); err != nil {
		t.Fatal(err)
	}
}

// routeNAT64 routes the prefix of a host through a gateway.
func (h *Host) routeNAT64(t testing.TB, gate Pair) {
	t.Helper()
	h.routeTo(t, nat64Prefix, gate[IPv6])
}

// routeTo adds a route.
func (h *Host) routeTo(t testing.TB, to netip.Prefix, via netip.Addr) {
	t.Helper()
	if err := h.Route(to, via); err != nil {
		t.Fatalf("%s: %v", h.Role, err)
	}
}

// newNAT64 builds the position nat64 with Tayga and the administrator's ruleset. The
// subject is not started.
func newNAT64(t *testing.T, s Subject, a Allow) *Site {
	t.Helper()
	needPrograms(t, "nft", "conntrack")
	site := &Site{Topology: NewTopology(NewNet(t), 1, true), Position: nat64, Allow: a, Subject: s}
	site.Firewalls[0].startTayga(t)
	site.Client.routeNAT64(t, clientGate)
	site.Client2.routeNAT64(t, client2Gate)
	site.Firewalls[0].LoadRules(t, fmt.Sprintf(nat64Rules, a.accept()))
	return site
}

// nat64Flag announces the translator to pasvport.
var nat64Flag = "--nat64=" + nat64Prefix.String() + "," + nat64Pool.String()

//go:embed testdata/ftp_rfc959.py
var rfc959Script string

// scripted is testdata/ftp_rfc959.py, started with its option for EPSV and EPRT.
func scripted(word string) *ServerKind {
	return &ServerKind{Name: word, program: pythonWith("socket"),
		commands: func(_ *Host, s *Server, python string, listen []netip.AddrPort) ([]Command, error) {
			var addresses [][2]any
			for _, l := range listen {
				addresses = append(addresses, [2]any{l.Addr().String(), l.Port()})
			}
			job, err := json.Marshal(map[string]any{"root": s.Home, "listen": addresses, "epsv": word})
			return []Command{Cmd(python, "-c", rfc959Script, string(job))}, err
		}}
}

// nat64Servers are IPv4 servers: four that people use, and four that support RFC
// 2428 well, not at all, or badly.
var nat64Servers = append(append([]*ServerKind{}, ServerKinds...), scripted("rfc"), scripted("old"), scripted("mute"), scripted("close"))

// Clients only for the NAT64 tests.
var (
	Inetutils = &ClientKind{Name: "inetutils", program: unpacked("usr/bin/inetutils-ftp"), command: inetutils, said: `---> %s`,
		modes: map[Family][]Mode{IPv6: IPv6.Modes()}}
	// Busybox prints nothing about what it does.
	Busybox = &ClientKind{Name: "busybox", program: unpacked("bin/busybox"), command: busybox, said: `%.0s`,
		modes: map[Family][]Mode{IPv6: {EPSV}}}
)

func inetutils(program string, r Request) Command {
	mode := map[bool]string{false: "--passive", true: "--active"}[r.Mode.Active()]
	b := new(strings.Builder)
	fmt.Fprintf(b, "debug\nopen %s %d\nuser %s %s\nbinary\n", r.Dial.Addr(), r.Dial.Port(), r.User, password)
	for i := range r.Local {
		if r.Upload {
			fmt.Fprintf(b, "put %s %s\n", r.Local[i], r.Remote[i])
		} else {
			fmt.Fprintf(b, "get %s %s\n", r.Remote[i], r.Local[i])
		}
	}
	return Command{Args: []string{program, "-n", "-i", "-v", mode}, Stdin: b.String() + "quit\n", Env: libraries()}
}

func busybox(program string, r Request) Command {
	args := []string{program, "ftpget", "-v", "-u", r.User, "-p", password, "-P", fmt.Sprint(r.Dial.Port()), r.Dial.Addr().String(), r.Local[0], r.Remote[0]}
	if r.Upload {
		args[1], args[10], args[11] = "ftpput", r.Remote[0], r.Local[0]
	}
	return Command{Args: args, Env: libraries()}
}

// invocation is a way to run a client: it is started with asked, and uses mode
// over IPv6.
type invocation struct {
	client      *ClientKind
	asked, mode Mode
}

// kind is the client started this way.
func (i invocation) kind() *ClientKind {
	k := *i.client
	k.Name += "/" + string(i.asked)
	k.command = func(program string, r Request) Command {
		r.Mode = i.asked
		return i.client.command(program, r)
	}
	return &k
}

// nat64Clients are all the ways to run clients.
var nat64Clients = []invocation{
	{Curl, EPSV, EPSV}, {Curl, PASV, EPSV}, {Curl, EPRT, EPRT}, {Curl, PORT, EPRT},
	{Lftp, EPSV, EPSV}, {Lftp, PASV, EPSV}, {Lftp, EPRT, EPRT},
	{Tnftp, EPSV, EPSV}, {Tnftp, EPRT, EPRT},
	{Wget, EPSV, EPSV}, {Wget, EPRT, EPRT},
	{Ftplib, EPSV, EPSV}, {Ftplib, EPRT, EPRT},
	{Inetutils, EPSV, EPSV}, {Inetutils, EPRT, EPRT},
	{Busybox, EPSV, EPSV},
}
