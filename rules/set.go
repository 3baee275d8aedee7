// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A set is one of our sets, in our table or in an administrator's: the control
// ports, pinholes of one family of addresses, conntrack ids, or a map.
type set struct {
	family      Family
	table, name string
	fullName    string // words(), made once
	comment     string

	ports   []PortRange // control ports
	ids     bool        // conntrack ids, see renumber.go
	dynamic bool        // rules change it
	pairs   Family      // pairs of addresses of this family, see peers.go
	blocked Family      // clients of this family, see blocked.go
	ends    Family      // addresses and ports of connections, see guard.go

	servers *VirtualServer // a map of its slots, see servers.go

	ip      Family // pinholes of this family; 0 for ports
	timeout time.Duration
}

// pinholeSet is: set name { type ipv4_addr . ipv4_addr . inet_service; flags timeout; timeout 60s; }
func pinholeSet(f Family, table, name string, ip Family, timeout time.Duration, comment string) set {
	s := set{family: f, table: table, name: name, comment: comment, ip: ip, timeout: timeout}
	s.fullName = s.words()
	return s
}

// words is s in nft's words.
func (s set) words() string { return fmt.Sprintf("%s %s %s", s.family, s.table, s.name) }

// keyType is the type of the elements as nft names it, and its number.
func (s set) keyType() nftables.SetDatatype {
	switch s.ip {
	case FamilyIPv4:
		return nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr, nftables.TypeInetService)
	case FamilyIPv6:
		return nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeIP6Addr, nftables.TypeInetService)
	}
	return nftables.TypeInetService
}

// properties are the lines of s within braces.
func (s set) properties() []string {
	if s.ids && s.timeout == 0 {
		return []string{"typeof ct id"}
	}
	if s.ids {
		flags := "flags timeout"
		if s.dynamic {
			flags = "flags dynamic,timeout"
		}
		return []string{"typeof ct id", flags, "timeout " + duration(s.timeout)}
	}
	if s.pairs != 0 {
		return []string{"type " + pairType(s.pairs).Name}
	}
	if s.blocked != 0 {
		return []string{"type " + addrType(s.blocked).Name, "flags timeout", "timeout " + duration(s.timeout)}
	}
	if s.ends != 0 {
		return []string{"type " + endsType(s.ends).Name, fmt.Sprintf("size %d", endsSize), "flags dynamic,timeout", "timeout " + duration(s.timeout)}
	}
	if s.servers != nil {
		return s.servers.lines()
	}
	p := []string{"type " + s.keyType().Name}
	if s.ip == 0 {
		ranges := make([]string, len(s.ports))
		for i, r := range s.ports {
			ranges[i] = r.String()
		}
		p = append(p, "flags interval", "elements = { "+strings.Join(ranges, ", ")+" }")
	} else {
		p = append(p, "flags timeout", "timeout "+duration(s.timeout))
	}
	if s.comment != "" {
		p = append(p, fmt.Sprintf("comment %q", s.comment))
	}
	return p
}

// duration writes d as nft reads it.
func duration(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}

// appendSet appends the attributes of NFT_MSG_NEWSET. id names the set within
// its transaction.
func appendSet(b []byte, s set, id uint32) []byte {
	if s.ids {
		return appendIDSet(b, s, id)
	}
	if s.pairs != 0 {
		return appendPeerSet(b, s, id)
	}
	if s.blocked != 0 {
		return appendBlockedSet(b, s, id)
	}
	if s.ends != 0 {
		return appendEndsSet(b, s, id)
	}
	if s.servers != nil {
		return appendServerMap(b, s, id)
	}
	key := s.keyType()
	flags := uint32(unix.NFT_SET_INTERVAL)
	if s.ip != 0 {
		// No NFT_SET_CONCAT and no field lengths, which nft sends for intervals
		// only: a kernel from 6.2 on refuses to add a set that is there and
		// differs, and with it a saved ruleset that is loaded again.
		flags = unix.NFT_SET_TIMEOUT
	}
	b = appendString(b, unix.NFTA_SET_TABLE, s.table)
	b = appendString(b, unix.NFTA_SET_NAME, s.name)
	b = appendUint32(b, unix.NFTA_SET_FLAGS, flags)
	b = appendUint32(b, unix.NFTA_SET_KEY_TYPE, key.GetNFTMagic())
	b = appendUint32(b, unix.NFTA_SET_KEY_LEN, key.Bytes)
	b = appendUint32(b, unix.NFTA_SET_ID, id)
	var udata []byte
	if s.ip == 0 {
		// nft cannot order the elements of an interval set without it.
		udata = append(udata, udataSetKeyOrder, 4, 2, 0, 0, 0) // big endian
	} else {
		b = appendUint64(b, unix.NFTA_SET_TIMEOUT, uint64(s.timeout.Milliseconds()))
	}
	if s.comment != "" {
		udata = appendUdataString(udata, udataSetComment, s.comment)
	}
	if len(udata) > 0 {
		b = appendAttr(b, unix.NFTA_SET_USERDATA, udata)
	}
	return b
}

// addPorts adds the elements of an interval set: each range is an element at
// its beginning and an end mark behind its last port, where there is such a port.
func (b *batch) addPorts(s *set) {
	l := listing{b: b, s: s}
	var key [2]byte
	add := func(port uint16, flags uint32) {
		binary.BigEndian.PutUint16(key[:], port)
		l.begin()
		b.buf = appendElement(b.buf, key[:], flags, 0, "")
		l.added()
	}
	for _, r := range s.ports {
		add(r.Low, 0)
		if r.High < math.MaxUint16 {
			add(r.High+1, unix.NFT_SET_ELEM_INTERVAL_END)
		}
	}
	l.end()
}

// maxNote keeps a comment within what nft reads (NFTNL_UDATA_COMMENT_MAXLEN).
const maxNote = 120

// appendElement appends one element; timeout 0 is the set's.
func appendElement(b, key []byte, flags uint32, timeout time.Duration, note string) []byte {
	b, elem := openNest(b, unix.NFTA_LIST_ELEM)
	if flags != 0 {
		b = appendUint32(b, unix.NFTA_SET_ELEM_FLAGS, flags)
	}
	if timeout != 0 {
		b = appendUint64(b, unix.NFTA_SET_ELEM_TIMEOUT, uint64(max(timeout.Milliseconds(), 1)))
	}
	b, data := openNest(b, unix.NFTA_SET_ELEM_KEY)
	b = appendAttr(b, unix.NFTA_DATA_VALUE, key)
	b = closeAttr(b, data)
	if note != "" {
		var udata int
		b, udata = openAttr(b, unix.NFTA_SET_ELEM_USERDATA)
		b = closeAttr(appendUdataString(b, udataElemComment, note[:min(len(note), maxNote)]), udata)
	}
	return closeAttr(b, elem)
}

// appendKey appends the key of a pinhole as the kernel lays out the registers
// of a concatenation: each part padded to four bytes.
func appendKey(b []byte, src netip.Addr, dst netip.AddrPort) []byte {
	b = append(b, src.AsSlice()...)
	b = append(b, dst.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	return append(b, 0, 0)
}

// parseKey reads what appendKey writes.
func parseKey(b []byte) (src netip.Addr, dst netip.AddrPort, ok bool) {
	size := (len(b) - 4) / 2
	if len(b) < 4 || len(b) != 2*size+4 {
		return src, dst, false
	}
	src, ok = netip.AddrFromSlice(b[:size])
	to, _ := netip.AddrFromSlice(b[size : 2*size])
	return src, netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[2*size:])), ok
}
