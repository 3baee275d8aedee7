// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"encoding/binary"
	"fmt"

	"github.com/gopacket/gopacket/layers"
)

// Link types that gopacket has other numbers or no names for, as
// https://www.tcpdump.org/linktypes.html has them.
const (
	linkRawBSD   = 12  // DLT_RAW of most systems
	linkRawOpen  = 14  // DLT_RAW of OpenBSD
	linkRaw      = 101 // LINKTYPE_RAW
	linkSLL      = 113 // Linux cooked, version 1
	linkIPv4     = 228
	linkIPv6     = 229
	linkSLL2     = 276 // Linux cooked, version 2
	linkLoop     = 108 // loopback of OpenBSD
	linkNull     = 0   // loopback of BSD
	linkEthernet = 1
)

// Ethernet types.
const (
	typeIPv4   = 0x0800
	typeIPv6   = 0x86dd
	typeVLAN   = 0x8100
	typeQinQ   = 0x88a8
	typeVLAN91 = 0x9100
	typePPPoE  = 0x8864
)

const (
	macLen   = 6
	vlanLen  = 4
	sllLen   = 16
	sll2Len  = 20
	loopLen  = 4
	pppoeLen = 8
)

// network returns where the IP header of a frame is, or why there is none.
func network(link layers.LinkType, b []byte) (offset int, skip string) {
	var kind uint16
	switch link {
	case linkEthernet:
		if len(b) < 2*macLen+2 {
			return 0, shortFrame
		}
		kind, offset = binary.BigEndian.Uint16(b[2*macLen:]), 2*macLen+2
	case linkSLL:
		if len(b) < sllLen {
			return 0, shortFrame
		}
		kind, offset = binary.BigEndian.Uint16(b[sllLen-2:]), sllLen
	case linkSLL2:
		if len(b) < sll2Len {
			return 0, shortFrame
		}
		kind, offset = binary.BigEndian.Uint16(b), sll2Len
	case linkRaw, linkRawBSD, linkRawOpen, linkIPv4, linkIPv6:
		return 0, ""
	case linkNull, linkLoop:
		if len(b) < loopLen {
			return 0, shortFrame
		}
		return loopLen, "" // the version of IP is in its header too
	default:
		return 0, fmt.Sprintf("link type %d", link)
	}
	return inner(b, kind, offset)
}

const shortFrame = "shorter than its link layer's header"

// inner follows tags to the IP header.
func inner(b []byte, kind uint16, offset int) (int, string) {
	for {
		switch kind {
		case typeIPv4, typeIPv6:
			return offset, ""
		case typeVLAN, typeQinQ, typeVLAN91:
			if len(b) < offset+vlanLen {
				return 0, shortFrame
			}
			kind, offset = binary.BigEndian.Uint16(b[offset+2:]), offset+vlanLen
		case typePPPoE:
			if len(b) < offset+pppoeLen {
				return 0, shortFrame
			}
			return offset + pppoeLen, "" // what is not IP is not taken for it
		default:
			return 0, "not IP"
		}
	}
}
