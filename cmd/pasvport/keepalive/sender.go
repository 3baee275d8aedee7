// SPDX-License-Identifier: Apache-2.0

package keepalive

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
)

// Sender sends segments of control connections in the name of their ends. It
// belongs to one goroutine.
//
// A segment has the tuple of its direction, as if it had just come in. Conntrack
// finds its entry by that, translates it and adjusts its sequence numbers, and to
// the administrator's rules it belongs to an established connection: it takes the
// way of every other segment.
type Sender struct {
	fd4, fd6 int // raw sockets; -1 if there is none
	buf      []byte
}

// errNoRaw names the missing capability.
var errNoRaw = errors.New("missing CAP_NET_RAW: give it to the daemon (AmbientCapabilities= and CapabilityBoundingSet= in a systemd unit)")

// OpenSender opens the raw sockets, which needs CAP_NET_RAW.
func OpenSender() (*Sender, error) {
	s := &Sender{fd4: -1, fd6: -1}
	var err4, err6 error
	// IPPROTO_RAW: the header is ours, and nothing is received.
	s.fd4, err4 = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	s.fd6, err6 = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if errors.Is(err4, unix.EAFNOSUPPORT) {
		err4 = nil
	}
	if errors.Is(err6, unix.EAFNOSUPPORT) {
		err6 = nil
	}
	err := errors.Join(err4, err6)
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, unix.EPERM):
		err = errNoRaw
	default:
		err = fmt.Errorf("raw socket: %w", err)
	}
	s.Close()
	return nil, err
}

// Close closes the sockets.
func (s *Sender) Close() {
	for _, fd := range []int{s.fd4, s.fd6} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// Probe sends a keep-alive (RFC 9293 section 3.8.4) in direction t: no payload,
// and a sequence number one below the next, which makes the receiver acknowledge
// what it has. from is the end in whose name it is sent.
func (s *Sender) Probe(t expect.Tuple, from *End) error {
	return s.send(t, from, from.Next-1, nfq.FlagACK)
}

// Reset sends a reset in direction t in the name of an end. Its sequence number
// is the one that the receiver expects, so it is accepted (RFC 5961 section 3.2).
// Of an end that is not Known, only Next is used: the reset acknowledges nothing.
func (s *Sender) Reset(t expect.Tuple, from *End) error {
	if !from.Known {
		return s.send(t, from, from.Next, nfq.FlagRST)
	}
	return s.send(t, from, from.Next, nfq.FlagRST|nfq.FlagACK)
}

func (s *Sender) send(t expect.Tuple, from *End, seq uint32, flags uint8) error {
	s.buf = appendSegment(s.buf[:0], t, from, seq, flags)
	dst := t.Dst.Addr()
	if dst.Is4() {
		return unix.Sendto(s.fd4, s.buf, 0, &unix.SockaddrInet4{Addr: dst.As4()})
	}
	return unix.Sendto(s.fd6, s.buf, 0, &unix.SockaddrInet6{Addr: dst.As16()})
}

// appendSegment appends a packet with an empty segment. It carries the end's own
// last timestamp, so that the receiver does not discard it as an old one (RFC
// 7323 section 5).
func appendSegment(dst []byte, t expect.Tuple, from *End, seq uint32, flags uint8) []byte {
	var options [12]byte
	seg := nfq.Segment{Src: t.Src, Dst: t.Dst, Seq: seq, Ack: from.Ack, Flags: flags, Window: from.Window}
	if from.stamped {
		options[0], options[1] = 1, 1 // no operation, twice, for alignment
		copy(options[2:], from.stamp[:])
		seg.Options = options[:]
	}
	return nfq.AppendSegment(dst, &seg)
}
