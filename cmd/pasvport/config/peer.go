// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
)

// setPeerAddr accepts numeric addresses only: a pair must not depend on name
// service. A link-local one of IPv6 needs its interface.
func setPeerAddr(to *string, v string) error {
	if v != "" {
		ap, err := netip.ParseAddrPort(v)
		if a := ap.Addr(); err != nil || ap.Port() == 0 || a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
			return errValue
		}
	}
	*to = v
	return nil
}

func setPeerKey(c *Config, v string) error {
	if v != "" && !filepath.IsAbs(v) {
		return errValue
	}
	c.PeerKey = v
	return nil
}

// Paired reports whether this is one firewall of a pair. It is an error to set
// only some of the settings that it needs.
func (c Config) Paired() (bool, error) {
	switch said := [3]bool{c.Peer != "", c.PeerListen != "", c.PeerKey != ""}; {
	case said == [3]bool{}:
		return false, nil
	case said != [3]bool{true, true, true}:
		return false, fmt.Errorf("peer %q with peer-listen %q and peer-key %q: want all three, or none", c.Peer, c.PeerListen, c.PeerKey)
	case c.Peer == c.PeerListen:
		return false, errors.New("peer and peer-listen are the same, want the address of the other firewall and one of this one")
	}
	return true, nil
}
