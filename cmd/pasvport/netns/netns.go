// SPDX-License-Identifier: Apache-2.0

// Package netns creates network namespaces, and links between them, by netlink alone:
// the self-test must not need a program such as ip. Tests use the same ones
// (integration/stage, integration.Host).
package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Namespace is a network namespace without a name. It lasts until Close, or until
// the last socket and process in it are gone. Its methods may be used from several
// goroutines.
type Namespace struct {
	FD    int             // of the namespace; open until Close
	Links *netlink.Handle // its links, addresses and routes

	jobs chan func()
	gone chan struct{}
}

// New creates a Namespace with its loopback up.
func New() (*Namespace, error) {
	n := &Namespace{jobs: make(chan func()), gone: make(chan struct{})}
	made := make(chan error)
	go n.live(made)
	if err := <-made; err != nil {
		return nil, fmt.Errorf("create a network namespace: %w", err)
	}
	if err := n.Up("lo"); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// live is the thread of the namespace.
func (n *Namespace) live(made chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with the namespace
	err := n.create()
	made <- err
	if err != nil {
		return
	}
	for {
		select {
		case job := <-n.jobs:
			job()
		case <-n.gone:
			return
		}
	}
}

func (n *Namespace) create() (err error) {
	if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	if n.FD, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	if err = noDAD(); err == nil {
		n.Links, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	if err != nil {
		_ = unix.Close(n.FD)
	}
	return err
}

// noDAD turns off the detection of duplicates of link-local addresses: until that is
// done a router cannot ask for its neighbours.
func noDAD() error {
	for _, of := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+of+"/accept_dad", []byte("0"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			return err
		}
	}
	return nil
}

// Close ends the thread of the namespace. It is called once.
func (n *Namespace) Close() {
	close(n.gone)
	n.Links.Close()
	_ = unix.Close(n.FD)
}

// errClosed is returned by Do after Close.
var errClosed = errors.New("the network namespace was closed")

// Do calls f on the thread of the namespace, which lasts until Close: a process that f
// starts with a Pdeathsig ends with the namespace, or with this program. f must be
// short.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	select {
	case n.jobs <- func() { done <- f() }:
		return <-done
	case <-n.gone:
		return errClosed
	}
}

// Enter calls f on a thread that has entered the namespace for it; f may block.
func (n *Namespace) Enter(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: no other goroutine may run there
		if err := unix.Setns(n.FD, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// Connect creates a link to another namespace, whose end is called otherName there, and
// sets both ends up.
func (n *Namespace) Connect(name string, other *Namespace, otherName string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: otherName, PeerNamespace: netlink.NsFd(other.FD)}
	if err := n.Links.LinkAdd(veth); err != nil {
		return fmt.Errorf("link %s to %s: %w", name, otherName, err)
	}
	return errors.Join(n.Up(name), other.Up(otherName))
}

// Up sets a link up.
func (n *Namespace) Up(link string) error {
	l, err := n.Links.LinkByName(link)
	if err != nil {
		return err
	}
	return n.Links.LinkSetUp(l)
}

// Address gives a link an address, with the length of its network's prefix. It can be
// used at once: duplicates are not looked for.
func (n *Namespace) Address(link string, a netip.Prefix) error {
	l, err := n.Links.LinkByName(link)
	if err != nil {
		return err
	}
	if err := n.Links.AddrAdd(l, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}); err != nil {
		return fmt.Errorf("address %s: %w", a, err)
	}
	return nil
}

// Route sends what goes to a prefix to a gateway.
func (n *Namespace) Route(to netip.Prefix, via netip.Addr) error {
	if err := n.Links.RouteAdd(&netlink.Route{Dst: ipNet(to), Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("route to %s by %s: %w", to, via, err)
	}
	return nil
}

// RouteLink sends what goes to a prefix out of a link.
func (n *Namespace) RouteLink(to netip.Prefix, link string) error {
	l, err := n.Links.LinkByName(link)
	if err != nil {
		return err
	}
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(to), Scope: netlink.SCOPE_LINK}
	if err := n.Links.RouteAdd(r); err != nil {
		return fmt.Errorf("route to %s by %s: %w", to, link, err)
	}
	return nil
}

// DefaultRoute sends all that has no other route to a gateway of its family.
func (n *Namespace) DefaultRoute(via netip.Addr) error {
	all := netip.IPv4Unspecified()
	if via.Is6() {
		all = netip.IPv6Unspecified()
	}
	return n.Route(netip.PrefixFrom(all, 0), via)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Sysctl sets a variable of the namespace, named with slashes below /proc/sys.
func (n *Namespace) Sysctl(name, value string) error {
	return n.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
}

// Listen opens a TCP listener: at all addresses of both families if local has none.
func (n *Namespace) Listen(local netip.AddrPort) (ln *net.TCPListener, err error) {
	at := local.String()
	if !local.IsValid() {
		at = fmt.Sprintf(":%d", local.Port())
	}
	err = n.Enter(func() error {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		l, err := lc.Listen(context.Background(), "tcp", at)
		if err == nil {
			ln = l.(*net.TCPListener)
		}
		return err
	})
	return ln, err
}

// Dial opens a TCP connection; local may be the zero value.
func (n *Namespace) Dial(local, remote netip.AddrPort, timeout time.Duration) (conn *net.TCPConn, err error) {
	d := net.Dialer{Timeout: timeout}
	d.SetMultipathTCP(false)
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(local)
		// FTP servers send from one port to many clients at a time.
		d.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		}
	}
	err = n.Enter(func() error {
		c, err := d.Dial("tcp", remote.String())
		if err == nil {
			conn = c.(*net.TCPConn)
		}
		return err
	})
	return conn, err
}
