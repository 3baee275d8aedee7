// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// segment describes a TCP segment for the tests to build. Lengths and checksums
// are correct unless a test breaks them afterwards.
type segment struct {
	src, dst   string // address:port
	ipOptions  []byte // IPv4 options or IPv6 extension headers
	next       uint8  // IPv6: type of the first extension header
	tcpOptions []byte
	flags      uint8
	urgent     uint16
	payload    string
}

// packet builds s by hand, without any code of the package.
func (s segment) packet() []byte {
	src, dst := netip.MustParseAddrPort(s.src), netip.MustParseAddrPort(s.dst)
	tcp := make([]byte, 20, 20+len(s.tcpOptions)+len(s.payload))
	binary.BigEndian.PutUint16(tcp[0:], src.Port())
	binary.BigEndian.PutUint16(tcp[2:], dst.Port())
	binary.BigEndian.PutUint32(tcp[4:], 0x01020304)
	binary.BigEndian.PutUint32(tcp[8:], 0x0a0b0c0d)
	tcp[12] = byte(20+len(s.tcpOptions)) / 4 << 4
	tcp[13] = s.flags
	binary.BigEndian.PutUint16(tcp[14:], 501)
	binary.BigEndian.PutUint16(tcp[18:], s.urgent)
	tcp = append(append(tcp, s.tcpOptions...), s.payload...)
	var ip []byte
	if src.Addr().Is4() {
		ip = make([]byte, 20)
		ip[0] = 0x40 | byte(20+len(s.ipOptions))/4
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(s.ipOptions)+len(tcp)))
		copy(ip[4:], []byte{0x12, 0x34, 0x40, 0, 64, 6})
	} else {
		ip = make([]byte, 8)
		ip[0], ip[6], ip[7] = 0x60, 6, 64
		if s.ipOptions != nil {
			ip[6] = s.next
		}
		binary.BigEndian.PutUint16(ip[4:], uint16(len(s.ipOptions)+len(tcp)))
	}
	ip = append(append(ip, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
	if src.Addr().Is4() {
		ip = append(ip[:12], ip[20:]...) // the template already had room for them
	}
	ip = append(ip, s.ipOptions...)
	b := append(ip, tcp...)
	naiveChecksums(b, len(ip))
	return b
}

// naiveChecksums writes the checksums of b, whose TCP header is at off, adding
// one 16-bit word after the other as in RFC 1071.
func naiveChecksums(b []byte, off int) {
	put := func(at int, s uint32) {
		for s > 0xffff {
			s = s>>16 + s&0xffff
		}
		binary.BigEndian.PutUint16(b[at:], ^uint16(s))
	}
	addrs := b[8:40]
	if b[0]>>4 == 4 {
		addrs = b[12:20]
		b[10], b[11] = 0, 0
		put(10, naiveSum(b[:off]))
	}
	b[off+16], b[off+17] = 0, 0
	put(off+16, naiveSum(addrs)+6+uint32(len(b)-off)+naiveSum(b[off:]))
}

func naiveSum(b []byte) (s uint32) {
	for i, v := range b {
		if i%2 == 0 {
			s += uint32(v) << 8
		} else {
			s += uint32(v)
		}
	}
	return s
}

var (
	timestamps = []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}

	control4 = segment{src: "192.0.2.7:40123", dst: "198.51.100.1:21", tcpOptions: timestamps,
		flags: FlagPSH | FlagACK, payload: "PORT 192,0,2,7,200,11\r\n"}
	control6 = segment{src: "[2001:db8::7]:40123", dst: "[2001:db8:1::1]:21", tcpOptions: timestamps,
		flags: FlagPSH | FlagACK, payload: "EPRT |2|2001:db8::7|51211|\r\n"}
)

// with returns a copy of s that f has changed.
func (s segment) with(f func(*segment)) segment { f(&s); return s }

