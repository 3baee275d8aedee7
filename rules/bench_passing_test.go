// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
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
		way   Way // of the packet, which then has payload and is one of a data connection
	}{
		{"tcp/without", unix.IPPROTO_TCP, false, Config{}, WayAny},
		{"tcp/with", unix.IPPROTO_TCP, true, Config{}, WayAny},
		{"tcp/with-all", unix.IPPROTO_TCP, true, Config{Claim: true, Stale: true}, WayAny},
		{"tcp/login-failures", unix.IPPROTO_TCP, true, Config{Claim: true, Stale: true, Block: true}, WayAny},
		{"tcp/data-direction", unix.IPPROTO_TCP, true, Config{Claim: true, Stale: true, OneWay: true}, WayAny},
		{"data/without", unix.IPPROTO_TCP, false, Config{}, WayOriginal},
		{"data/with-all", unix.IPPROTO_TCP, true, Config{Claim: true, Stale: true}, WayOriginal},
		{"data/data-direction", unix.IPPROTO_TCP, true, Config{Claim: true, Stale: true, OneWay: true}, WayOriginal},
		{"udp/without", unix.IPPROTO_UDP, false, Config{}, WayAny},
		{"udp/with-all", unix.IPPROTO_UDP, true, Config{Claim: true, Stale: true}, WayAny},
	} {
		b.Run(bb.name, func(b *testing.B) {
			n := newTopology(b)
			n.router.run(b, "sh", "-c", "echo 1 > /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")
			n.server.load(b, "table ip none {\nchain nothing {\ntype filter hook prerouting priority -350; policy drop;\n}\n}")
			var f *Firewall
			if bb.ours {
				bb.c.Queue = testQueue(b, n.router)
				f = installed(b, n.router, bb.c)
			}
			size := 0
			if bb.way != WayAny {
				size = 1400
			}
			packet := passing(bb.proto, size)
			switch {
			case bb.way != WayAny:
				id := dataEntry(b, n.router)
				if bb.c.OneWay {
					if err := f.Directions().Direct(id, bb.way); err != nil {
						b.Fatal(err)
					}
				}
			case bb.proto == unix.IPPROTO_TCP:
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

// dataEntry makes the entry of an established data connection to port 9000, and returns
// its id.
func dataEntry(b *testing.B, n netns) uint32 {
	b.Helper()
	ends := func(port uint16, to uint16) (netip.AddrPort, netip.AddrPort) {
		return netip.AddrPortFrom(netip.MustParseAddr(clientV4), port), netip.AddrPortFrom(netip.MustParseAddr(serverV4), to)
	}
	client, server := ends(39999, 21)
	n.run(b, "conntrack", "-I", "-p", "tcp", "-s", clientV4, "-d", serverV4, "--sport", "39999", "--dport", "21",
		"--state", "ESTABLISHED", "-u", "SEEN_REPLY,ASSURED", "-t", "10000")
	src, dst := ends(40000, 9000)
	const (
		ctaOrig, ctaReply, ctaStatus, ctaProtoinfo, ctaTimeout, ctaMaster = 1, 2, 3, 4, 7, 14
		established, seenReply, assured, confirmed                        = 3, 2, 4, 8
	)
	c, err := dial(n.fd)
	if err != nil {
		b.Fatal(err)
	}
	defer c.close()
	m := batch{seq: 1}
	m.header(unix.NFNL_SUBSYS_CTNETLINK<<8, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, unix.AF_INET, 0)
	m.buf = appendTuple(m.buf, ctaOrig, src, dst)
	m.buf = appendTuple(m.buf, ctaReply, dst, src)
	m.buf = appendTuple(m.buf, ctaMaster, client, server)
	m.buf = appendUint32(m.buf, ctaStatus, seenReply|assured|confirmed)
	var info, tcp int
	m.buf, info = openNest(m.buf, ctaProtoinfo)
	m.buf, tcp = openNest(m.buf, 1)
	m.buf = appendUint8(m.buf, 1, established)
	m.buf = closeAttr(closeAttr(m.buf, tcp), info)
	m.buf = appendUint32(m.buf, ctaTimeout, 10000)
	m.done()
	if err := c.send(m.buf); err != nil {
		b.Fatal(err)
	}
	if _, err := c.recv(); err != nil {
		b.Fatal(err)
	}
	out := n.run(b, "conntrack", "-L", "-o", "id", "-p", "tcp", "--dport", "9000")
	_, text, ok := strings.Cut(out, " id=")
	var id uint32
	if _, err := fmt.Sscan(text, &id); !ok || err != nil {
		b.Fatalf("no entry: %v\n%s", err, out)
	}
	return id
}

// passing is a packet of a connection to port 9000, with as much payload.
func passing(proto byte, size int) []byte {
	p := make([]byte, 20+20+size)
	p[0], p[8], p[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], netip.MustParseAddr(clientV4).AsSlice())
	copy(p[16:], netip.MustParseAddr(serverV4).AsSlice())
	h := p[20:]
	binary.BigEndian.PutUint16(h, 40000)
	binary.BigEndian.PutUint16(h[2:], 9000)
	if proto == unix.IPPROTO_UDP {
		binary.BigEndian.PutUint16(h[4:], uint16(20+size))
		return p
	}
	h[12], h[13], h[14] = 5<<4, 0x10, 0xff
	sum := uint32(proto) + uint32(len(h))
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
