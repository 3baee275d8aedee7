// SPDX-License-Identifier: Apache-2.0

package outside

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// System finds addresses as this machine is set up.
func System() Finder { return Finder{Name: lookUp, Interface: addressesOf, Changes: changes} }

// lookUp looks a name up like all Go programs: /etc/hosts, then the servers of
// /etc/resolv.conf. Go does not report how long an answer holds, so that is read
// from what the servers send.
func lookUp(ctx context.Context, name string, is4 bool) ([]netip.Addr, time.Duration, error) {
	var l lifetime
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if u, ok := c.(*net.UDPConn); ok {
			return &datagrams{u, &l}, nil
		}
		return &messages{Conn: c, note: &l}, nil
	}}
	network := "ip6"
	if is4 {
		network = "ip4"
	}
	addrs, err := r.LookupNetIP(ctx, network, name)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, l.get(), err
}

// lifetime is how long all records of all answers hold.
type lifetime struct {
	mu    sync.Mutex
	least uint32
	known bool
}

func (l *lifetime) get() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.least) * time.Second
}

// read reads an answer.
func (l *lifetime) read(msg []byte) {
	var p dnsmessage.Parser
	if _, err := p.Start(msg); err != nil || p.SkipAllQuestions() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		h, err := p.AnswerHeader()
		if err != nil || p.SkipAnswer() != nil {
			return
		}
		if !l.known || h.TTL < l.least {
			l.least, l.known = h.TTL, true
		}
	}
}

// datagrams reads what comes over UDP.
type datagrams struct {
	*net.UDPConn
	note *lifetime
}

func (c *datagrams) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	c.note.read(b[:max(n, 0)])
	return n, err
}

// messages reads what comes over TCP: each message after its length.
type messages struct {
	net.Conn
	note *lifetime
	have []byte
}

func (c *messages) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.have = append(c.have, b[:max(n, 0)]...)
	for len(c.have) >= 2 {
		size := 2 + int(binary.BigEndian.Uint16(c.have))
		if len(c.have) < size {
			break
		}
		c.note.read(c.have[2:size])
		c.have = c.have[size:]
	}
	return n, err
}

// addressesOf returns the addresses of an interface that others can use, first
// the one that the kernel prefers.
func addressesOf(name string, is4 bool) (addrs []netip.Addr, err error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	family := netlink.FAMILY_V6
	if is4 {
		family = netlink.FAMILY_V4
	}
	list, err := netlink.AddrList(link, family)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED | unix.IFA_F_TEMPORARY
	for _, secondary := range []bool{false, true} {
		for _, a := range list {
			ip, ok := netip.AddrFromSlice(a.IP)
			flags := a.Flags
			if is4 { // the same bit: a second address of a network
				if (flags&unix.IFA_F_SECONDARY != 0) != secondary {
					continue
				}
				flags &^= unix.IFA_F_SECONDARY
			} else if secondary {
				break
			}
			if ok && a.Scope == unix.RT_SCOPE_UNIVERSE && flags&unusable == 0 {
				addrs = append(addrs, ip.Unmap())
			}
		}
	}
	return addrs, nil
}

// settle is how long a change of addresses may take to complete.
const settle = 50 * time.Millisecond

// changes listens to the kernel.
func changes(ctx context.Context) <-chan struct{} {
	out, updates := make(chan struct{}, 1), make(chan netlink.AddrUpdate, 64)
	done := make(chan struct{})
	context.AfterFunc(ctx, func() { close(done) })
	if err := netlink.AddrSubscribe(updates, done); err != nil {
		return out // they are read every interfaceEvery
	}
	go func() {
		for range updates {
			time.Sleep(settle)
			for range len(updates) {
				<-updates
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}
