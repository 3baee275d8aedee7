// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"time"
)

// Blocked is a client that is blocked.
type Blocked struct {
	Client  netip.Prefix
	Expires time.Duration // how long from now
}

// BlockedPrefix is the prefix that is blocked for a client: its address, or the
// network of an IPv6 one.
func BlockedPrefix(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.PrefixFrom(a, blockedBits).Masked()
}

// blockedKey is: ip saddr
func blockedKey(client netip.Addr) value { return value{}.addr(BlockedPrefix(client).Addr()) }

// Block drops what a client sends to the control ports for a time. It needs
// Config.Block.
func (f *Firewall) Block(client netip.Addr, d time.Duration) error {
	return f.change(func() { f.add(keptBlocked, &element{key: blockedKey(client), timeout: d}, d) })
}

// Unblock undoes Block, and reports whether the client was blocked.
func (f *Firewall) Unblock(client netip.Addr) (bool, error) {
	return f.take(keptBlocked, blockedKey(client))
}

// Blocked lists the blocked clients, also those of an earlier run and those added
// to the sets by hand.
func (f *Firewall) Blocked() (list []Blocked, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.sets {
		if f.sets[i].keeps != keptBlocked {
			continue
		}
		err := f.conn.elements(&f.sets[i], func(e *element) {
			if a, ok := netip.AddrFromSlice(e.key.bytes()); ok {
				list = append(list, Blocked{BlockedPrefix(a), e.expires})
			}
		})
		if err != nil {
			return list, err
		}
	}
	return list, nil
}

// peerKey is: ip saddr . ip daddr
func peerKey(client, dialled netip.Addr) value {
	return value{}.addr(client.Unmap()).addr(dialled.Unmap())
}

// AllowPeer queues connections from client to dialled, in Config.PeerPorts, to
// the first queue, from Install on.
func (f *Firewall) AllowPeer(client, dialled netip.Addr) error {
	return f.change(func() { f.add(keptPeers, &element{key: peerKey(client, dialled)}, 0) })
}

// ForgetPeer undoes AllowPeer. An unknown pair is not an error.
func (f *Firewall) ForgetPeer(client, dialled netip.Addr) error {
	_, err := f.take(keptPeers, peerKey(client, dialled))
	return err
}
