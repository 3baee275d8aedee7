// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	nlmsgHeaderLen = 16 // struct nlmsghdr
	nfgenLen       = 4  // struct nfgenmsg
	attrHeaderLen  = 4  // struct nlattr
)

// Attributes shared by conntrack entries and expectations, from
// include/uapi/linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaTupleIP    = 1 // enum ctattr_tuple
	ctaTupleProto = 2
	ctaTupleZone  = 3

	ctaIPV4Src = 1 // enum ctattr_ip
	ctaIPV4Dst = 2
	ctaIPV6Src = 3
	ctaIPV6Dst = 4

	ctaProtoNum     = 1 // enum ctattr_l4proto
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3
)

// appendRequest starts a message with both of its headers. The length is
// filled in by endRequest.
func appendRequest(dst []byte, typ, flags uint16, seq uint32, family uint8) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.NativeEndian.AppendUint16(dst, typ)
	dst = binary.NativeEndian.AppendUint16(dst, unix.NLM_F_REQUEST|flags)
	dst = binary.NativeEndian.AppendUint32(dst, seq)
	dst = append(dst, 0, 0, 0, 0)                       // port id: the kernel knows the sender
	return append(dst, family, unix.NFNETLINK_V0, 0, 0) // struct nfgenmsg, resource 0
}

// endRequest sets the length of the message that starts at offset at.
func endRequest(dst []byte, at int) []byte {
	binary.NativeEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	return dst
}

func appendAttrHeader(dst []byte, typ uint16, length int) []byte {
	dst = binary.NativeEndian.AppendUint16(dst, uint16(attrHeaderLen+length))
	return binary.NativeEndian.AppendUint16(dst, typ)
}

func appendAttr8(dst []byte, typ uint16, v uint8) []byte {
	return append(appendAttrHeader(dst, typ, 1), v, 0, 0, 0)
}

func appendAttr16(dst []byte, typ, v uint16) []byte {
	dst = appendAttrHeader(dst, typ, 2)
	return append(binary.BigEndian.AppendUint16(dst, v), 0, 0)
}

func appendAttr32(dst []byte, typ uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(appendAttrHeader(dst, typ, 4), v)
}

// appendNative32 appends one of the few values in host order.
func appendNative32(dst []byte, typ uint16, v uint32) []byte {
	return binary.NativeEndian.AppendUint32(appendAttrHeader(dst, typ, 4), v)
}

// appendAttrString appends a string with its terminating zero.
func appendAttrString(dst []byte, typ uint16, s string) []byte {
	dst = append(appendAttrHeader(dst, typ, len(s)+1), s...)
	dst = append(dst, 0)
	for n := len(s) + 1; n%4 != 0; n++ {
		dst = append(dst, 0)
	}
	return dst
}

func appendAddr(dst []byte, typ uint16, a netip.Addr) []byte {
	if a.Is4() {
		b := a.As4()
		return append(appendAttrHeader(dst, typ, len(b)), b[:]...)
	}
	b := a.As16()
	return append(appendAttrHeader(dst, typ, len(b)), b[:]...)
}

// beginNested opens a nested attribute and returns where it starts, for
// endNested.
func beginNested(dst []byte, typ uint16) ([]byte, int) {
	return appendAttrHeader(dst, typ|unix.NLA_F_NESTED, 0), len(dst)
}

func endNested(dst []byte, at int) []byte {
	binary.NativeEndian.PutUint16(dst[at:], uint16(len(dst)-at))
	return dst
}

// appendTuple appends a tuple attribute: CTA_TUPLE_ORIG, CTA_EXPECT_MASK and
// the like.
func appendTuple(dst []byte, typ uint16, t Tuple) []byte {
	dst, tuple := beginNested(dst, typ)
	dst, ip := beginNested(dst, ctaTupleIP)
	if t.Src.Addr().Is4() {
		dst = appendAddr(dst, ctaIPV4Src, t.Src.Addr())
		dst = appendAddr(dst, ctaIPV4Dst, t.Dst.Addr())
	} else {
		dst = appendAddr(dst, ctaIPV6Src, t.Src.Addr())
		dst = appendAddr(dst, ctaIPV6Dst, t.Dst.Addr())
	}
	dst = endNested(dst, ip)
	dst, proto := beginNested(dst, ctaTupleProto)
	dst = appendAttr8(dst, ctaProtoNum, unix.IPPROTO_TCP)
	dst = appendAttr16(dst, ctaProtoSrcPort, t.Src.Port())
	dst = appendAttr16(dst, ctaProtoDstPort, t.Dst.Port())
	dst = endNested(dst, proto)
	return endNested(dst, tuple)
}

