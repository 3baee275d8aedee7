// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pasvport/pasvport/integration/stage"
)

// The addresses of the test network: client - router - server. vip is an
// address of the router that stands for the server under destination NAT.
type addresses struct {
	family                          string
	client, inside, outside, server netip.Addr
	vip                             netip.Addr
	nft                             string // the family in nft syntax
	l3proto                         string
}

var ipv4 = addresses{
	family: "ipv4", nft: "ip", l3proto: "ip",
	client: netip.MustParseAddr("192.168.77.2"), inside: netip.MustParseAddr("192.168.77.1"),
	outside: netip.MustParseAddr("203.0.113.1"), server: netip.MustParseAddr("203.0.113.2"),
	vip: netip.MustParseAddr("192.168.77.1"),
}

var ipv6 = addresses{
	family: "ipv6", nft: "ip6", l3proto: "ip6",
	client: netip.MustParseAddr("fd77::2"), inside: netip.MustParseAddr("fd77::1"),
	outside: netip.MustParseAddr("2001:db8::1"), server: netip.MustParseAddr("2001:db8::2"),
	vip: netip.MustParseAddr("fd77::1"),
}

// carrier is the carrier that the router's ruleset gives to control connections.
type carrier string

const (
	carrierSane carrier = "sane"
	carrierBare carrier = "bare" // a ct expectation object: a help extension without a helper
	carrierNone carrier = "none"
)

// network is a line of namespaces with a router that runs conntrack.
type network struct {
	t     testing.TB
	hosts map[string]stage.Namespace // c, r and s
}

// newNetwork makes the namespaces and the router's ruleset. snat and dnat select
// its translations.
func newNetwork(t testing.TB, with carrier, snat, dnat bool) *network {
	t.Helper()
	of := func(a, b netip.Addr) string { return fmt.Sprintf("%s/24 %s/64", a, b) }
	l := stage.NewLine(t, of(ipv4.client, ipv6.client), of(ipv4.inside, ipv6.inside), of(ipv4.outside, ipv6.outside), of(ipv4.server, ipv6.server))
	must(t, errors.Join(l.Server.DefaultRoute(ipv4.outside), l.Server.DefaultRoute(ipv6.outside)))
	n := &network{t: t, hosts: map[string]stage.Namespace{"c": l.Client, "r": l.Router, "s": l.Server}}
	n.nft(n.ruleset(with, snat, dnat))
	return n
}

// controlPort is the port of the control connections in these tests.
const controlPort = 2121

// controlMark is set on control connections; data connections inherit it.
const controlMark = 0x04000000

// ruleset has the carrier, the mark, the translations of control connections only
// (so that a data connection is translated by its master or not at all), and a
// counter for the packets of related connections.
func (n *network) ruleset(with carrier, snat, dnat bool) string {
	var b strings.Builder
	b.WriteString("table inet t {\n counter related {}\n counter new_data {}\n")
	for _, a := range []addresses{ipv4, ipv6} {
		switch with {
		case carrierSane:
			fmt.Fprintf(&b, " ct helper h%s { type \"sane\" protocol tcp; l3proto %s; }\n", a.nft, a.l3proto)
		case carrierBare:
			// nft refuses size 0; the only expectation that this makes is for
			// port 1.
			fmt.Fprintf(&b, " ct expectation h%s { protocol tcp; dport 1; timeout 1ms; size 1; l3proto %s; }\n", a.nft, a.l3proto)
		}
	}
	b.WriteString(" chain pre { type filter hook prerouting priority -150;\n")
	for _, a := range []addresses{ipv4, ipv6} {
		match := fmt.Sprintf("  meta nfproto %s tcp dport %d ct state new", a.family, controlPort)
		switch with {
		case carrierSane:
			fmt.Fprintf(&b, "%s ct helper set \"h%s\"\n", match, a.nft)
		case carrierBare:
			fmt.Fprintf(&b, "%s ct expectation set \"h%s\"\n", match, a.nft)
		}
	}
	fmt.Fprintf(&b, "  tcp dport %d ct state established ct mark set ct mark | %#x\n", controlPort, controlMark)
	b.WriteString("  ct state related meta l4proto tcp counter name related\n")
	fmt.Fprintf(&b, "  ct state new meta l4proto tcp tcp dport != %d counter name new_data\n }\n", controlPort)
	if dnat {
		b.WriteString(" chain dnat_chain { type nat hook prerouting priority dstnat;\n")
		for _, a := range []addresses{ipv4, ipv6} {
			fmt.Fprintf(&b, "  %s daddr %s tcp dport %d dnat %s to %s\n", a.nft, a.vip, controlPort, a.nft, a.server)
		}
		b.WriteString(" }\n")
	}
	if snat {
		fmt.Fprintf(&b, " chain snat_chain { type nat hook postrouting priority srcnat;\n  oifname rs tcp dport %d masquerade\n }\n", controlPort)
	}
	b.WriteString("}\n")
	return b.String()
}

