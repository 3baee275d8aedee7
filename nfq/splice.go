// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const maxIPLen = 0xffff

// AppendSpliced appends p's packet with another payload. Lengths and checksums
// (IPv4 header, TCP) are computed in full: the kernel completes none in a packet
// from a verdict. Everything else stays: addresses, IPv4 identification and
// options, IPv6 extension headers, sequence numbers, TCP options, flags and the
// urgent pointer.
//
// payload may be a slice of p.Data; dst's free space must not overlap it. The
// error is ErrTooLong if the packet would not fit its length field, and then dst
// is returned unchanged.
func AppendSpliced(dst []byte, p *Packet, payload []byte) ([]byte, error) {
	v4 := p.Data[0]>>4 == 4
	n := p.payload + len(payload)
	if !v4 {
		n -= ipv6HeaderLen
	}
	// The packet is sent back as a netlink attribute, whose maximum is a little
	// less.
	if n > maxIPLen || p.payload+len(payload) > maxPayloadAttr {
		return dst, ErrTooLong
	}
	start := len(dst)
	dst = append(dst, p.Data[:p.payload]...)
	dst = append(dst, payload...)
	b := dst[start:]
	if v4 {
		binary.BigEndian.PutUint16(b[2:], uint16(n))
		setIPv4Checksum(b[:p.tcp])
		setTCPChecksum(b[p.tcp:], b[12:20])
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(n))
		setTCPChecksum(b[p.tcp:], b[8:40])
	}
	return dst, nil
}

// Expired reports whether the time to live (hop limit) of the packet is 0.
func (p *Packet) Expired() bool {
	if p.Data[0]>>4 == 4 {
		return p.Data[8] == 0
	}
	return p.Data[7] == 0
}

// Renew gives an expired packet of this host the default time to live (RFC 1340). The
// checksum is computed when it is spliced.
func Renew(p *Packet) {
	if p.Data[0]>>4 == 4 {
		p.Data[8] = 64
	} else {
		p.Data[7] = 64
	}
}

// AppendExpired appends p's packet with a time to live (hop limit) of 0, which no
// forwarded packet has.
func AppendExpired(dst []byte, p *Packet) ([]byte, error) {
	start := len(dst)
	dst, err := AppendSpliced(dst, p, p.Payload)
	if err != nil {
		return dst, err
	}
	if b := dst[start:]; b[0]>>4 == 4 {
		b[8] = 0
		setIPv4Checksum(b[:p.tcp])
	} else {
		b[7] = 0
	}
	return dst, nil
}

// setIPv4Checksum fills in the checksum of header h, options included.
func setIPv4Checksum(h []byte) {
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:], ^fold(sum(0, h)))
}

// setTCPChecksum fills in the checksum of a TCP segment. addrs are the source and
// destination address, as in the IP header, for the pseudo-header (RFC 9293
// section 3.1, RFC 8200 section 8.1).
func setTCPChecksum(seg, addrs []byte) {
	seg[16], seg[17] = 0, 0
	s := sum(unix.IPPROTO_TCP+uint64(len(seg)), addrs)
	binary.BigEndian.PutUint16(seg[16:], ^fold(sum(s, seg)))
}
