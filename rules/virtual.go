// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"net/netip"
	"slices"
)

// A VirtualServer spreads the connections to some addresses over servers, by a
// map from the numbers of slots to servers. All addresses are of one family.
type VirtualServer struct {
	Name   string // part of the map's name
	Listen []netip.AddrPort

	// BySource chooses the slot by the client's address; otherwise each
	// connection gets the next one.
	BySource bool

	// Slots are the servers by slot number. If none is valid, connections are
	// refused. Only Spread changes them while installed, and never their number.
	Slots []netip.AddrPort

	// Parked are servers without a slot, and why: they are kept for the next run,
	// after the last slot, where no connection is ever sent.
	Parked []Parked
}

// Parked is a server that has no slot for a reason.
type Parked struct {
	Server netip.AddrPort
	Why    string
}

// ip is the family of v.
func (v *VirtualServer) ip() Family {
	if v.Listen[0].Addr().Is4() {
		return FamilyIPv4
	}
	return FamilyIPv6
}

// mapName is the name of the map of v.
func (v *VirtualServer) mapName() string {
	if v.ip() == FamilyIPv4 {
		return "servers4_" + v.Name
	}
	return "servers6_" + v.Name
}

// validate checks what the kernel would refuse with a bare errno.
func (v *VirtualServer) validate() error {
	if len(v.Listen) == 0 || len(v.Slots) == 0 {
		return fmt.Errorf("virtual server %s: no address or no slot", v.Name)
	}
	if err := checkName(v.mapName()); err != nil {
		return fmt.Errorf("virtual server: %w", err)
	}
	for _, a := range slices.Concat(v.Listen, v.Slots) {
		if a.IsValid() && a.Addr().Is4() != v.Listen[0].Addr().Is4() {
			return fmt.Errorf("virtual server %s: %s is of another family", v.Name, a)
		}
	}
	return nil
}
