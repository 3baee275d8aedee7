// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// Doubts are doubts about the settings of a pair on this machine.
func Doubts(cfg config.Config) (list []config.Doubt) {
	if paired, err := cfg.Paired(); !paired || err != nil {
		return nil // config reports it
	}
	return doubts(cfg, ownAddresses())
}

func doubts(cfg config.Config, own []netip.Addr) (list []config.Doubt) {
	say := func(hint, format string, args ...any) {
		list = append(list, config.Doubt{Text: fmt.Sprintf(format, args...), Hint: hint})
	}
	peer, listen := addrOf(cfg.Peer), addrOf(cfg.PeerListen)
	const link = "give the address on the dedicated link"
	switch {
	case peer.IsUnspecified() || peer.IsLoopback() || peer.IsMulticast() || slices.Contains(own, peer):
		say("give the address of the other one on the dedicated link", "peer %s is not another machine", cfg.Peer)
	case peer.Is4() != listen.Is4():
		say("give both of one family", "peer %s and peer-listen %s are of two families", cfg.Peer, cfg.PeerListen)
	}
	switch {
	case listen.IsLoopback() || listen.IsMulticast():
		say(link, "peer-listen %s is not reached by another machine", cfg.PeerListen)
	case listen.IsUnspecified():
		say(link, "peer-listen %s is reached on every interface", cfg.PeerListen)
	case len(own) > 0 && !slices.Contains(own, listen):
		say(link, "peer-listen %s is not an address of this machine: the other one does not reach it", cfg.PeerListen)
	}
	for _, a := range []string{cfg.Peer, cfg.PeerListen} {
		if cfg.ControlPort(netip.MustParseAddrPort(a).Port()) {
			say("give the pair a port of its own", "the port of %s is a control port: the daemons read what they tell each other", a)
			break
		}
	}
	return list
}

// addrOf is the address of one with a port, which was parsed before, without its zone.
func addrOf(hostPort string) netip.Addr {
	return netip.MustParseAddrPort(hostPort).Addr().Unmap().WithZone("")
}

// ownAddresses are the addresses of this machine.
func ownAddresses() (list []netip.Addr) {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, p.Addr().Unmap())
		}
	}
	return list
}
