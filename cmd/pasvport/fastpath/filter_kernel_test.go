// SPDX-License-Identifier: Apache-2.0

package fastpath

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/ftpalg"
)

func load(t testing.TB) *Table {
	t.Helper()
	table, err := Load(true)
	if err != nil {
		t.Skipf("eBPF programs cannot be loaded here: %v", err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

func ends(client, server string) [2]Ends {
	c, s := netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)
	return [2]Ends{{c, s}, {s, c}}
}

var ends4 = ends("192.0.2.1:40000", "198.51.100.1:21")

// packet is a packet for the filter.
type packet struct {
	ends       Ends
	seq, ack   uint32
	flags      uint8
	ipOptions  int  // bytes, IPv4 only
	tcpOptions int  // bytes
	extension  bool // an IPv6 extension header
	payload    []byte
}

// frame is the packet in the form for BPF_PROG_TEST_RUN, with a link-layer
// header.
func (p *packet) frame() []byte {
	tcp := binary.BigEndian.AppendUint16(nil, p.ends.Src.Port())
	tcp = binary.BigEndian.AppendUint16(tcp, p.ends.Dst.Port())
	tcp = binary.BigEndian.AppendUint32(tcp, p.seq)
	tcp = binary.BigEndian.AppendUint32(tcp, p.ack)
	tcp = append(tcp, uint8((20+p.tcpOptions)/4<<4), p.flags, 0, 0, 0, 0, 0, 0)
	tcp = append(append(tcp, bytes.Repeat([]byte{1}, p.tcpOptions)...), p.payload...)
	b := make([]byte, 12)
	if p.ends.Src.Addr().Is4() {
		b = append(b, 0x08, 0x00, uint8(0x45+p.ipOptions/4), 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+p.ipOptions+len(tcp)))
		b = append(b, 0, 0, 0x40, 0, 64, unix.IPPROTO_TCP, 0, 0)
		b = append(append(b, p.ends.Src.Addr().AsSlice()...), p.ends.Dst.Addr().AsSlice()...)
		return append(append(b, bytes.Repeat([]byte{1}, p.ipOptions)...), tcp...)
	}
	next := uint8(unix.IPPROTO_TCP)
	if p.extension {
		next, tcp = unix.IPPROTO_DSTOPTS, append([]byte{unix.IPPROTO_TCP, 0, 1, 4, 0, 0, 0, 0}, tcp...)
	}
	b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(tcp)))
	b = append(append(append(b, next, 64), p.ends.Src.Addr().AsSlice()...), p.ends.Dst.Addr().AsSlice()...)
	return append(b, tcp...)
}

// passes runs the program of the rule on a packet.
func passes(t testing.TB, table *Table, p *packet) bool {
	t.Helper()
	got, _, err := table.entrance.Test(p.frame())
	if err != nil {
		t.Fatal(err)
	}
	return got != 0
}

// subject is a connection and its expected state.
type subject struct {
	ends  [2]Ends
	conn  Conn
	want  ftpalg.Unread
	armed bool
}

// randomLine makes lines that may pass and lines that may not, in many shapes.
func randomLine(r *rand.Rand, d ftpalg.Direction, phase ftpalg.Phase) []byte {
	var b []byte
	if (d == ftpalg.Original) != (r.IntN(12) == 0) {
		words := []string{"PORT", "EPRT", "PASV", "EPSV", "LPSV", "SPSV", "USER", "PASS", "AUTH", "QUIT", "ABOR", "STAT", "XYZW", "TYPES", "RET", "CW", ""}
		for v := range ftpalg.UnreadCommands() {
			words = append(words, string(bytes.TrimRight(v[:], "\x00")))
		}
		b = append(b, words[r.IntN(len(words))]...)
		if r.IntN(4) == 0 {
			b = bytes.ToLower(b)
		}
	} else {
		codes := append([]int{100 + r.IntN(550), 227, 229, 421, 425, 530}, ftpalg.UnreadBegins...)
		if phase != ftpalg.PhaseTransfer || r.IntN(2) == 0 {
			codes = append(codes, ftpalg.UnreadEnds...)
		}
		b = fmt.Appendf(b, "%d", codes[r.IntN(len(codes))])
	}
	if r.IntN(4) > 0 {
		b = append(b, " -\t\r\x00"[min(r.IntN(30), 4)*r.IntN(2)])
		b = append(b, bytes.Repeat([]byte("x"), []int{0, 1, 2, 3, r.IntN(20), r.IntN(60), 499 + r.IntN(20)}[r.IntN(7)])...)
	}
	b = append(b, []string{"\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", ""}[r.IntN(11)]...)
	if len(b) > 0 && r.IntN(6) == 0 {
		b[r.IntN(len(b))] = "\n\x00\xff\r\x0b\x01\xfe\x8a\x80 "[r.IntN(10)]
	}
	return b
}

