// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A namespace is a network namespace without a name. It lasts until close, or
// until the last socket and process in it are gone.
type namespace struct {
	fd int
	nl *netlink.Handle
}

// newNamespace makes one, with its loopback up.
func newNamespace() (*namespace, error) {
	fds, errs := make(chan int, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never given back
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			errs <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			errs <- err
			return
		}
		fds <- fd
	}()
	select {
	case err := <-errs:
		return nil, err
	case fd := <-fds:
		n := &namespace{fd: fd}
		var err error
		if n.nl, err = netlink.NewHandleAt(netns.NsHandle(fd)); err != nil {
			return nil, err
		}
		return n, n.up("lo")
	}
}

func (n *namespace) close() {
	n.nl.Close()
	_ = unix.Close(n.fd)
}

func (n *namespace) up(link string) error {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return err
	}
	return n.nl.LinkSetUp(l)
}

// do runs f on a thread that is in n and is not given back.
func (n *namespace) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// connect lays a cable from n to another namespace.
func (n *namespace) connect(name string, other *namespace, otherName string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	cable := &netlink.Veth{LinkAttrs: attrs, PeerName: otherName, PeerNamespace: netlink.NsFd(other.fd)}
	if err := n.nl.LinkAdd(cable); err != nil {
		return fmt.Errorf("make a cable: %w", err)
	}
	if err := n.up(name); err != nil {
		return err
	}
	return other.up(otherName)
}

// address gives a link an address at once, without looking for duplicates.
func (n *namespace) address(link, cidr string) error {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	return n.nl.AddrAdd(l, a)
}

// route sends everything of a family to a gateway.
func (n *namespace) route(gateway string) error {
	ip := net.ParseIP(gateway)
	any4, any6 := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	dst := any6
	if ip.To4() != nil {
		dst = any4
	}
	return n.nl.RouteAdd(&netlink.Route{Dst: dst, Gw: ip})
}

// sysctl sets a number under /proc/sys.
func (n *namespace) sysctl(name, value string) error {
	return n.do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
}

func (n *namespace) listen(addr string) (ln net.Listener, err error) {
	err = n.do(func() error {
		var lc net.ListenConfig
		ln, err = lc.Listen(context.Background(), "tcp", addr)
		return err
	})
	return ln, err
}

func (n *namespace) dial(addr string, timeout time.Duration) (c net.Conn, err error) {
	err = n.do(func() error {
		c, err = net.DialTimeout("tcp", addr, timeout)
		return err
	})
	return c, err
}
