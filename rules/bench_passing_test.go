// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/integration/stage"
)

// A passage is a firewall that packets pass which are not FTP. Its server drops
// all.
type passage struct {
	name, base string
	proto      byte
	ours       bool // with our table
	busy       bool // among many rules, which see new connections, and many connections
	c          Config
	way        Way // of the packet, which then has payload and belongs to a data connection

	net    topology
	fd     int // of the client's socket
	packet []byte
}

// What a busy firewall has besides FTP.
const (
	busyRules       = 2000
	busyConnections = 50_000
)

// passages are the measured firewalls. The first of each kind lacks our table.
func passages() []*passage {
	all := Config{Claim: true, Stale: true}
	block, oneWay := all, all
	block.Block, oneWay.OneWay = true, true
	return []*passage{
		{name: "tcp", proto: unix.IPPROTO_TCP},
		{name: "tcp-with", base: "tcp", proto: unix.IPPROTO_TCP, ours: true},
		{name: "tcp-all", base: "tcp", proto: unix.IPPROTO_TCP, ours: true, c: all},
		{name: "tcp-login-failures", base: "tcp", proto: unix.IPPROTO_TCP, ours: true, c: block},
		{name: "tcp-data-direction", base: "tcp", proto: unix.IPPROTO_TCP, ours: true, c: oneWay},
		{name: "data", proto: unix.IPPROTO_TCP, way: WayOriginal},
		{name: "data-all", base: "data", proto: unix.IPPROTO_TCP, ours: true, c: all, way: WayOriginal},
		{name: "data-direction", base: "data", proto: unix.IPPROTO_TCP, ours: true, c: oneWay, way: WayOriginal},
		{name: "udp", proto: unix.IPPROTO_UDP},
		{name: "udp-all", base: "udp", proto: unix.IPPROTO_UDP, ours: true, c: all},
		{name: "busy", proto: unix.IPPROTO_TCP, busy: true},
		{name: "busy-all", base: "busy", proto: unix.IPPROTO_TCP, busy: true, ours: true, c: all},
	}
}

// BenchmarkKernelPassing measures a packet that is not FTP on its way from one
// interface of the firewall to another, with conntrack, with our table and
// without. This includes the sender's system call and the way to a server that
// drops everything. See also TestPassing (scripts/bench passing).
func BenchmarkKernelPassing(b *testing.B) {
	for _, p := range passages() {
		b.Run(p.name, func(b *testing.B) {
			p.open(b)
			for b.Loop() {
				p.send(b)
			}
		})
	}
}

func (p *passage) open(t testing.TB) {
	n := newTopology(t)
	p.net = n
	n.router.Run(t, "sh", "-c", "echo 1 > /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")
	n.server.Load(t, "table ip none {\nchain nothing {\ntype filter hook prerouting priority -350; policy drop;\n}\n}")
	if p.busy {
		p.fill(t)
	}
	var f *Firewall
	if p.ours {
		p.c.Queue = testQueue(t, n.router)
		f = installed(t, n.router, p.c)
	}
	size := 0
	switch {
	case p.way != WayAny:
		size = 1400
		id := dataEntry(t, n.router)
		if p.c.OneWay {
			if err := f.Directions().Direct(id, p.way); err != nil {
				t.Fatal(err)
			}
		}
	case p.proto == unix.IPPROTO_TCP:
		n.router.Run(t, "conntrack", "-I", "-p", "tcp", "-s", clientV4, "-d", serverV4, "--sport", "40000", "--dport", "9000",
			"--state", "ESTABLISHED", "-u", "SEEN_REPLY,ASSURED", "-t", "10000")
	}
	n.client.In(t, func() (err error) {
		p.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		return err
	})
	t.Cleanup(func() { unix.Close(p.fd) })
	p.packet = passing(p.proto, size)
	for range 1000 { // neighbours are known, and the caches warm
		p.send(t)
	}
}

// fill gives the firewall an administrator's ruleset and connections.
func (p *passage) fill(t testing.TB) {
	var rules, entries strings.Builder
	rules.WriteString("table inet busy {\nchain forward {\ntype filter hook forward priority filter; policy drop;\n" +
		"ct state established,related accept\n")
	for i := range busyRules - 1 {
		fmt.Fprintf(&rules, "ip saddr 100.%d.%d.0/24 tcp dport %d accept\n", 64+i>>8, i&255, 1000+i)
	}
	rules.WriteString("accept\n}\n}\n")
	p.net.router.Load(t, rules.String())
	for i := range busyConnections {
		fmt.Fprintf(&entries, "-I -p tcp -s 100.64.%d.%d -d %s --sport 30000 --dport 443 --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 3000\n",
			i>>8, i&255, serverV4)
	}
	file := filepath.Join(t.TempDir(), "entries")
	if err := os.WriteFile(file, []byte(entries.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p.net.router.Run(t, "conntrack", "--load-file", file)
	if got := strings.TrimSpace(p.net.router.Run(t, "conntrack", "-C")); got < fmt.Sprint(busyConnections) {
		t.Fatalf("%s connections", got)
	}
}

// send sends a packet.
func (p *passage) send(t testing.TB) {
	if err := unix.Sendto(p.fd, p.packet, 0, &unix.SockaddrInet4{Addr: netip.MustParseAddr(serverV4).As4()}); err != nil {
		t.Fatal(err)
	}
}

// dataEntry creates the entry of an established data connection to port 9000, and
// returns its id.
func dataEntry(b testing.TB, n stage.Namespace) uint32 {
	b.Helper()
	ends := func(port uint16, to uint16) (netip.AddrPort, netip.AddrPort) {
		return netip.AddrPortFrom(netip.MustParseAddr(clientV4), port), netip.AddrPortFrom(netip.MustParseAddr(serverV4), to)
	}
	client, server := ends(39999, 21)
	n.Run(b, "conntrack", "-I", "-p", "tcp", "-s", clientV4, "-d", serverV4, "--sport", "39999", "--dport", "21",
		"--state", "ESTABLISHED", "-u", "SEEN_REPLY,ASSURED", "-t", "10000")
	src, dst := ends(40000, 9000)
	const (
		ctaOrig, ctaReply, ctaStatus, ctaProtoinfo, ctaTimeout, ctaMaster = 1, 2, 3, 4, 7, 14
		established, seenReply, assured, confirmed                        = 3, 2, 4, 8
	)
	c, err := dial(n.FD)
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
	out := n.Run(b, "conntrack", "-L", "-o", "id", "-p", "tcp", "--dport", "9000")
	_, text, ok := strings.Cut(out, " id=")
	var id uint32
	if _, err := fmt.Sscan(text, &id); !ok || err != nil {
		b.Fatalf("no entry: %v\n%s", err, out)
	}
	return id
}

// passing is a packet of a connection to port 9000, with size bytes of payload.
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
