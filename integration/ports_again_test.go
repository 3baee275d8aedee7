// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDataPortsAgain opens one data connection after the other between the same
// two ports: a client that keeps its listening socket and a server that connects
// from one port, or a server with one passive port and a client that binds its
// own. The listening end closes first, so that each connection's entry is in
// TIME_WAIT when the next one begins.
func TestDataPortsAgain(t *testing.T) {
	const rounds = 6
	for _, p := range []string{"routed", "masquerade", "dnat", "both-nat"} {
		for _, s := range subjects(t) {
			for _, m := range []Mode{PORT, PASV} {
				t.Run(fmt.Sprintf("%s/%s/%s", p, s.Name, m), func(t *testing.T) {
					t.Parallel()
					site := NewSite(t, position(p), AllowRelated, s)
					site.Case(Case{Mode: m, Family: IPv4, Kind: "data ports again"}).Count(t)
					d := site.Talk(t, site.ListenControl(t, IPv4), site.ClientHost(), IPv4)
					ln, opener, from := d.keepsPort(t, m)
					for i := range rounds {
						to := d.AnnounceText(m, addrOf(ln.Addr()))
						if err := oneByte(ln, opener, from, to); err != nil {
							t.Fatalf("data connection %d from port %d to %v: %v", i+1, from.Port(), to, err)
						}
						d.Reply("226 done")
					}
				})
			}
		}
	}
}

// keepsPort returns a listener that is announced again and again, the host that
// connects to it, and from which port.
func (d *Dialogue) keepsPort(t *testing.T, m Mode) (ln *net.TCPListener, opener *Host, from netip.AddrPort) {
	t.Helper()
	host, addr, opener := d.listensAt(m)
	ln = d.site.listen(t, host, addr)
	port := uint16(31000)
	if m.Active() {
		port = 20
	}
	return ln, opener, netip.AddrPortFrom(netip.IPv4Unspecified(), port)
}

// oneByte opens a data connection that carries one byte, and which the listening
// end closes first.
func oneByte(ln *net.TCPListener, opener *Host, from, to netip.AddrPort) error {
	c, err := opener.Dial(from, to, openTimeout)
	if err != nil {
		return err
	}
	defer c.Close()
	ln.SetDeadline(time.Now().Add(openTimeout))
	other, err := ln.AcceptTCP()
	if err != nil {
		return err
	}
	if _, err := other.Write([]byte{'x'}); err != nil {
		return err
	}
	if err := other.Close(); err != nil {
		return err
	}
	c.SetReadDeadline(time.Now().Add(openTimeout))
	got, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if string(got) != "x" {
		return fmt.Errorf("received %q", got)
	}
	return closeGracefully(c)
}

// closeGracefully closes the end that closes second, and returns when its FIN has
// been acknowledged. Before that its port cannot connect to the same address.
func closeGracefully(c *net.TCPConn) error {
	if err := c.CloseWrite(); err != nil {
		return err
	}
	var infoErr error
	err := waitFor(openTimeout, "acknowledgement of the last FIN", func() bool {
		info, err := tcpInfo(c)
		infoErr = err
		return err != nil || info.State == unix.BPF_TCP_CLOSE
	})
	return errors.Join(err, infoErr, c.Close())
}

// TestSamePortOfSessions: two control connections of one client announce the same
// port. The older keeps its pinhole; the newer gets another port where the
// announcement is translated, and otherwise is refused until the port is free.
func TestSamePortOfSessions(t *testing.T) {
	needDaemon(t)
	for _, tt := range []struct {
		position string
		mode     Mode
		moved    bool
	}{{"routed", PORT, false}, {"routed", PASV, false}, {"masquerade", PORT, true}, {"dnat", PASV, true}} {
		for _, s := range subjects(t) {
			t.Run(fmt.Sprintf("%s/%s/%s", tt.position, s.Name, tt.mode), func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(tt.position), AllowChain, s)
				site.Case(Case{Mode: tt.mode, Family: IPv4, Kind: "same port of two sessions"}).Count(t)
				control := site.ListenControl(t, IPv4)
				older, newer := site.Talk(t, control, site.Client, IPv4), site.Talk(t, control, site.Client, IPv4)
				ln, opener, from := older.keepsPort(t, tt.mode)
				first := older.AnnounceText(tt.mode, addrOf(ln.Addr()))
				second := newer.AnnounceText(tt.mode, addrOf(ln.Addr()))
				if (first != second) != tt.moved {
					t.Errorf("the older's port became %v, the newer's %v", first, second)
				}
				if n := site.decisions(t)["ports-exhausted"]; (n == 0) != tt.moved {
					t.Errorf("%v announcements were refused for ports-exhausted", n)
				}
				if err := oneByte(ln, opener, from, first); err != nil {
					t.Errorf("the older's data connection: %v", err)
				}
				if !tt.moved {
					second = newer.AnnounceText(tt.mode, addrOf(ln.Addr()))
				}
				if tt.moved && s == Expectation {
					// The kernel translates both to the same two ports, and drops
					// the second until it has forgotten the first.
					from = netip.AddrPort{}
				}
				if err := oneByte(ln, opener, from, second); err != nil {
					t.Errorf("the newer's data connection: %v", err)
				}
			})
		}
	}
}
