// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A VirtualServer spreads the connections to some addresses over servers, by a
// map from the numbers of slots to servers. All addresses are of one family.
type VirtualServer struct {
	Name   string // of the map is made of it
	Listen []netip.AddrPort

	// BySource has the slot drawn from the client's address; else each
	// connection gets the next one.
	BySource bool

	// Slots are the servers by the number of their slot. Without a single
	// valid one connections are refused. Only Spread changes them while
	// installed, and never how many there are.
	Slots []netip.AddrPort

	// Parked are servers that have no slot, and why: it is kept for the next
	// run, behind the last slot, where nothing is ever drawn.
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

// serverMap is: map servers4_ftp { typeof numgen inc mod 60 : ip daddr . tcp dport; }
func serverMap(table string, v *VirtualServer) set {
	s := set{family: FamilyINet, table: table, name: v.mapName(), servers: v}
	s.fullName = s.words()
	return s
}

// lines are those of a map within braces.
func (v *VirtualServer) lines() []string {
	word := "ip"
	if v.ip() == FamilyIPv6 {
		word = "ip6"
	}
	l := []string{fmt.Sprintf("typeof numgen inc mod %d : %s daddr . tcp dport", len(v.Slots), word)}
	var elems []string
	for i, a := range v.Slots {
		if a.IsValid() {
			elems = append(elems, fmt.Sprintf("%d : %s . %d", i, a.Addr(), a.Port()))
		}
	}
	if len(elems) == 0 {
		return l
	}
	const perLine = 4
	for i, row := range slices.Collect(slices.Chunk(elems, perLine)) {
		text := "\t" + strings.Join(row, ", ") + ","
		if i == 0 {
			l = append(l, "elements = {")
		}
		l = append(l, text)
	}
	return append(l, "}")
}

// typeofSlot is the user data by which nft knows the types of a map of n slots:
// for key and data their byte order and an expression, with nft's own numbers
// (EXPR_NUMGEN, PROTO_DESC_IP and the like). The key is numgen's for all: nft
// 1.0.6 crashes when it lists a map with "typeof jhash".
func typeofSlot(ip Family, n int) []byte {
	tlv := func(typ uint8, parts ...[]byte) []byte {
		value := slices.Concat(parts...)
		return append([]byte{typ, uint8(len(value))}, value...)
	}
	number := func(typ uint8, v int) []byte { return tlv(typ, binary.NativeEndian.AppendUint32(nil, uint32(v))) }
	field := func(i uint8, proto, field int) []byte {
		return tlv(i, number(0, 7), tlv(1, number(0, proto), number(1, field)))
	}
	daddr := field(0, 12, 12)
	if ip == FamilyIPv6 {
		daddr = field(0, 13, 9)
	}
	return slices.Concat(number(udataSetKeyOrder, 1), number(1, 0),
		tlv(3, number(0, 23), tlv(1, number(0, 0), number(1, n), number(2, 0))),
		tlv(4, number(0, 13), tlv(1, daddr, field(1, 8, 2))))
}

// dataType is the type of a map's data.
func dataType(ip Family) nftables.SetDatatype {
	if ip == FamilyIPv6 {
		return nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService)
	}
	return nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
}

// appendServerMap appends the attributes of NFT_MSG_NEWSET for a map.
func appendServerMap(b []byte, s set, id uint32) []byte {
	data := dataType(s.servers.ip())
	b = appendString(b, unix.NFTA_SET_TABLE, s.table)
	b = appendString(b, unix.NFTA_SET_NAME, s.name)
	b = appendUint32(b, unix.NFTA_SET_FLAGS, unix.NFT_SET_MAP)
	b = appendUint32(b, unix.NFTA_SET_KEY_TYPE, typeInteger)
	b = appendUint32(b, unix.NFTA_SET_KEY_LEN, 4)
	b = appendUint32(b, unix.NFTA_SET_DATA_TYPE, data.GetNFTMagic())
	b = appendUint32(b, unix.NFTA_SET_DATA_LEN, data.Bytes)
	b = appendUint32(b, unix.NFTA_SET_ID, id)
	return appendAttr(b, unix.NFTA_SET_USERDATA, typeofSlot(s.servers.ip(), len(s.servers.Slots)))
}

// addServers adds the elements of a map to b.
func (b *batch) addServers(s *set) {
	l := listing{b: b, s: s}
	for i, a := range s.servers.Slots {
		if a.IsValid() {
			l.addServer(i, a, "")
		}
	}
	for i, p := range s.servers.Parked {
		l.addServer(len(s.servers.Slots)+i, p.Server, p.Why)
	}
	l.end()
}

// addServer adds: slot : address . port
func (l *listing) addServer(slot int, to netip.AddrPort, note string) {
	l.begin()
	b, elem := openNest(l.b.buf, unix.NFTA_LIST_ELEM)
	b, key := openNest(b, unix.NFTA_SET_ELEM_KEY)
	b = closeAttr(appendAttr(b, unix.NFTA_DATA_VALUE, host32(uint32(slot))), key)
	b, data := openNest(b, unix.NFTA_SET_ELEM_DATA)
	b = closeAttr(appendAttr(b, unix.NFTA_DATA_VALUE, serverData(to)), data)
	if note != "" {
		var udata int
		b, udata = openAttr(b, unix.NFTA_SET_ELEM_USERDATA)
		b = closeAttr(appendUdataString(b, udataElemComment, note[:min(len(note), maxNote)]), udata)
	}
	l.b.buf = closeAttr(b, elem)
	l.added()
}

