// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Tuple is one direction of a tracked TCP connection.
type Tuple struct {
	Src, Dst netip.AddrPort

	// Zone is the conntrack zone of the addresses: in another zone the same
	// addresses may belong to another connection. Zero is the default zone, which
	// contains everything that no rule puts elsewhere.
	Zone uint16
}

// Reverse returns the tuple of the opposite direction, as it is without any
// translation.
func (t Tuple) Reverse() Tuple { return Tuple{Src: t.Dst, Dst: t.Src, Zone: t.Zone} }

// String returns "source > destination", and the zone if it is not the default.
func (t Tuple) String() string {
	s := t.Src.String() + " > " + t.Dst.String()
	if t.Zone != 0 {
		s += fmt.Sprintf(" in zone %d", t.Zone)
	}
	return s
}

// valid reports whether t can be sent to the kernel. A source port of zero is
// allowed, as in an expectation for any source port.
func (t Tuple) valid() bool {
	return plain(t.Src.Addr()) && sameFamily(t.Src.Addr(), t.Dst.Addr()) && t.Dst.Port() != 0
}

// plain refuses IPv4-mapped IPv6 addresses and address zones, which conntrack
// does not have.
func plain(a netip.Addr) bool { return a.IsValid() && !a.Is4In6() && a.Zone() == "" }

func sameFamily(a, b netip.Addr) bool { return plain(b) && a.Is4() == b.Is4() }

// family returns the nfgen_family of the tuple's messages.
func (t Tuple) family() uint8 {
	if t.Src.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// Direction is one of the two directions of a tracked connection.
type Direction uint8

// The directions, with the values of enum ip_conntrack_dir.
const (
	Original Direction = 0 // the direction of the first packet
	Reply    Direction = 1
)

// String returns "original" or "reply".
func (d Direction) String() string {
	if d == Original {
		return "original"
	}
	return "reply"
}
