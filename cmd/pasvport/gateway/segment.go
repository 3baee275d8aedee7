// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// injector sends segments of control connections in the name of their ends.
//
// A segment is given the tuple of its direction, as if it had just come in.
// The connection tracker finds its entry by that, translates it and adjusts
// its sequence numbers, and the administrator's rules take it for one of an
// established connection: it goes the way of every other segment.
type injector struct {
	fd4, fd6 int
	buf      []byte
}

// errNoRaw says what is missing.
var errNoRaw = errors.New("missing CAP_NET_RAW: give it to the daemon (AmbientCapabilities= and CapabilityBoundingSet= in a systemd unit)")

func openInjector() (*injector, error) {
	in := &injector{fd4: -1, fd6: -1}
	var err4, err6 error
	// IPPROTO_RAW: the header is ours, and nothing is received.
	in.fd4, err4 = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	in.fd6, err6 = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if errors.Is(err4, unix.EAFNOSUPPORT) {
		err4 = nil
	}
	if errors.Is(err6, unix.EAFNOSUPPORT) {
		err6 = nil
	}
	if err := errors.Join(err4, err6); err != nil {
		in.close()
		if errors.Is(err, unix.EPERM) {
			return nil, errNoRaw
		}
		return nil, fmt.Errorf("raw socket: %w", err)
	}
	return in, nil
}

func (in *injector) close() {
	for _, fd := range []int{in.fd4, in.fd6} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// probe sends a keep-alive (RFC 9293 section 3.8.4) in the name of the end that
// sends direction d: no payload, and a sequence number one below the next, which
// makes the other end acknowledge what it has.
func (in *injector) probe(s *session, d ftpalg.Direction, e *wireEnd) error {
	return in.send(s, d, e, e.next-1, nfq.FlagACK)
}

// reset sends a reset in the name of the end that sends direction d. Its
// sequence number is the one that the other end waits for, and so it is
// believed (RFC 5961 section 3.2).
func (in *injector) reset(s *session, d ftpalg.Direction, e *wireEnd) error {
	return in.send(s, d, e, e.next, nfq.FlagRST|nfq.FlagACK)
}

func (in *injector) send(s *session, d ftpalg.Direction, e *wireEnd, seq uint32, flags uint8) error {
	t := s.original()
	if d == ftpalg.Reply {
		t = s.reply()
	}
	in.buf = appendSegment(in.buf[:0], t, e, seq, flags)
	dst := t.Dst.Addr()
	if dst.Is4() {
		return unix.Sendto(in.fd4, in.buf, 0, &unix.SockaddrInet4{Addr: dst.As4()})
	}
	return unix.Sendto(in.fd6, in.buf, 0, &unix.SockaddrInet6{Addr: dst.As16()})
}

const hopLimit = 64

// appendSegment appends a packet with an empty segment.
func appendSegment(dst []byte, t expect.Tuple, e *wireEnd, seq uint32, flags uint8) []byte {
	const tcpHeaderLen, optionsLen = 20, 12
	n := tcpHeaderLen
	if e.stamped {
		n += optionsLen
	}
	dst = appendIPHeader(dst, t.Src.Addr(), t.Dst.Addr(), n)
	at := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, t.Src.Port())
	dst = binary.BigEndian.AppendUint16(dst, t.Dst.Port())
	dst = binary.BigEndian.AppendUint32(dst, seq)
	dst = binary.BigEndian.AppendUint32(dst, e.ack)
	dst = append(dst, uint8(n/4)<<4, flags)
	dst = binary.BigEndian.AppendUint16(dst, e.window)
	dst = append(dst, 0, 0, 0, 0) // checksum, urgent pointer
	if e.stamped {
		dst = append(dst, 1, 1) // no operation, twice, as everybody aligns it
		dst = append(dst, e.stamp[:]...)
	}
	binary.BigEndian.PutUint16(dst[at+16:], tcpChecksum(t.Src.Addr(), t.Dst.Addr(), dst[at:]))
	return dst
}

// appendIPHeader appends the header for n bytes of TCP. The kernel fills in
// length, identification and checksum of IPv4 (raw_send_hdrinc).
func appendIPHeader(dst []byte, src, to netip.Addr, n int) []byte {
	if src.Is4() {
		dst = append(dst, 4<<4|5, 0)
		dst = binary.BigEndian.AppendUint16(dst, uint16(20+n))
		dst = append(dst, 0, 0, 0x40, 0, hopLimit, unix.IPPROTO_TCP, 0, 0) // do not fragment
	} else {
		dst = append(dst, 6<<4, 0, 0, 0)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
		dst = append(dst, unix.IPPROTO_TCP, hopLimit)
	}
	return append(append(dst, src.AsSlice()...), to.AsSlice()...)
}

// tcpChecksum is that of a segment whose checksum field is zero (RFC 9293
// section 3.1).
func tcpChecksum(src, dst netip.Addr, segment []byte) uint16 {
	sum := uint32(unix.IPPROTO_TCP + len(segment))
	for _, b := range [3][]byte{src.AsSlice(), dst.AsSlice(), segment} {
		for ; len(b) >= 2; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
