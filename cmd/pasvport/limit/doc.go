// SPDX-License-Identifier: Apache-2.0

// Package limit bounds what one client, or all together, can take of the daemon:
// how many control connections are read ([Sessions]), and how many lines they can
// cause in the log ([Lines]). It knows nothing of what it counts.
package limit

import "net/netip"

// Client returns the address that stands for a client in its limits: that of its
// network with this many leading bits for IPv6, as one host has a whole one, and
// its own for IPv4.
func Client(a netip.Addr, bits6 int) netip.Addr {
	if a.Is4() || a.Is4In6() {
		return a
	}
	p, err := a.Prefix(bits6)
	if err != nil {
		return a
	}
	return p.Addr()
}
