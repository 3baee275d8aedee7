// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestIPOptions: packets with IP options or IPv6 extension headers are read like
// all others: a denied command does not slip through, and an announcement opens.
func TestIPOptions(t *testing.T) {
	needDaemon(t)
	for _, c := range []struct {
		name          string
		family        Family
		level, option int
		value         string
	}{
		{"no operations", IPv4, unix.IPPROTO_IP, unix.IP_OPTIONS, "\x01\x01\x01\x01"},
		{"record route", IPv4, unix.IPPROTO_IP, unix.IP_OPTIONS, "\x07\x07\x04\x00\x00\x00\x00\x00"},
		{"router alert", IPv4, unix.IPPROTO_IP, unix.IP_OPTIONS, "\x94\x04\x00\x00"},
		{"destination options", IPv6, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, "\x00\x00\x01\x04\x00\x00\x00\x00"},
		{"hop-by-hop options", IPv6, unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, "\x00\x00\x01\x04\x00\x00\x00\x00"},
	} {
		for _, s := range subjects(t) {
			t.Run(c.name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position("routed"), AllowRelated, s, "--deny-command", "SITE", "--fail", "closed")
				d := site.Talk(t, site.ListenControl(t, c.family), site.Client, c.family)
				for _, end := range []*net.TCPConn{d.Client, d.Server} {
					setOption(t, end, c.level, c.option, c.value)
				}
				if heard := d.Command("SITE chmod 777 x"); strings.HasPrefix(heard, "SITE") {
					t.Errorf("the server received %q", heard)
				}
				d.Reply("500 what?")
				for _, m := range c.family.Modes() {
					d.Announce(m).MustOpen(t)
					d.Reply("226 done")
				}
			})
		}
	}
}

// setOption sets an option of a socket.
func setOption(t *testing.T, c *net.TCPConn, level, option int, value string) {
	t.Helper()
	conn, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var setErr error
	err = conn.Control(func(fd uintptr) { setErr = unix.SetsockoptString(int(fd), level, option, value) })
	if err = errors.Join(err, setErr); err != nil {
		t.Fatal(err)
	}
}
