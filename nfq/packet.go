// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Hooks of the families ip, ip6 and inet, linux/netfilter.h.
const (
	HookPrerouting  = 0 // NF_INET_PRE_ROUTING
	HookInput       = 1 // NF_INET_LOCAL_IN
	HookForward     = 2 // NF_INET_FORWARD
	HookOutput      = 3 // NF_INET_LOCAL_OUT
	HookPostrouting = 4 // NF_INET_POST_ROUTING
)

// TCP flags as in Packet.Flags, RFC 9293 section 3.1.
const (
	FlagFIN = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
	FlagURG
	FlagECE
	FlagCWR
)

const (
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
	tcpHeaderLen  = 20
)

// Reasons why ParsePacket refuses a packet.
var (
	errTruncated    = errors.New("packet shorter than its headers say")
	errNotIP        = errors.New("neither IPv4 nor IPv6")
	errNotTCP       = errors.New("not TCP")
	errFragment     = errors.New("fragment")
	errSourceRoute  = errors.New("source route still to be followed")
	errHeaderLength = errors.New("impossible header length")
)

// Packet is a queued TCP segment. ParsePacket fills everything except ID, Hook
// and Zone.
//
// Data and Payload belong to the queue's receive buffer. In Handler.Packet they
// are valid until it returns; what is held longer must be copied.
type Packet struct {
	// ID identifies the packet in verdicts; it is unique in its queue.
	ID uint32
	// Hook is where the packet was queued, HookPrerouting and the like.
	Hook uint8
	// Zone is the packet's conntrack zone; 0, the default one, without
	// Config.Zones.
	Zone uint16
	// Data is the whole packet from its IP header to the last payload byte.
	Data []byte

	// Src and Dst are the addresses and ports in the headers.
	Src, Dst netip.AddrPort
	// Seq and Ack are the TCP sequence and acknowledgement numbers.
	Seq, Ack uint32
	// Flags are the TCP flags, FlagSYN and the like.
	Flags uint8
	// Window is the TCP window, not scaled.
	Window uint16
	// Urgent is the TCP urgent pointer; valid only with FlagURG.
	Urgent uint16
	// Payload is what follows the TCP header, a slice of Data.
	Payload []byte

	tcp     int // offset of the TCP header in Data
	payload int // offset of the payload in Data
}

// Options are the TCP options, a slice of Data.
func (p *Packet) Options() []byte { return p.Data[p.tcp+tcpHeaderLen : p.payload] }

// ParsePacket decodes data, an IP packet with a TCP segment in it, into p and
// keeps p.ID, p.Hook and p.Zone. p holds slices of data afterwards. IPv4 options,
// IPv6 extension headers and TCP options are skipped; fragments are refused
// (conntrack has reassembled what reaches our hooks), and so are packets with a
// source route that is not finished, whose checksum covers an address that is not
// their destination. After an error p's other fields are undefined.
func ParsePacket(p *Packet, data []byte) error {
	if len(data) < 1 {
		return errTruncated
	}
	switch data[0] >> 4 {
	case 4:
		return parseIPv4(p, data)
	case 6:
		return parseIPv6(p, data)
	}
	return errNotIP
}

// parseIPv4 reads an IPv4 header, RFC 791 section 3.1.
func parseIPv4(p *Packet, data []byte) error {
	if len(data) < ipv4HeaderLen {
		return errTruncated
	}
	ihl := int(data[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(data[2:]))
	if ihl < ipv4HeaderLen || total < ihl {
		return errHeaderLength
	}
	if total > len(data) {
		return errTruncated
	}
	const moreFragmentsAndOffset = 0x3fff
	if binary.BigEndian.Uint16(data[6:])&moreFragmentsAndOffset != 0 {
		return errFragment
	}
	if data[9] != unix.IPPROTO_TCP {
		return errNotTCP
	}
	if err := checkIPv4Options(data[ipv4HeaderLen:ihl]); err != nil {
		return err
	}
	src := netip.AddrFrom4([4]byte(data[12:16]))
	dst := netip.AddrFrom4([4]byte(data[16:20]))
	return parseTCP(p, data[:total], ihl, src, dst)
}

// checkIPv4Options looks for a source route whose pointer is not past its end.
// Other options, and malformed lists, do not matter here.
func checkIPv4Options(b []byte) error {
	const (
		endOfList, noOperation = 0, 1
		loose, strict          = 131, 137
	)
	for len(b) >= 3 && b[0] != endOfList {
		if b[0] == noOperation {
			b = b[1:]
			continue
		}
		n := int(b[1])
		if (b[0] == loose || b[0] == strict) && int(b[2]) <= n {
			return errSourceRoute
		}
		if n < 2 || n > len(b) {
			return nil
		}
		b = b[n:]
	}
	return nil
}

// parseIPv6 reads an IPv6 header and the extension headers before TCP, RFC 8200
// sections 3 and 4. A payload length of 0 (jumbogram, RFC 2675) is refused.
func parseIPv6(p *Packet, data []byte) error {
	if len(data) < ipv6HeaderLen {
		return errTruncated
	}
	total := ipv6HeaderLen + int(binary.BigEndian.Uint16(data[4:]))
	if total > len(data) {
		return errTruncated
	}
	data = data[:total]
	next, off := data[6], ipv6HeaderLen
	for next != unix.IPPROTO_TCP {
		if next == unix.IPPROTO_FRAGMENT {
			return errFragment
		}
		if next != unix.IPPROTO_HOPOPTS && next != unix.IPPROTO_ROUTING && next != unix.IPPROTO_DSTOPTS {
			return errNotTCP
		}
		if total-off < 8 {
			return errTruncated
		}
		const segmentsLeft = 3
		if next == unix.IPPROTO_ROUTING && data[off+segmentsLeft] != 0 {
			return errSourceRoute
		}
		next, off = data[off], off+8*(int(data[off+1])+1)
		if off > total {
			return errTruncated
		}
	}
	src := netip.AddrFrom16([16]byte(data[8:24]))
	dst := netip.AddrFrom16([16]byte(data[24:40]))
	return parseTCP(p, data, off, src, dst)
}

// parseTCP reads the TCP header at offset tcp, RFC 9293 section 3.1.
func parseTCP(p *Packet, data []byte, tcp int, src, dst netip.Addr) error {
	h := data[tcp:]
	if len(h) < tcpHeaderLen {
		return errTruncated
	}
	n := int(h[12]>>4) * 4
	if n < tcpHeaderLen {
		return errHeaderLength
	}
	if n > len(h) {
		return errTruncated
	}
	p.Data = data
	p.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(h))
	p.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(h[2:]))
	p.Seq = binary.BigEndian.Uint32(h[4:])
	p.Ack = binary.BigEndian.Uint32(h[8:])
	p.Flags = h[13]
	p.Window = binary.BigEndian.Uint16(h[14:])
	p.Urgent = binary.BigEndian.Uint16(h[18:])
	p.Payload = h[n:]
	p.tcp, p.payload = tcp, tcp+n
	return nil
}
