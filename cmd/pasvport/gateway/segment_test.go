// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

func tuple(src, dst string) expect.Tuple {
	return expect.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}

// A segment that was appended is what it was meant to be when it is parsed, and
// its checksum is that of the package that makes checksums.
func TestAppendSegment(t *testing.T) {
	for _, tt := range []struct {
		name  string
		tuple expect.Tuple
		end   wireEnd
		flags uint8
	}{
		{"IPv4", tuple("192.0.2.1:40000", "203.0.113.2:21"), wireEnd{next: 1, ack: 0xfffffff0, window: 512}, nfq.FlagACK},
		{"IPv6", tuple("[2001:db8::1]:21", "[2001:db8::2]:50000"), wireEnd{next: 7, ack: 8, window: 1}, nfq.FlagRST | nfq.FlagACK},
		{"stamped", tuple("192.0.2.1:40001", "203.0.113.2:21"),
			wireEnd{next: 5, ack: 6, stamped: true, stamp: [10]byte{8, 10, 1, 2, 3, 4, 5, 6, 7, 8}}, nfq.FlagACK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := appendSegment(nil, tt.tuple, &tt.end, tt.end.next-1, tt.flags)
			var p nfq.Packet
			if err := nfq.ParsePacket(&p, b); err != nil {
				t.Fatal(err)
			}
			if p.Src != tt.tuple.Src || p.Dst != tt.tuple.Dst || p.Seq != tt.end.next-1 || p.Ack != tt.end.ack ||
				p.Window != tt.end.window || p.Flags != tt.flags || len(p.Payload) != 0 {
				t.Errorf("parsed as %+v", p)
			}
			var stamp [10]byte
			if findTimestamp(&stamp, p.Options()) != tt.end.stamped || stamp != tt.end.stamp {
				t.Errorf("timestamp %v, want %v", stamp, tt.end.stamp)
			}
			want, err := nfq.AppendSpliced(nil, &p, nil)
			if err != nil {
				t.Fatal(err)
			}
			if b[0]>>4 == 4 { // the kernel computes the header's own
				b[10], b[11] = want[10], want[11]
			}
			if !bytes.Equal(b, want) {
				t.Errorf("segment %x, with other checksums %x", b, want)
			}
		})
	}
}

// heard lets a session hear of a segment.
func heard(s *session, d ftpalg.Direction, seq, ack uint32, payload string, now time.Time) {
	s.heed(d, parsed(seq, ack, payload), now)
}

func parsed(seq, ack uint32, payload string) *nfq.Packet {
	b := appendSegment(nil, tuple("192.0.2.1:1", "192.0.2.2:2"), &wireEnd{ack: ack}, seq, nfq.FlagACK)
	b = append(b, payload...)
	b[3] += uint8(len(payload))
	var p nfq.Packet
	if err := nfq.ParsePacket(&p, b); err != nil {
		panic(err) // made here
	}
	return &p
}

// What the ends have said gives the numbers of both, in any order and over the
// wrap of sequence numbers.
func TestWireNumbers(t *testing.T) {
	start := time.Unix(1000, 0)
	const original, reply = ftpalg.Original, ftpalg.Reply
	for _, tt := range []struct {
		name     string
		adjusted bool
		said     func(s *session)
		ok       bool
		want     [2][2]uint32 // next and ack of each end
	}{
		{name: "nothing", said: func(*session) {}},
		{name: "dialogue", ok: true, want: [2][2]uint32{{106, 214}, {214, 106}}, said: func(s *session) {
			heard(s, original, 100, 200, "NOOP\r\n", start)
			heard(s, reply, 200, 106, "200 noop here\n", start)
			heard(s, original, 106, 214, "", start)
		}},
		{name: "late copy", ok: true, want: [2][2]uint32{{106, 214}, {214, 106}}, said: func(s *session) {
			heard(s, original, 106, 214, "", start)
			heard(s, reply, 200, 106, "200 noop here\n", start)
			heard(s, original, 100, 200, "NOOP\r\n", start)
		}},
		{name: "one end heard", ok: true, want: [2][2]uint32{{106, 214}, {214, 106}}, said: func(s *session) {
			heard(s, original, 106, 214, "", start)
		}},
		{name: "one end heard, adjusted", adjusted: true, said: func(s *session) {
			heard(s, original, 106, 214, "", start)
		}},
		{name: "unread data", ok: true, want: [2][2]uint32{{150, 260}, {260, 150}}, said: func(s *session) {
			heard(s, reply, 200, 150, "", start)
			heard(s, original, 100, 260, "", start)
		}},
		{name: "adjusted", adjusted: true, ok: true, want: [2][2]uint32{{106, 214}, {204, 116}}, said: func(s *session) {
			heard(s, original, 106, 214, "", start)
			heard(s, reply, 204, 116, "", start)
		}},
		{name: "wrap", ok: true, want: [2][2]uint32{{2, 9}, {9, 2}}, said: func(s *session) {
			heard(s, original, 0xfffffffc, 9, "NOOP\r\n", start)
			heard(s, reply, 9, 2, "", start)
		}},
		{name: "probe", ok: true, want: [2][2]uint32{{106, 9}, {9, 106}}, said: func(s *session) {
			heard(s, original, 106, 9, "", start)
			heard(s, original, 105, 9, "", start)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &session{state: expect.TCPStateEstablished}
			s.adjusted.Store(tt.adjusted)
			tt.said(s)
			ends, _, ok := s.ends()
			got := [2][2]uint32{{ends[0].next, ends[0].ack}, {ends[1].next, ends[1].ack}}
			if ok != tt.ok || ok && got != tt.want {
				t.Errorf("numbers %v, %t; want %v, %t", got, ok, tt.want, tt.ok)
			}
		})
	}
}

// A probe is no sign of life, and an answer that says nothing new is no use of
// the session.
func TestWireTimes(t *testing.T) {
	s, now := &session{state: expect.TCPStateEstablished}, time.Unix(1000, 0)
	heard(s, ftpalg.Original, 100, 200, "NOOP\r\n", now)
	heard(s, ftpalg.Original, 105, 200, "", now.Add(time.Second)) // a probe: one below the next
	if e := s.wire.end[ftpalg.Original]; e.heard != now {
		t.Errorf("a probe counts: heard at %v", e.heard)
	}
	heard(s, ftpalg.Original, 106, 200, "", now.Add(2*time.Second)) // an answer
	if e := s.wire.end[ftpalg.Original]; e.heard != now.Add(2*time.Second) || s.wire.spoke != now {
		t.Errorf("an answer: heard at %v, spoke at %v", e.heard, s.wire.spoke)
	}
}