// TestFilterIsUnread: the filter decides like ftpalg.Unread.Pass, and keeps the
// same state, on any dialogue; and what is not an ordinary segment never passes.
func TestFilterIsUnread(t *testing.T) {
	table := load(t)
	r := rand.New(rand.NewPCG(1, 2))
	all := []*subject{{ends: ends4}, {ends: ends("192.0.2.1:40001", "198.51.100.1:21")},
		{ends: ends("[2001:db8::1]:40000", "[2001:db8::2]:21")}, {ends: ends("[c000:201:c633:6401::]:40000", "[ff02::1]:21")}}
	n, passed := 200000, 0
	for range n {
		s := all[r.IntN(len(all))]
		if !s.armed && r.IntN(2) == 0 {
			var got ftpalg.Unread
			if ok := s.conn.Stop(&got); ok != (s.want.Lines != [2]uint32{}) {
				t.Fatalf("something passed: %v, want %v", ok, s.want)
			} else if ok && got != s.want {
				t.Fatal(cmp.Diff(s.want, got))
			}
			s.want = ftpalg.Unread{Next: [2]uint32{r.Uint32(), -uint32(r.IntN(100))}, Phase: ftpalg.Phase(r.IntN(7))}
			if r.IntN(2) == 0 {
				s.want.Phase = ftpalg.PhaseIdle
			}
			if err := s.conn.Arm(table, s.ends, &s.want, time.Now()); err != nil {
				t.Fatal(err)
			}
			s.armed = true
		}
		d := ftpalg.Direction(r.IntN(2))
		if r.IntN(3) > 0 && s.want.Phase != ftpalg.PhaseIdle {
			d = ftpalg.Reply
		}
		p := packet{ends: s.ends[d], seq: s.want.Next[d], ack: r.Uint32(), flags: flagACK | flagPSH*uint8(r.IntN(2)),
			tcpOptions: 4 * r.IntN(11), payload: randomLine(r, d, s.want.Phase)}
		odd := false // its lines may not pass, whatever they are
		switch r.IntN(40) {
		case 0:
			p.seq += uint32(1 + r.IntN(3))
		case 1:
			p.seq -= uint32(1 + r.IntN(3))
		case 2:
			p.flags ^= 1 << r.IntN(8)
			odd = p.flags&^flagPSH != flagACK
		case 3:
			p.ipOptions = 4 * r.IntN(11)
		case 4:
			p.extension = p.ends.Src.Addr().Is6()
		}
		want := false
		if s.armed && len(p.payload) > 0 && !p.extension {
			want = !odd && s.want.Pass(d, p.seq, p.ack, p.payload)
			s.armed = want
		}
		if got := passes(t, table, &p); got != want {
			t.Fatalf("passes: %v, want %v: %v %q of %+v in %+v", got, want, d, p.payload, p, s.want)
		}
		if want {
			passed++
		}
	}
	t.Logf("%d of %d packets passed", passed, n)
	if passed < n/50 || table.Lines() != uint64(passed) {
		t.Errorf("%d passed, %d were counted", passed, table.Lines())
	}
}
