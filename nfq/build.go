// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// hopLimit is the TTL or hop limit of a packet that is built here.
const hopLimit = 64

// Segment is a TCP segment without payload to build.
type Segment struct {
	Src, Dst netip.AddrPort // of one family
	Seq, Ack uint32
	Flags    uint8
	Window   uint16
	// Options are TCP options, padded to a multiple of four bytes.
	Options []byte
}

// AppendSegment appends the IP packet that carries s, with all checksums.
func AppendSegment(dst []byte, s *Segment) []byte {
	src, to := s.Src.Addr(), s.Dst.Addr()
	n, start := tcpHeaderLen+len(s.Options), len(dst)
	if src.Is4() {
		dst = append(dst, 4<<4|ipv4HeaderLen/4, 0)
		dst = binary.BigEndian.AppendUint16(dst, uint16(ipv4HeaderLen+n))
		dst = append(dst, 0, 0, 0x40, 0, hopLimit, unix.IPPROTO_TCP, 0, 0) // do not fragment
	} else {
		dst = append(dst, 6<<4, 0, 0, 0)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
		dst = append(dst, unix.IPPROTO_TCP, hopLimit)
	}
	addrs := len(dst)
	dst = append(append(dst, src.AsSlice()...), to.AsSlice()...)
	tcp := len(dst)
	if src.Is4() {
		setIPv4Checksum(dst[start:tcp])
	}
	dst = binary.BigEndian.AppendUint16(dst, s.Src.Port())
	dst = binary.BigEndian.AppendUint16(dst, s.Dst.Port())
	dst = binary.BigEndian.AppendUint32(dst, s.Seq)
	dst = binary.BigEndian.AppendUint32(dst, s.Ack)
	dst = append(dst, uint8(n/4)<<4, s.Flags)
	dst = binary.BigEndian.AppendUint16(dst, s.Window)
	dst = append(dst, 0, 0, 0, 0) // checksum, urgent pointer
	dst = append(dst, s.Options...)
	setTCPChecksum(dst[tcp:], dst[addrs:tcp])
	return dst
}
