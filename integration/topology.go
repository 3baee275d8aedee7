// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"net/netip"
)

// Family is the IP version of a control connection.
type Family int

// The families, named by their version numbers.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) String() string { return fmt.Sprintf("ip%d", int(f)) }

// Pair is one host's addresses on a link: one per family.
type Pair map[Family]netip.Addr

func pair(v4, v6 string) Pair {
	return Pair{IPv4: netip.MustParseAddr(v4), IPv6: netip.MustParseAddr(v6)}
}

// The addresses. Their texts differ in length on the two sides, so that
// translation makes PORT and 227 longer and shorter. The first client's address
// is the shortest of all, the second's the longest.
var (
	clientAddr  = pair("10.7.0.2", "fd07::2")
	clientGate  = pair("10.7.0.1", "fd07::1")
	client2Addr = pair("192.168.178.202", "fd78:178:178::202")
	client2Gate = pair("192.168.178.201", "fd78:178:178::201")
	midNear     = pair("172.16.5.1", "fd16:5::1")
	midFar      = pair("172.16.5.2", "fd16:5::2")
	serverGate  = pair("203.0.113.171", "2001:db8:113::171")
	serverAddr  = pair("203.0.113.2", "2001:db8:113::2")
	// snatAddr is a second address of the firewall on the server's side.
	snatAddr  = pair("203.0.113.88", "2001:db8:113::88")
	thirdGate = pair("198.51.100.1", "2001:db8:100::1")
	thirdAddr = pair("198.51.100.2", "2001:db8:100::2")
)

// prefixBits is the length of every network's prefix.
var prefixBits = map[Family]int{IPv4: 24, IPv6: 64}

// Topology is the network of a test:
//
//	Client  --in0-- Firewalls[0] --out0-- [ --in0-- Firewalls[1] --out0-- ] Server
//	Client2 --in1--'                                            `--out1-- Third
//
// Interfaces are named on the firewall's side; a host's own is eth0.
type Topology struct {
	*Net
	Client, Client2, Server, Third *Host
	Firewalls                      []*Host
}

// NewTopology builds a network with one or two firewalls in a row. Hosts have
// routes only to the networks next to the firewalls; with hidden the server's
// side has none to the clients, as on the Internet.
func NewTopology(n *Net, firewalls int, hidden bool) *Topology {
	n.t.Helper()
	tp := &Topology{Net: n, Client: n.Host("client"), Client2: n.Host("client2"),
		Server: n.Host("server"), Third: n.Host("third")}
	for i := range firewalls {
		tp.Firewalls = append(tp.Firewalls, n.Host(fmt.Sprintf("fw%d", i)))
	}
	if err := tp.connect(hidden); err != nil {
		n.t.Fatalf("topology: %v", err)
	}
	return tp
}

// link is a veth pair to create.
type link struct {
	a, b         *Host
	aName, bName string
	aAddr, bAddr Pair
}

func (tp *Topology) connect(hidden bool) error {
	first, last := tp.Firewalls[0], tp.Firewalls[len(tp.Firewalls)-1]
	links := []link{
		{tp.Client, first, "eth0", "in0", clientAddr, clientGate},
		{tp.Client2, first, "eth0", "in1", client2Addr, client2Gate},
		{tp.Server, last, "eth0", "out0", serverAddr, serverGate},
		{tp.Third, last, "eth0", "out1", thirdAddr, thirdGate},
	}
	if first != last {
		links = append(links, link{first, last, "out0", "in0", midNear, midFar})
	}
	for _, l := range links {
		if err := l.up(); err != nil {
			return fmt.Errorf("link %s-%s: %w", l.a.Role, l.b.Role, err)
		}
	}
	if err := last.address("out0", snatAddr); err != nil {
		return err
	}
	for _, fw := range tp.Firewalls {
		for _, f := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
			if err := fw.Sysctl(f, "1"); err != nil {
				return err
			}
		}
	}
	return tp.route(first, last, hidden)
}

func (tp *Topology) route(first, last *Host, hidden bool) error {
	inside := []Pair{clientAddr, client2Addr}
	outside := []Pair{serverAddr, thirdAddr}
	type route struct {
		h   *Host
		via Pair
		to  []Pair
	}
	routes := []route{
		{tp.Client, clientGate, append(outside, client2Addr)},
		{tp.Client2, client2Gate, append(outside, clientAddr)},
		{tp.Server, serverGate, []Pair{thirdAddr}},
		{tp.Third, thirdGate, []Pair{serverAddr}},
	}
	if first != last {
		routes = append(routes, route{first, midFar, outside})
		routes = append(routes, route{tp.Client, clientGate, []Pair{midFar}}, route{tp.Client2, client2Gate, []Pair{midFar}},
			route{tp.Server, serverGate, []Pair{midNear}}, route{tp.Third, thirdGate, []Pair{midNear}})
	}
	if !hidden {
		routes = append(routes, route{tp.Server, serverGate, inside}, route{tp.Third, thirdGate, inside})
		if first != last {
			routes = append(routes, route{last, midNear, inside})
		}
	}
	for _, r := range routes {
		for _, to := range r.to {
			if err := r.h.route(to, r.via); err != nil {
				return fmt.Errorf("%s: route to %v: %w", r.h.Role, to, err)
			}
		}
	}
	return nil
}

// up creates the link and gives its ends their addresses.
func (l link) up() error {
	if err := l.a.Connect(l.aName, l.b.Namespace, l.bName); err != nil {
		return err
	}
	return errors.Join(l.a.address(l.aName, l.aAddr), l.b.address(l.bName, l.bAddr))
}

// address adds addresses to an interface.
func (h *Host) address(name string, p Pair) error {
	for f, addr := range p {
		if err := h.Address(name, netip.PrefixFrom(addr, prefixBits[f])); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) route(to, via Pair) error {
	for f, addr := range to {
		prefix, err := addr.Prefix(prefixBits[f])
		if err != nil {
			return err
		}
		if err := h.Route(prefix, via[f]); err != nil {
			return err
		}
	}
	return nil
}
