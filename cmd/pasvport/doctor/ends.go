// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"net"
	"net/netip"

	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// Ends is what is known of the two hosts of an FTP session, as this host sees
// them behind its own NAT. The zero value of a field means unknown.
type Ends struct {
	Client, Server netip.Addr

	// ClientLink and ServerLink are the interfaces of this host towards them.
	ClientLink, ServerLink string
}

// families are the possible families of the session.
func (n Ends) families() []rules.Family {
	for _, a := range []netip.Addr{n.Client, n.Server} {
		switch {
		case !a.IsValid():
		case a.Is4():
			return []rules.Family{rules.FamilyIPv4}
		default:
			return []rules.Family{rules.FamilyIPv6}
		}
	}
	return []rules.Family{rules.FamilyIPv4, rules.FamilyIPv6}
}

// localAddresses are the addresses of this host.
func localAddresses() (list []netip.Addr) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				list = append(list, addr.Unmap())
			}
		}
	}
	return list
}

// dress puts what is known into a packet that goes to the server, or to the
// client. Hooks without an incoming or outgoing interface ignore it.
func (n Ends) dress(p *walk.Packet, toServer bool) {
	p.Src, p.Dst, p.In, p.Out = n.Client, n.Server, n.ClientLink, n.ServerLink
	if !toServer {
		p.Src, p.Dst, p.In, p.Out = p.Dst, p.Src, p.Out, p.In
	}
}
