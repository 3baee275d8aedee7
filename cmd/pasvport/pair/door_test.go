// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestDoor: of too many connections without a proof of the key the oldest one is closed.
func TestDoor(t *testing.T) {
	var d door
	var far [maxWaiting + 2]net.Conn
	for i := range far {
		var near net.Conn
		near, far[i] = net.Pipe()
		t.Cleanup(func() { near.Close() })
		if d.enter(near); i == 1 {
			d.leave(near) // it has proved the key
		}
	}
	var b [1]byte
	if _, err := far[0].Read(b[:]); !errors.Is(err, io.EOF) {
		t.Errorf("the oldest one: %v", err)
	}
	for _, c := range far[1:] {
		if err := c.SetReadDeadline(epoch); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := c.Read(b[:]); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("a later one: %v", err)
		}
	}
}

// from is a connection from an address.
type from struct {
	net.Conn
	addr netip.AddrPort
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(f.addr) }

// TestDoorPeer: connections of others go before the other machine's.
func TestDoorPeer(t *testing.T) {
	d := door{peer: "192.0.2.2"}
	for i := range maxWaiting + 1 {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		host := netip.MustParseAddr("192.0.2.9")
		if i%2 == 0 {
			host = netip.MustParseAddr(d.peer)
		}
		d.enter(from{near, netip.AddrPortFrom(host, uint16(i))})
	}
	var ports []uint16
	for _, c := range d.waiting {
		ports = append(ports, c.(from).addr.Port())
	}
	if want := []uint16{0, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(ports, want) {
		t.Errorf("there are %v, want %v", ports, want)
	}
}

// TestCrowd: connections that say nothing do not keep the other daemon out, and are no
// reason for many lines in the log.
func TestCrowd(t *testing.T) {
	a := open(t, "127.77.0.3:0", "")
	atA := netip.MustParseAddrPort(a.ln.Addr().String())
	atB := netip.AddrPortFrom(netip.MustParseAddr("127.77.0.4"), atA.Port()).String()
	a.cfg.Peer = atB
	b := open(t, atB, atA.String())
	defer b.begin(t)()
	for range 5 * maxWaiting {
		c, err := net.Dial("tcp", atB)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	defer a.begin(t)()
	eventually(t, "the link is up", func() bool { return a.ready() && b.ready() })
	if n := strings.Count(b.logs.String(), "peer refused"); n > 1 {
		t.Errorf("%d lines", n)
	}
}