// serverData is a server as the kernel lays out a concatenation.
func serverData(to netip.AddrPort) []byte {
	b := binary.BigEndian.AppendUint16(to.Addr().AsSlice(), to.Port())
	return append(b, 0, 0)
}

// parseServer reads an element of a map.
func parseServer(elem []byte) (slot int, to netip.AddrPort, note string) {
	for typ, v := range attrs(elem) {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			for _, key := range attrs(v) {
				if len(key) == 4 {
					slot = int(binary.NativeEndian.Uint32(key))
				}
			}
		case unix.NFTA_SET_ELEM_DATA:
			for _, data := range attrs(v) {
				if a, ok := netip.AddrFromSlice(data[:max(len(data)-4, 0)]); ok {
					to = netip.AddrPortFrom(a, binary.BigEndian.Uint16(data[len(data)-4:]))
				}
			}
		case unix.NFTA_SET_ELEM_USERDATA:
			note, _ = udataString(v, udataElemComment)
		}
	}
	return slot, to, note
}

// find returns the virtual server whose map has a name.
func (c *Config) find(mapName string) *VirtualServer {
	for i := range c.VirtualServers {
		if c.VirtualServers[i].mapName() == mapName {
			return &c.VirtualServers[i]
		}
	}
	return nil
}

// errSlots is a caller that does not know what Reconfigure was told last.
var errSlots = errors.New("no virtual server of that name and number of slots")

// Spread gives the slots of a virtual server to servers, in one transaction.
// Connections that exist stay where they are. Where somebody has taken our
// table away, it is put back with them.
func (f *Firewall) Spread(v VirtualServer) error {
	if err := v.validate(); err != nil {
		return err
	}
	name, found := v.mapName(), false
	err := f.change(func() {
		// A new list: copies of the configuration share the old one.
		f.cfg.VirtualServers = slices.Clone(f.cfg.VirtualServers)
		to := f.cfg.find(name)
		if found = to != nil && len(to.Slots) == len(v.Slots); !found {
			return
		}
		to.Slots, to.Parked = v.Slots, v.Parked
		if f.installed {
			s := serverMap(f.cfg.Table, to)
			f.b.flushSet(&s)
			f.b.addServers(&s)
		}
	})
	if err == nil && !found {
		err = &OpError{Op: "put servers into", Object: name, Err: errSlots}
	}
	return err
}

// flushSet is: flush set inet table name
func (b *batch) flushSet(s *set) {
	b.open(unix.NFT_MSG_DELSETELEM, 0, s.family, "flush", s.fullName)
	b.buf = appendString(b.buf, unix.NFTA_SET_ELEM_LIST_TABLE, s.table)
	b.buf = appendString(b.buf, unix.NFTA_SET_ELEM_LIST_SET, s.name)
	b.done()
}

// Parked lists the servers of a virtual server that an earlier run left
// without a slot.
func (f *Firewall) Parked(v VirtualServer) ([]Parked, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, parked, err := f.conn.servers(f.cfg.Table, v.mapName())
	return parked, err
}

// servers reads a map. One that does not exist is empty.
func (c *conn) servers(table, name string) (slots map[int]netip.AddrPort, parked []Parked, err error) {
	query := appendString(nil, unix.NFTA_SET_ELEM_LIST_TABLE, table)
	query = appendString(query, unix.NFTA_SET_ELEM_LIST_SET, name)
	slots = map[int]netip.AddrPort{}
	err = c.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, FamilyINet, query, func(_ Family, body []byte) {
		for typ, list := range attrs(body) {
			if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				continue
			}
			for _, elem := range attrs(list) {
				slot, to, why := parseServer(elem)
				slots[slot] = to
				if why != "" {
					parked = append(parked, Parked{to, why})
				}
			}
		}
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil, nil
	}
	return slots, parked, err
}

// missingServers names the maps that do not hold what they should.
func (f *Firewall) missingServers() (missing []string, err error) {
	for i := range f.cfg.VirtualServers {
		v := &f.cfg.VirtualServers[i]
		have, _, err := f.conn.servers(f.cfg.Table, v.mapName())
		if err != nil {
			return nil, err
		}
		if !v.is(have) {
			missing = append(missing, fmt.Sprintf("elements of map inet %s %s", f.cfg.Table, v.mapName()))
		}
	}
	return missing, nil
}

// is reports whether a map holds the slots of v.
func (v *VirtualServer) is(have map[int]netip.AddrPort) bool {
	n := len(v.Parked)
	for i, a := range v.Slots {
		if a.IsValid() {
			n++
		}
		if have[i] != a {
			return false
		}
	}
	return len(have) == n
}