func TestParsePacket(t *testing.T) {
	extensions := []byte{ // hop-by-hop, routing without segments left, destination options
		43, 0, 1, 4, 0, 0, 0, 0,
		60, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		6, 0, 1, 4, 0, 0, 0, 0,
	}
	for _, tt := range []struct {
		name    string
		in      segment
		tcp, pl int
	}{
		{"ipv4", control4, 20, 52},
		{"ipv4 without payload", control4.with(func(s *segment) { s.payload = ""; s.flags = FlagSYN }), 20, 52},
		{"ipv4 options", control4.with(func(s *segment) { s.ipOptions = []byte{148, 4, 0, 0, 1, 1, 1, 0} }), 28, 60},
		{"ipv4 source route followed", control4.with(func(s *segment) { s.ipOptions = []byte{131, 7, 8, 10, 0, 0, 1, 0} }), 28, 60},
		{"ipv4 option length 0", control4.with(func(s *segment) { s.ipOptions = []byte{148, 0, 0, 0} }), 24, 56},
		{"urgent", control4.with(func(s *segment) { s.flags |= FlagURG; s.urgent = 3 }), 20, 52},
		{"no tcp options", control4.with(func(s *segment) { s.tcpOptions = nil }), 20, 40},
		{"ipv6", control6, 40, 72},
		{"ipv6 extension headers", control6.with(func(s *segment) { s.ipOptions = extensions; s.next = 0 }), 72, 104},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := tt.in.packet()
			got := Packet{ID: 7, Hook: HookOutput}
			// Link-layer padding after the packet is not payload.
			if err := ParsePacket(&got, append(data[:len(data):len(data)], 0xee, 0xee)); err != nil {
				t.Fatal(err)
			}
			want := Packet{
				ID: 7, Hook: HookOutput, Data: data,
				Src: netip.MustParseAddrPort(tt.in.src), Dst: netip.MustParseAddrPort(tt.in.dst),
				Seq: 0x01020304, Ack: 0x0a0b0c0d, Flags: tt.in.flags, Window: 501, Urgent: tt.in.urgent,
				Payload: []byte(tt.in.payload), tcp: tt.tcp, payload: tt.pl,
			}
			opts := cmp.Options{cmp.AllowUnexported(Packet{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}
			if diff := cmp.Diff(want, got, opts); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParsePacketRefuses(t *testing.T) {
	edit := func(s segment, f func(b []byte) []byte) []byte { return f(s.packet()) }
	set := func(s segment, at int, v ...byte) []byte {
		return edit(s, func(b []byte) []byte { copy(b[at:], v); return b })
	}
	ext := func(next uint8, h ...byte) []byte {
		return control6.with(func(s *segment) { s.ipOptions, s.next = h, next }).packet()
	}
	for _, tt := range []struct {
		name string
		in   []byte
		want error
	}{
		{"empty", nil, errTruncated},
		{"version 5", set(control4, 0, 0x55), errNotIP},
		{"ipv4 header cut", control4.packet()[:19], errTruncated},
		{"ipv4 header length 4", set(control4, 0, 0x44), errHeaderLength},
		{"ipv4 total below header", set(control4, 2, 0, 19), errHeaderLength},
		{"ipv4 total above data", set(control4, 2, 0xff, 0xff), errTruncated},
		{"ipv4 header longer than data", set(control4.with(func(s *segment) { s.payload, s.tcpOptions = "", nil }), 0, 0x4f), errHeaderLength},
		{"ipv4 more fragments", set(control4, 6, 0x20, 0), errFragment},
		{"ipv4 fragment offset", set(control4, 6, 0, 1), errFragment},
		{"ipv4 udp", set(control4, 9, 17), errNotTCP},
		{"ipv4 loose source route", control4.with(func(s *segment) { s.ipOptions = []byte{1, 131, 7, 4, 10, 0, 0, 1} }).packet(), errSourceRoute},
		{"ipv4 strict source route", control4.with(func(s *segment) { s.ipOptions = []byte{137, 7, 4, 10, 0, 0, 1, 0} }).packet(), errSourceRoute},
		{"tcp header cut", edit(control4, func(b []byte) []byte { b[3] = 39; return b }), errTruncated},
		{"tcp header length 4", set(control4, 32, 0x40), errHeaderLength},
		{"tcp options cut", edit(control4, func(b []byte) []byte { b[3] = 51; return b }), errTruncated},
		{"ipv6 header cut", control6.packet()[:39], errTruncated},
		{"ipv6 total above data", set(control6, 4, 0xff, 0xff), errTruncated},
		{"ipv6 jumbogram", set(control6, 4, 0, 0), errTruncated},
		{"ipv6 udp", set(control6, 6, 17), errNotTCP},
		{"ipv6 no next header", set(control6, 6, 59), errNotTCP},
		{"ipv6 fragment", ext(44, 6, 0, 0, 1, 0, 0, 0, 9), errFragment},
		{"ipv6 segments left", ext(43, 6, 0, 4, 1, 0, 0, 0, 0), errSourceRoute},
		{"ipv6 extension above data", ext(0, 6, 200, 1, 4, 0, 0, 0, 0), errTruncated},
		{"ipv6 extension header cut", edit(control6, func(b []byte) []byte { b[5], b[6] = 7, 0; return b }), errTruncated},
		{"ipv6 authentication header", ext(51, 6, 0, 0, 0, 0, 0, 0, 0), errNotTCP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := ParsePacket(new(Packet), tt.in); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestParsePacketCut truncates valid packets at every length: an error, no panic.
func TestParsePacketCut(t *testing.T) {
	for _, s := range []segment{control4, control6} {
		b := s.packet()
		for n := range b {
			if err := ParsePacket(new(Packet), b[:n:n]); err == nil {
				t.Errorf("%s cut to %d bytes is accepted", s.src, n)
			}
		}
	}
}

func TestParsePacketAllocations(t *testing.T) {
	var p Packet
	for _, b := range [][]byte{control4.packet(), control6.packet()} {
		if n := testing.AllocsPerRun(100, func() { _ = ParsePacket(&p, b) }); n != 0 {
			t.Errorf("%v allocations for %x", n, b[:1])
		}
	}
}

func FuzzParsePacket(f *testing.F) {
	f.Add(control4.packet())
	f.Add(control6.packet())
	f.Add(control6.with(func(s *segment) { s.ipOptions, s.next = []byte{6, 0, 1, 4, 0, 0, 0, 0}, 60 }).packet())
	// A segment recorded from loopback, SYN with options.
	syn, _ := hex.DecodeString(strings.ReplaceAll("4500003c 1c464000 40062074 7f000001 7f000001"+
		"9c3d0015 8f0d1a2b 00000000 a002ffd7 fe300000 0204ffd7 0402080a 01020304 00000000 01030307", " ", ""))
	f.Add(syn)
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Packet
		if ParsePacket(&p, b[:len(b):len(b)]) != nil {
			return
		}
		if len(p.Data) > len(b) || p.payload != len(p.Data)-len(p.Payload) || p.tcp+20 > p.payload || p.tcp < 20 {
			t.Fatalf("offsets out of order: %+v", p)
		}
		if p.Src.Addr().Is4() != (b[0]>>4 == 4) || !p.Dst.IsValid() {
			t.Fatalf("addresses: %v %v", p.Src, p.Dst)
		}
		if p.Seq != binary.BigEndian.Uint32(b[p.tcp+4:]) || p.Src.Port() != binary.BigEndian.Uint16(b[p.tcp:]) {
			t.Fatalf("fields are not those at offset %d", p.tcp)
		}
	})
}

func BenchmarkParsePacket(b *testing.B) {
	for name, s := range map[string]segment{"ipv4": control4, "ipv6": control6} {
		data := s.packet()
		b.Run(name, func(b *testing.B) {
			var p Packet
			b.ReportAllocs()
			for b.Loop() {
				if err := ParsePacket(&p, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
