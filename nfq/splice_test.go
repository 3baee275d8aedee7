// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// checkSpliced verifies that got is p with another payload, using only the naive
// checksum.
func checkSpliced(t *testing.T, p *Packet, payload, got []byte) {
	t.Helper()
	want := append(bytes.Clone(p.Data[:p.payload]), payload...)
	if want[0]>>4 == 4 {
		want[2], want[3] = byte(len(want)>>8), byte(len(want))
	} else {
		want[4], want[5] = byte((len(want)-40)>>8), byte(len(want)-40)
	}
	naiveChecksums(want, p.tcp)
	if !bytes.Equal(want, got) {
		t.Fatalf("spliced packet\n got %x\nwant %x", got, want)
	}
	var q Packet
	if err := ParsePacket(&q, got); err != nil {
		t.Fatalf("spliced packet: %v", err)
	}
	if !bytes.Equal(q.Payload, payload) || q.Src != p.Src || q.Dst != p.Dst || q.Seq != p.Seq ||
		q.Ack != p.Ack || q.Flags != p.Flags || q.Urgent != p.Urgent {
		t.Fatalf("headers differ: got %+v, want %+v", q, *p)
	}
}

func TestAppendSpliced(t *testing.T) {
	options4 := control4.with(func(s *segment) { s.ipOptions = []byte{148, 4, 0, 0} })
	extension6 := control6.with(func(s *segment) { s.ipOptions, s.next = []byte{6, 0, 1, 4, 0, 0, 0, 0}, 0 })
	urgent := control4.with(func(s *segment) { s.flags |= FlagURG; s.urgent = 0xfffe })
	for i, s := range []segment{control4, options4, urgent, control6, extension6} {
		for _, payload := range []string{"", "x", "PORT 203,0,113,1,200,11\r\n", "227 =1,2,3,4,5,6\r\n", strings.Repeat("\xff", 1461)} {
			t.Run(fmt.Sprintf("%d/%d", i, len(payload)), func(t *testing.T) {
				data := s.packet()
				before := bytes.Clone(data)
				var p Packet
				if err := ParsePacket(&p, data); err != nil {
					t.Fatal(err)
				}
				got, err := AppendSpliced([]byte("kept"), &p, []byte(payload))
				if err != nil || !bytes.HasPrefix(got, []byte("kept")) {
					t.Fatalf("got %x, %v", got, err)
				}
				checkSpliced(t, &p, []byte(payload), got[4:])
				if !bytes.Equal(before, data) {
					t.Error("the original packet was changed")
				}
			})
		}
	}
}

// TestAppendSplicedIdentity splices a packet's own payload: nothing changes.
func TestAppendSplicedIdentity(t *testing.T) {
	for _, s := range []segment{control4, control6} {
		var p Packet
		if err := ParsePacket(&p, s.packet()); err != nil {
			t.Fatal(err)
		}
		if got, err := AppendSpliced(nil, &p, p.Payload); err != nil || !bytes.Equal(got, p.Data) {
			t.Errorf("got %x, %v\nwant %x", got, err, p.Data)
		}
	}
}

func TestAppendSplicedTooLong(t *testing.T) {
	for _, s := range []segment{control4, control6} {
		var p Packet
		if err := ParsePacket(&p, s.packet()); err != nil {
			t.Fatal(err)
		}
		room := maxPayloadAttr - p.payload
		fits, err := AppendSpliced(nil, &p, make([]byte, room))
		if err != nil {
			t.Fatalf("%d bytes: %v", room, err)
		}
		checkSpliced(t, &p, make([]byte, room), fits)
		got, err := AppendSpliced([]byte("kept"), &p, make([]byte, room+1))
		if !errors.Is(err, ErrTooLong) || string(got) != "kept" {
			t.Errorf("%d bytes: got %d bytes, %v", room+1, len(got), err)
		}
	}
}

func TestSumMatchesNaive(t *testing.T) {
	for _, fill := range []byte{0, 1, 0x80, 0xff} {
		b := bytes.Repeat([]byte{fill, ^fill, fill}, 50)
		for n := range b {
			want := naiveSum(b[:n])
			for want > 0xffff {
				want = want>>16 + want&0xffff
			}
			if got := fold(sum(0, b[:n])); got != uint16(want) {
				t.Errorf("%d bytes of %#x: %#x, want %#x", n, fill, got, want)
			}
		}
	}
	// Carries out of the 64-bit accumulator.
	if got := fold(sum(^uint64(0), bytes.Repeat([]byte{0xff}, 36))); got != 0xffff {
		t.Errorf("all ones: %#x", got)
	}
}

func TestAppendSplicedAllocations(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for _, s := range []segment{control4, control6} {
		var p Packet
		if err := ParsePacket(&p, s.packet()); err != nil {
			t.Fatal(err)
		}
		payload := bytes.Repeat([]byte("x"), 1400)
		if n := testing.AllocsPerRun(100, func() { buf, _ = AppendSpliced(buf[:0], &p, payload) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func FuzzSplice(f *testing.F) {
	f.Add(control4.packet(), []byte("227 Entering Passive Mode (203,0,113,1,4,1).\r\n"))
	f.Add(control6.packet(), []byte(""))
	f.Add(control4.with(func(s *segment) { s.ipOptions = []byte{148, 4, 0, 0} }).packet(), []byte{0xff})
	f.Fuzz(func(t *testing.T, data, payload []byte) {
		var p Packet
		if ParsePacket(&p, data) != nil {
			return
		}
		got, err := AppendSpliced(nil, &p, payload)
		if err != nil {
			if len(got) != 0 || p.payload+len(payload) < maxPayloadAttr {
				t.Fatalf("%d bytes and %v", len(got), err)
			}
			return
		}
		checkSpliced(t, &p, payload, got)
	})
}

func BenchmarkSplice(b *testing.B) {
	var p Packet
	if err := ParsePacket(&p, control4.packet()); err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{26, 1400} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			payload, buf := make([]byte, n), make([]byte, 0, 4096)
			b.SetBytes(int64(p.payload + n))
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = AppendSpliced(buf[:0], &p, payload)
			}
		})
	}
}
