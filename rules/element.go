// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// An element is an element of a set or of a map: as described, as sent, and as
// the kernel shows it.
type element struct {
	key     value
	data    value         // of a map
	mark    bool          // It ends a range, whose last port is the one before.
	timeout time.Duration // 0: the set's
	expires time.Duration // in the kernel's listing: how long from now
	note    string        // its comment, cut to maxNote bytes

	// text is the element in nft syntax, if Text prints it: not the end of a
	// range, and not what only the next run needs.
	text string
}

// maxNote keeps a comment within nft's limit (NFTNL_UDATA_COMMENT_MAXLEN).
const maxNote = 120

// A value is the key of an element, or its value in a map, in the kernel's layout
// of the registers of a concatenation: each part padded to four bytes. Values are
// comparable.
type value struct {
	n uint8
	b [maxValue]byte
}

// maxValue has room for two addresses and two ports.
const maxValue = 2*16 + 2*4

// bytes are those of v, valid as long as v is.
func (v *value) bytes() []byte { return v.b[:v.n] }

// number appends a number in network order.
func (v value) number(n uint32) value {
	binary.BigEndian.PutUint32(v.b[v.n:], n)
	v.n += 4
	return v
}

// hostNumber appends a number in the kernel's own order.
func (v value) hostNumber(n uint32) value {
	binary.NativeEndian.PutUint32(v.b[v.n:], n)
	v.n += 4
	return v
}

// addr appends an address.
func (v value) addr(a netip.Addr) value {
	if a.Is4() {
		b := a.As4()
		v.n += uint8(copy(v.b[v.n:], b[:]))
		return v
	}
	b := a.As16()
	v.n += uint8(copy(v.b[v.n:], b[:]))
	return v
}

// port appends a port as a part of a concatenation.
func (v value) port(p uint16) value {
	binary.BigEndian.PutUint16(v.b[v.n:], p)
	v.n += 4
	return v
}

// onlyPort is the key of a set of ports: no part follows, so it is not padded.
func onlyPort(p uint16) value {
	v := value{}.port(p)
	v.n = 2
	return v
}

// pinholeKey is: ip saddr . ip daddr . tcp dport
func pinholeKey(src netip.Addr, dst netip.AddrPort) value {
	return value{}.addr(src).addr(dst.Addr()).port(dst.Port())
}

// asPinhole parses what pinholeKey writes.
func (v *value) asPinhole() (src netip.Addr, dst netip.AddrPort, ok bool) {
	b := v.bytes()
	size := (len(b) - 4) / 2
	if len(b) < 4 || len(b) != 2*size+4 {
		return src, dst, false
	}
	src, ok = netip.AddrFromSlice(b[:size])
	to, _ := netip.AddrFromSlice(b[size : 2*size])
	return src, netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[2*size:])), ok
}

// serverData is the value of a slot in a map of servers.
func serverData(to netip.AddrPort) value { return value{}.addr(to.Addr()).port(to.Port()) }

// asServer parses what serverData writes.
func (v *value) asServer() (to netip.AddrPort, ok bool) {
	b := v.bytes()
	a, ok := netip.AddrFromSlice(b[:max(len(b)-4, 0)])
	if !ok {
		return to, false
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[len(b)-4:])), true
}

// asID parses the key of a set of conntrack ids.
func (v *value) asID() (id uint32, ok bool) {
	if v.n != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(v.b[:]), true
}

// appendElement encodes e.
func appendElement(b []byte, e *element) []byte {
	b, elem := openNest(b, unix.NFTA_LIST_ELEM)
	if e.mark {
		b = appendUint32(b, unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	}
	if e.timeout != 0 {
		b = appendUint64(b, unix.NFTA_SET_ELEM_TIMEOUT, uint64(max(e.timeout.Milliseconds(), 1)))
	}
	b = appendValue(b, unix.NFTA_SET_ELEM_KEY, &e.key)
	if e.data.n > 0 {
		b = appendValue(b, unix.NFTA_SET_ELEM_DATA, &e.data)
	}
	if e.note != "" {
		var udata int
		b, udata = openAttr(b, unix.NFTA_SET_ELEM_USERDATA)
		b = closeAttr(appendUdataString(b, udataElemComment, e.note[:min(len(e.note), maxNote)]), udata)
	}
	return closeAttr(b, elem)
}

func appendValue(b []byte, typ uint16, v *value) []byte {
	b, data := openNest(b, typ)
	return closeAttr(appendAttr(b, unix.NFTA_DATA_VALUE, v.bytes()), data)
}

// parseElement parses an element from the kernel. One whose key does not fit into
// a value is in no set of ours.
func parseElement(b []byte) (e element, ok bool) {
	for typ, v := range attrs(b) {
		switch typ {
		case unix.NFTA_SET_ELEM_FLAGS:
			e.mark = number(v)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_KEY:
			e.key, ok = parseValue(v)
		case unix.NFTA_SET_ELEM_DATA:
			e.data, _ = parseValue(v)
		case unix.NFTA_SET_ELEM_TIMEOUT:
			e.timeout = milliseconds(v)
		case unix.NFTA_SET_ELEM_EXPIRATION:
			e.expires = milliseconds(v)
		case unix.NFTA_SET_ELEM_USERDATA:
			e.note, _ = udataString(v, udataElemComment)
		}
	}
	return e, ok
}

func parseValue(b []byte) (v value, ok bool) {
	for typ, data := range attrs(b) {
		if typ == unix.NFTA_DATA_VALUE && len(data) > 0 && len(data) <= maxValue {
			v.n, ok = uint8(copy(v.b[:], data)), true
		}
	}
	return v, ok
}

// eachElement passes the elements in one message of a dump to f, however many the
// kernel puts into one.
func eachElement(body []byte, f func(*element)) {
	for typ, list := range attrs(body) {
		if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for _, elem := range attrs(list) {
			if e, ok := parseElement(elem); ok {
				f(&e)
			}
		}
	}
}