// appendZone appends the zone of t as attribute typ. The default zone is not
// named: a kernel without CONFIG_NF_CONNTRACK_ZONES refuses the attribute.
func appendZone(dst []byte, typ uint16, t Tuple) []byte {
	if t.Zone == 0 {
		return dst
	}
	return appendAttr16(dst, typ, t.Zone)
}

// attrs walks the attributes in a buffer. Its zero value, and one whose buffer is
// truncated, have no attributes left.
type attrs struct {
	rest []byte
	typ  uint16 // type of the current attribute, without its flags
	val  []byte // its value, a part of the buffer
	bad  bool   // the buffer ended in the middle of an attribute
}

func (a *attrs) next() bool {
	if len(a.rest) < attrHeaderLen {
		a.bad = a.bad || len(a.rest) != 0
		return false
	}
	n := int(binary.NativeEndian.Uint16(a.rest))
	if n < attrHeaderLen || n > len(a.rest) {
		a.bad = true
		return false
	}
	a.typ = binary.NativeEndian.Uint16(a.rest[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	a.val = a.rest[attrHeaderLen:n]
	a.rest = a.rest[min((n+3)&^3, len(a.rest)):]
	return true
}

// The values below are zero if the attribute is too short; a is then bad.

func (a *attrs) u8() uint8 {
	if len(a.val) < 1 {
		a.bad = true
		return 0
	}
	return a.val[0]
}

func (a *attrs) u16() uint16 {
	if len(a.val) < 2 {
		a.bad = true
		return 0
	}
	return binary.BigEndian.Uint16(a.val)
}

func (a *attrs) u32() uint32 {
	if len(a.val) < 4 {
		a.bad = true
		return 0
	}
	return binary.BigEndian.Uint32(a.val)
}

func (a *attrs) u64() uint64 {
	if len(a.val) < 8 {
		a.bad = true
		return 0
	}
	return binary.BigEndian.Uint64(a.val)
}

func (a *attrs) addr() netip.Addr {
	ip, ok := netip.AddrFromSlice(a.val)
	if !ok {
		a.bad = true
	}
	return ip
}

// name returns a string attribute. The names of helpers that an FTP gateway meets
// cost no allocation.
func (a *attrs) name() string {
	b := a.val
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	switch string(b) {
	case "sane":
		return "sane"
	case "ftp":
		return "ftp"
	case nfctFollowMaster:
		return nfctFollowMaster
	}
	return string(b)
}

// tuple decodes the current attribute as a tuple and returns its protocol.
func (a *attrs) tuple(t *Tuple) (proto uint8) {
	var src, dst netip.Addr
	var sport, dport, zone uint16
	for part := (attrs{rest: a.val}); part.next(); {
		if part.typ == ctaTupleZone { // of an entry that has another one in the other direction
			zone = part.u16()
			a.bad = a.bad || part.bad
			continue
		}
		in := attrs{rest: part.val}
		for in.next() {
			switch {
			case part.typ == ctaTupleIP && (in.typ == ctaIPV4Src || in.typ == ctaIPV6Src):
				src = in.addr()
			case part.typ == ctaTupleIP && (in.typ == ctaIPV4Dst || in.typ == ctaIPV6Dst):
				dst = in.addr()
			case part.typ == ctaTupleProto && in.typ == ctaProtoNum:
				proto = in.u8()
			case part.typ == ctaTupleProto && in.typ == ctaProtoSrcPort:
				sport = in.u16()
			case part.typ == ctaTupleProto && in.typ == ctaProtoDstPort:
				dport = in.u16()
			}
		}
		a.bad = a.bad || in.bad
	}
	*t = Tuple{Src: netip.AddrPortFrom(src, sport), Dst: netip.AddrPortFrom(dst, dport), Zone: zone}
	return proto
}
