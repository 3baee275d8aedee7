// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The sets of peers: pairs of a client and the server address that it dialled,
// whose control connection is encrypted.
const (
	setPeers4 = "peers4"
	setPeers6 = "peers6"
)

// peers is a pair of addresses as the client's SYN shows them in prerouting.
type peers struct{ client, dialled netip.Addr }

func (p peers) unmap() peers { return peers{p.client.Unmap(), p.dialled.Unmap()} }

func (p peers) key(b []byte) []byte {
	return append(append(b, p.client.AsSlice()...), p.dialled.AsSlice()...)
}

// peerSet is: set peers4 { type ipv4_addr . ipv4_addr; }
func peerSet(table string, ip Family) set {
	s := set{family: FamilyINet, table: table, name: setPeers4, pairs: ip}
	if ip == FamilyIPv6 {
		s.name = setPeers6
	}
	s.fullName = s.words()
	return s
}

// pairType is the type of the elements of a peer set.
func pairType(ip Family) nftables.SetDatatype {
	if ip == FamilyIPv6 {
		return nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeIP6Addr)
	}
	return nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr)
}

// appendPeerSet appends the attributes of NFT_MSG_NEWSET for a peer set.
func appendPeerSet(b []byte, s set, id uint32) []byte {
	key := pairType(s.pairs)
	b = appendString(b, unix.NFTA_SET_TABLE, s.table)
	b = appendString(b, unix.NFTA_SET_NAME, s.name)
	b = appendUint32(b, unix.NFTA_SET_FLAGS, 0)
	b = appendUint32(b, unix.NFTA_SET_KEY_TYPE, key.GetNFTMagic())
	b = appendUint32(b, unix.NFTA_SET_KEY_LEN, key.Bytes)
	return appendUint32(b, unix.NFTA_SET_ID, id)
}

// peerOf is: ip saddr . ip daddr @peers4
func peerOf(ip Family) clause {
	word, need, src, size, name := "ip", needIPv4, uint32(12), uint32(4), setPeers4
	if ip == FamilyIPv6 {
		word, need, src, size, name = "ip6", needIPv6, 8, 16, setPeers6
	}
	const first = unix.NFT_REG32_00
	return clause{text: fmt.Sprintf("%s saddr . %[1]s daddr @%s", word, name), needs: need, exprs: []expr.Any{
		&expr.Payload{DestRegister: first, Base: expr.PayloadBaseNetworkHeader, Offset: src, Len: size},
		&expr.Payload{DestRegister: first + size/4, Base: expr.PayloadBaseNetworkHeader, Offset: src + size, Len: size},
		&expr.Lookup{SourceRegister: first, SetName: name}}}
}

// dportRange is: tcp dport 50000-50100
func dportRange(r PortRange) clause {
	at := func(op expr.CmpOp, port uint16) expr.Any {
		return &expr.Cmp{Op: op, Register: reg, Data: []byte{byte(port >> 8), byte(port)}}
	}
	load := &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	if r.Low == r.High {
		return ofTCP("tcp dport "+r.String(), load, at(expr.CmpOpEq, r.Low))
	}
	return ofTCP("tcp dport "+r.String(), load,
		&expr.Range{Op: expr.CmpOpEq, Register: reg, FromData: []byte{byte(r.Low >> 8), byte(r.Low)}, ToData: []byte{byte(r.High >> 8), byte(r.High)}})
}

// peerClaims queue what a peer opens in the range.
func peerClaims(c Config, to clause) []rule {
	if c.PeerPorts == (PortRange{}) {
		return nil
	}
	var list []rule
	for _, ip := range []Family{FamilyIPv4, FamilyIPv6} {
		// tcp flags & (fin | syn | rst | ack) == syn tcp dport 50000-50100 ip saddr . ip daddr @peers4
		//	counter queue flags bypass to 2121
		list = append(list, newRule(firstSYN(), dportRange(c.PeerPorts), peerOf(ip), counter(), to))
	}
	return list
}

// AllowPeer has what client opens to dialled, in Config.PeerPorts, come to the
// first queue, from Install on.
func (f *Firewall) AllowPeer(client, dialled netip.Addr) error {
	p := peers{client, dialled}.unmap()
	return f.change(func() {
		f.memory.peers[p] = struct{}{}
		if f.installed && f.cfg.hasPeers() {
			f.peer(p, unix.NFT_MSG_NEWSETELEM)
		}
	})
}

// ForgetPeer ends what AllowPeer began. A pair that is not there is not
// missed.
func (f *Firewall) ForgetPeer(client, dialled netip.Addr) error {
	p := peers{client, dialled}.unmap()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.memory.peers, p)
	f.conn.begin(&f.b, 0)
	f.peer(p, unix.NFT_MSG_DELSETELEM)
	if err := f.conn.commit(&f.b); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func (f *Firewall) peer(p peers, msg uint16) {
	s := peerSet(f.cfg.Table, FamilyIPv4)
	if p.client.Is6() {
		s = peerSet(f.cfg.Table, FamilyIPv6)
	}
	f.key = p.key(f.key[:0])
	f.element(msg, &s, 0, "")
}

// hasPeers reports whether c has sets of peers.
func (c Config) hasPeers() bool { return c.Claim && c.PeerPorts != (PortRange{}) }