// nft loads a ruleset into the router.
func (n *network) nft(text string) {
	n.t.Helper()
	out, err := n.hosts["r"].Nft(text)
	switch {
	case err == nil:
	case strings.Contains(text, "ct helper") && strings.Contains(out, "No such file"):
		n.t.Skipf("needs the kernel's sane helper (nf_conntrack_sane)\n%s", out)
	default:
		n.t.Fatalf("nft: %v\n%s\n%s", err, out, text)
	}
}

// in runs f inside a namespace.
func (n *network) in(host string, f func()) {
	n.t.Helper()
	n.hosts[host].In(n.t, func() error { f(); return nil })
}

// dial opens a Conn to the router's conntrack.
func (n *network) dial() *Conn {
	n.t.Helper()
	var c *Conn
	var err error
	n.in("r", func() { c, err = Dial() })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return c
}

// listen opens a TCP listener; port 0 takes any.
func (n *network) listen(host string, addr netip.AddrPort) *net.TCPListener {
	n.t.Helper()
	var l *net.TCPListener
	var err error
	n.in(host, func() { l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr)) })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close() })
	return l
}

// listener is the accepting side of connect.
type listener = *net.TCPListener

// pair is a TCP connection with both of its ends.
type pair struct {
	near, far *net.TCPConn // who dialled, who accepted
}

// connect dials from a host to an address that leads to the listener. from may
// name the source port.
func (n *network) connect(host string, from, to netip.AddrPort, l listener) pair {
	n.t.Helper()
	p, err := n.tryConnect(host, from, to, l)
	if err != nil {
		n.t.Fatalf("connect %v to %v: %v", from, to, err)
	}
	return p
}

func (n *network) tryConnect(host string, from, to netip.AddrPort, l listener) (p pair, err error) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var near net.Conn
	n.in(host, func() {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from)}
		near, err = d.DialContext(ctx, "tcp", to.String())
	})
	if err != nil {
		return p, err
	}
	n.t.Cleanup(func() { near.Close() })
	if err := l.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return p, err
	}
	far, err := l.AcceptTCP()
	if err != nil {
		return p, err
	}
	n.t.Cleanup(func() { far.Close() })
	return pair{near: near.(*net.TCPConn), far: far}, nil
}

// talk sends a byte each way, so that each side has seen the other's packets.
func (p pair) talk(t testing.TB) {
	t.Helper()
	for _, way := range [][2]*net.TCPConn{{p.near, p.far}, {p.far, p.near}} {
		if err := errors.Join(way[0].SetDeadline(time.Now().Add(10*time.Second)), way[1].SetDeadline(time.Now().Add(10*time.Second))); err != nil {
			t.Fatal(err)
		}
		if _, err := way[0].Write([]byte{'x'}); err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := way[1].Read(b[:]); err != nil {
			t.Fatal(err)
		}
	}
}

func localAddr(c *net.TCPConn) netip.AddrPort  { return unmap(c.LocalAddr()) }
func remoteAddr(c *net.TCPConn) netip.AddrPort { return unmap(c.RemoteAddr()) }

func unmap(a net.Addr) netip.AddrPort {
	p := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// dialled is the address at which the client reaches the server.
func (a addresses) dialled(dnat bool) netip.Addr {
	if dnat {
		return a.vip
	}
	return a.server
}

// control opens a control connection through the router.
func (n *network) control(a addresses, dnat bool) (pair, Tuple) {
	n.t.Helper()
	l := n.listen("s", netip.AddrPortFrom(a.server, controlPort))
	defer l.Close()
	to := netip.AddrPortFrom(a.dialled(dnat), controlPort)
	p := n.connect("c", netip.AddrPortFrom(a.client, 0), to, l)
	p.talk(n.t)
	return p, Tuple{Src: localAddr(p.near), Dst: to}
}

var packetsRE = regexp.MustCompile(`packets (\d+)`)

// counter reads a named counter of the router's ruleset, in packets.
func (n *network) counter(name string) int {
	n.t.Helper()
	out := n.hosts["r"].Run(n.t, "nft", "list", "counter", "inet", "t", name)
	m := packetsRE.FindStringSubmatch(out)
	if m == nil {
		n.t.Fatalf("no counter %s in %s", name, out)
	}
	v, err := strconv.Atoi(m[1])
	if err != nil {
		n.t.Fatal(err)
	}
	return v
}

// nat lists the ways in which the router translates control connections.
var nat = []struct {
	name       string
	snat, dnat bool
}{
	{"none", false, false}, {"masquerade", true, false}, {"dnat", false, true}, {"both", true, true},
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func dialTimeout(from, to netip.AddrPort, d time.Duration) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Timeout: d}
	return dialer.Dial("tcp", to.String())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
