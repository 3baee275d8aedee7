// SPDX-License-Identifier: Apache-2.0

package integration

import (
	bin "encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// sendOutOfWindow sends the server two forged segments of the client's
// connection, half the sequence space apart. One of them is ahead of the true
// numbers, which is invalid to every kernel.
func (d *Dialogue) sendOutOfWindow() error {
	return errors.Join(d.sendSegment(0x12345678), d.sendSegment(0x92345678))
}

func (d *Dialogue) sendSegment(seq uint32) error {
	from, to := addrOf(d.Client.LocalAddr()), addrOf(d.Client.RemoteAddr())
	segment := make([]byte, 20, 26)
	bin.BigEndian.PutUint16(segment, from.Port())
	bin.BigEndian.PutUint16(segment[2:], to.Port())
	bin.BigEndian.PutUint32(segment[4:], seq)
	bin.BigEndian.PutUint32(segment[8:], 0x87654321)
	segment[12], segment[13], segment[14] = 5<<4, 0x18, 0xff // PSH and ACK
	segment = append(segment, "NOOP\r\n"...)
	bin.BigEndian.PutUint16(segment[16:], checksum4(from.Addr(), to.Addr(), segment))
	return d.from.Enter(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, segment, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
	})
}

// checksum4 is the TCP checksum, RFC 9293 section 3.1.
func checksum4(src, dst netip.Addr, segment []byte) uint16 {
	sum := uint32(unix.IPPROTO_TCP + len(segment))
	for _, b := range [][]byte{src.AsSlice(), dst.AsSlice(), segment} {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(bin.BigEndian.Uint16(b[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
