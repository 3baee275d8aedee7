// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkKernelPassing is a packet that is not FTP on its way from one interface of
// the firewall to another, with conntrack, with our table and without. The difference
// is what our rules cost it. The sender's system call is in it, and the way to a
// server that drops everything.
func BenchmarkKernelPassing(b *testing.B) {
	for _, bb := range []struct {
		name  string
		proto byte
		ours  bool
		c     Config
	}{
		{"tcp/without", unix.IPPROTO_TCP, false, Config{}},
		{"tcp/with", unix.IPPROTO_TCP, true, Config{}},
		{"tcp/with-all", unix.IPPROTO_TCP, true, Config{Claim: true, Stale: true}},
		{"udp/without", unix.IPPROTO_UDP, false, Config{}},
		{"udp/with-all", unix.IPPROTO_UDP, true, Config{Claim: true, Stale: true}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			n := newTopology(b)
			n.router.run(b, "sh", "-c", "echo 1 > /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")
			n.server.load(b, "table ip none {\nchain nothing {\ntype filter hook prerouting priority -350; policy drop;\n}\n}")
			if bb.ours {
				bb.c.Queue = testQueue(b, n.router)
				installed(b, n.router, bb.c)
			}
			packet := passing(bb.proto)
			if bb.proto == unix.IPPROTO_TCP {
				n.router.run(b, "conntrack", "-I", "-p", "tcp", "-s", clientV4, "-d", serverV4, "--sport", "40000", "--dport", "9000",
					"--state", "ESTABLISHED", "-u", "SEEN_REPLY,ASSURED", "-t", "10000")
			}
			n.client.do(b, func() error {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				to := &unix.SockaddrInet4{Addr: netip.MustParseAddr(serverV4).As4()}
				for range 1000 { // neighbours are known, and the caches warm
					if err := unix.Sendto(fd, packet, 0, to); err != nil {
						return err
					}
				}
				for b.Loop() {
					if err := unix.Sendto(fd, packet, 0, to); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}

// passing is a packet of a connection to port 9000.
func passing(proto byte) []byte {
	p := make([]byte, 20+20)
	p[0], p[8], p[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], netip.MustParseAddr(clientV4).AsSlice())
	copy(p[16:], netip.MustParseAddr(serverV4).AsSlice())
	h := p[20:]
	binary.BigEndian.PutUint16(h, 40000)
	binary.BigEndian.PutUint16(h[2:], 9000)
	if proto == unix.IPPROTO_UDP {
		binary.BigEndian.PutUint16(h[4:], 20)
		return p
	}
	h[12], h[13], h[14] = 5<<4, 0x10, 0xff
	sum := uint32(proto) + 20
	for _, part := range [][]byte{p[12:20], h} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(h[16:], ^uint16(sum))
	return p
}
