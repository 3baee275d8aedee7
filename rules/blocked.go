// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The sets of clients whose packets to the control ports are dropped, for a time.
// Of an IPv6 client it is the network.
const (
	setBlocked4 = "pasvport_blocked4"
	setBlocked6 = "pasvport_blocked6"
)

// blockedBits is how many leading bits of an IPv6 address are blocked.
const blockedBits = 64

// BlockedTime is how long a client is blocked where nothing else is said.
const BlockedTime = 10 * time.Minute

// Blocked is a client that is blocked.
type Blocked struct {
	Client  netip.Prefix
	Expires time.Duration // how long from now
}

// BlockedPrefix is what is blocked of a client: its address, or the network of an
// IPv6 one.
func BlockedPrefix(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.PrefixFrom(a, blockedBits).Masked()
}

// blockedSet is: set pasvport_blocked4 { type ipv4_addr; flags timeout; timeout 600s; }
func blockedSet(table string, ip Family) set {
	s := set{family: FamilyINet, table: table, name: setBlocked4, blocked: ip, timeout: BlockedTime}
	if ip == FamilyIPv6 {
		s.name = setBlocked6
	}
	s.fullName = s.words()
	return s
}

// addrType is the type of the elements of a set of addresses.
func addrType(ip Family) nftables.SetDatatype {
	if ip == FamilyIPv6 {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}

// appendBlockedSet appends the attributes of NFT_MSG_NEWSET.
func appendBlockedSet(b []byte, s set, id uint32) []byte {
	key := addrType(s.blocked)
	b = appendString(b, unix.NFTA_SET_TABLE, s.table)
	b = appendString(b, unix.NFTA_SET_NAME, s.name)
	b = appendUint32(b, unix.NFTA_SET_FLAGS, unix.NFT_SET_TIMEOUT)
	b = appendUint32(b, unix.NFTA_SET_KEY_TYPE, key.GetNFTMagic())
	b = appendUint32(b, unix.NFTA_SET_KEY_LEN, key.Bytes)
	b = appendUint32(b, unix.NFTA_SET_ID, id)
	return appendUint64(b, unix.NFTA_SET_TIMEOUT, uint64(s.timeout.Milliseconds()))
}

// blockedRules drop what blocked clients send to control ports.
func blockedRules(c Config) []rule {
	if !c.Block {
		return nil
	}
	return []rule{
		// ip saddr @pasvport_blocked4 tcp dport @control_ports counter drop
		newRule(clause{text: "ip saddr @" + setBlocked4, needs: needIPv4, exprs: []expr.Any{
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
			&expr.Lookup{SourceRegister: reg, SetName: setBlocked4}}}, dport(setControlPorts), counter(), drop()).
			explained("clients whose logins failed too often"),
		// ip6 saddr & ffff:ffff:ffff:ffff:: @pasvport_blocked6 tcp dport @control_ports counter drop
		newRule(clause{text: "ip6 saddr & ffff:ffff:ffff:ffff:: @" + setBlocked6, needs: needIPv6, exprs: []expr.Any{
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16},
			bitwise(networkMask(), make([]byte, 16)),
			&expr.Lookup{SourceRegister: reg, SetName: setBlocked6}}}, dport(setControlPorts), counter(), drop()),
	}
}

// networkMask is ffff:ffff:ffff:ffff::
func networkMask() []byte {
	mask := make([]byte, 16)
	for i := range blockedBits / 8 {
		mask[i] = 0xff
	}
	return mask
}

// Block has what a client sends to the control ports dropped for a time. It needs
// Config.Block.
func (f *Firewall) Block(client netip.Addr, d time.Duration) error {
	p := BlockedPrefix(client)
	return f.change(func() {
		f.memory.blocked[p] = time.Now().Add(d)
		if f.cfg.Block {
			// Add, delete, add: the timeout of an element is not renewed before 6.12.
			f.block(p, unix.NFT_MSG_NEWSETELEM, 0)
			f.block(p, unix.NFT_MSG_DELSETELEM, 0)
			f.block(p, unix.NFT_MSG_NEWSETELEM, d)
		}
	})
}

// Unblock ends what Block began, and reports whether the client was blocked.
func (f *Firewall) Unblock(client netip.Addr) (bool, error) {
	p := BlockedPrefix(client)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.memory.blocked, p)
	f.conn.begin(&f.b, 0)
	f.block(p, unix.NFT_MSG_DELSETELEM, 0)
	err := f.conn.commit(&f.b)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

func (f *Firewall) block(p netip.Prefix, msg uint16, d time.Duration) {
	s := blockedSet(f.cfg.Table, familyOf(p))
	f.key = append(f.key[:0], p.Addr().AsSlice()...)
	f.element(msg, &s, d, "")
}

func familyOf(p netip.Prefix) Family {
	if p.Addr().Is4() {
		return FamilyIPv4
	}
	return FamilyIPv6
}

// Blocked lists the clients that are blocked, also those of an earlier run and
// those that somebody has added to the sets.
func (f *Firewall) Blocked() ([]Blocked, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blockedClients()
}

func (f *Firewall) blockedClients() (list []Blocked, err error) {
	for _, ip := range []Family{FamilyIPv4, FamilyIPv6} {
		s := blockedSet(f.cfg.Table, ip)
		query := appendString(nil, unix.NFTA_SET_ELEM_LIST_TABLE, s.table)
		query = appendString(query, unix.NFTA_SET_ELEM_LIST_SET, s.name)
		err := f.conn.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, s.family, query, func(_ Family, body []byte) {
			list = appendBlocked(list, body)
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return list, &OpError{Op: "list set", Object: s.words(), Err: err}
		}
	}
	return list, nil
}

// appendBlocked reads the elements of one message of a dump.
func appendBlocked(list []Blocked, body []byte) []Blocked {
	for typ, elements := range attrs(body) {
		if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for _, elem := range attrs(elements) {
			var b Blocked
			for typ, v := range attrs(elem) {
				switch {
				case typ == unix.NFTA_SET_ELEM_KEY:
					for _, key := range attrs(v) {
						if a, ok := netip.AddrFromSlice(key); ok {
							b.Client = BlockedPrefix(a)
						}
					}
				case typ == unix.NFTA_SET_ELEM_EXPIRATION:
					b.Expires = milliseconds(v)
				}
			}
			if b.Client.IsValid() {
				list = append(list, b)
			}
		}
	}
	return list
}

// recallBlocked remembers the clients that an earlier run blocked.
func (m *memory) recallBlocked(list []Blocked) {
	now := time.Now()
	for _, b := range list {
		if b.Expires > 0 {
			m.blocked[b.Client] = now.Add(b.Expires)
		}
	}
}

// addBlocked adds to b the clients that are blocked still.
func (b *batch) addBlocked(m *memory, table string) {
	now := time.Now()
	for _, ip := range []Family{FamilyIPv4, FamilyIPv6} {
		s := blockedSet(table, ip)
		l := listing{b: b, s: &s}
		for p, until := range m.blocked {
			if left := until.Sub(now); left <= 0 {
				delete(m.blocked, p)
			} else if familyOf(p) == ip {
				l.add(p.Addr().AsSlice(), left, "")
			}
		}
		l.end()
	}
}
