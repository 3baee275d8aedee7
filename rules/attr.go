// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	"encoding/binary"
	"iter"
	"time"

	"golang.org/x/sys/unix"
)

// Netlink attributes as in <linux/netlink.h>: length and type in host order,
// the value padded to four bytes. nf_tables values are in network order.

const attrHeader = 4

// appendAttr appends one attribute.
func appendAttr(b []byte, typ uint16, value []byte) []byte {
	b, at := openAttr(b, typ)
	return closeAttr(append(b, value...), at)
}

// openAttr starts an attribute whose value the caller appends; closeAttr,
// given the second result, ends it.
func openAttr(b []byte, typ uint16) ([]byte, int) {
	at := len(b)
	b = append(b, 0, 0)
	return binary.NativeEndian.AppendUint16(b, typ), at
}

// openNest starts an attribute that holds attributes.
func openNest(b []byte, typ uint16) ([]byte, int) { return openAttr(b, typ|unix.NLA_F_NESTED) }

func closeAttr(b []byte, at int) []byte {
	binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at))
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func appendString(b []byte, typ uint16, s string) []byte {
	b, at := openAttr(b, typ)
	return closeAttr(append(append(b, s...), 0), at)
}

func appendUint8(b []byte, typ uint16, v uint8) []byte {
	b, at := openAttr(b, typ)
	return closeAttr(append(b, v), at)
}

func appendUint16(b []byte, typ uint16, v uint16) []byte {
	b, at := openAttr(b, typ)
	return closeAttr(binary.BigEndian.AppendUint16(b, v), at)
}

func appendUint32(b []byte, typ uint16, v uint32) []byte {
	b, at := openAttr(b, typ)
	return closeAttr(binary.BigEndian.AppendUint32(b, v), at)
}

func appendUint64(b []byte, typ uint16, v uint64) []byte {
	b, at := openAttr(b, typ)
	return closeAttr(binary.BigEndian.AppendUint64(b, v), at)
}

// attrs walks the attributes in b, types without the nested and byte order
// flags. It stops at the first one that does not fit.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= attrHeader {
			n := int(binary.NativeEndian.Uint16(b))
			if n < attrHeader || n > len(b) {
				return
			}
			typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(typ, b[attrHeader:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}

// collect gathers attributes by their type; the last of a type wins.
func collect(b []byte) map[uint16][]byte {
	m := map[uint16][]byte{}
	for typ, v := range attrs(b) {
		m[typ] = v
	}
	return m
}

// attrString is the value of a string attribute, with or without its NUL.
func attrString(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

// number is the value of an attribute of 32 bits, or 0 without one.
func number(v []byte) uint32 {
	if len(v) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(v)
}

// milliseconds decodes a time of the kernel.
func milliseconds(v []byte) time.Duration {
	if len(v) != 8 {
		return 0
	}
	return time.Duration(binary.BigEndian.Uint64(v)) * time.Millisecond
}

// User data in nft's format (libnftnl's udata.h): type, length, value. The
// numbers of comments differ between objects.
const (
	udataRuleComment  = 0 // NFTNL_UDATA_RULE_COMMENT
	udataTableComment = 0 // NFTNL_UDATA_TABLE_COMMENT
	udataSetKeyOrder  = 0 // NFTNL_UDATA_SET_KEYBYTEORDER
	udataSetComment   = 7 // NFTNL_UDATA_SET_COMMENT
	udataElemComment  = 0 // NFTNL_UDATA_SET_ELEM_COMMENT
)

// appendUdataString appends a NUL-terminated string of at most 254 bytes.
func appendUdataString(b []byte, typ uint8, s string) []byte {
	b = append(b, typ, uint8(len(s)+1))
	return append(append(b, s...), 0)
}

// udataString finds the string of a type in user data.
func udataString(b []byte, typ uint8) (string, bool) {
	for len(b) >= 2 && len(b)-2 >= int(b[1]) {
		value := b[2 : 2+int(b[1])]
		if b[0] == typ {
			return attrString(value), true
		}
		b = b[2+len(value):]
	}
	return "", false
}

// Attributes walks netlink attributes.
func Attributes(b []byte) iter.Seq2[uint16, []byte] { return attrs(b) }

// UserData finds the string of a type in user data.
func UserData(b []byte, typ uint8) (string, bool) { return udataString(b, typ) }
