// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// renumberable is an IPv4 segment with the given TCP options.
func renumberable(flags uint8, options, payload []byte) []byte {
	h := make([]byte, ipv4HeaderLen+tcpHeaderLen, 128)
	h[0], h[8], h[9] = 0x45, 64, 6
	copy(h[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	tcp := h[ipv4HeaderLen:]
	binary.BigEndian.PutUint16(tcp, 40000)
	binary.BigEndian.PutUint16(tcp[2:], 21)
	binary.BigEndian.PutUint32(tcp[4:], 1000)
	binary.BigEndian.PutUint32(tcp[8:], 5000)
	tcp[12], tcp[13] = uint8((tcpHeaderLen+len(options))/4<<4), flags
	h = append(append(h, options...), payload...)
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)))
	return h
}

func TestRenumber(t *testing.T) {
	sack := []byte{1, 1, 5, 18,
		0, 0, 0x20, 0, 0, 0, 0x20, 10,
		0, 0, 0x30, 0, 0, 0, 0x30, 10}
	tests := []struct {
		name    string
		flags   uint8
		options []byte
		ack     uint32
		edges   []uint32
	}{
		{"plain", FlagACK, nil, 4997, nil},
		{"SACK", FlagACK, sack, 4997, []uint32{0x2000 - 3, 0x200a - 3, 0x3000 - 3, 0x300a - 3}},
		{"no acknowledgement", FlagRST, nil, 5000, nil},
		{"timestamps before SACK", FlagACK, append([]byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, sack...), 4997,
			[]uint32{0x2000 - 3, 0x200a - 3, 0x3000 - 3, 0x300a - 3}},
		{"broken option length", FlagACK, []byte{5, 1, 0, 0}, 4997, nil},
		{"option longer than the header", FlagACK, []byte{5, 40, 0, 0}, 4997, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p, q Packet
			if err := ParsePacket(&p, renumberable(tt.flags, tt.options, []byte("NOOP\r\n"))); err != nil {
				t.Fatal(err)
			}
			Renumber(&p, 1007, func(a uint32) uint32 { return a - 3 })
			b, err := AppendSpliced(nil, &p, p.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if err := ParsePacket(&q, b); err != nil {
				t.Fatal(err)
			}
			if q.Seq != 1007 || q.Ack != tt.ack {
				t.Errorf("seq %d ack %d, want 1007 and %d", q.Seq, q.Ack, tt.ack)
			}
			edges := sackEdges(b[q.tcp+tcpHeaderLen : q.payload])
			for i, want := range tt.edges {
				if got := binary.BigEndian.Uint32(edges[4*i:]); got != want {
					t.Errorf("edge %d is %d, want %d", i, got, want)
				}
			}
			seg := b[q.tcp:]
			if s := sum(6+uint64(len(seg)), b[12:20]); fold(sum(s, seg)) != 0xffff {
				t.Error("the checksum is wrong")
			}
		})
	}
}

func TestClearFINAndSetUrgent(t *testing.T) {
	var p, q Packet
	if err := ParsePacket(&p, renumberable(FlagACK|FlagFIN|FlagURG, nil, []byte("QUIT\r\n"))); err != nil {
		t.Fatal(err)
	}
	ClearFIN(&p)
	SetUrgent(&p, 3)
	b, err := AppendSpliced(nil, &p, []byte("QU"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ParsePacket(&q, b); err != nil {
		t.Fatal(err)
	}
	if q.Flags != FlagACK|FlagURG || q.Urgent != 3 || p.Flags != q.Flags || p.Urgent != q.Urgent {
		t.Errorf("flags %#x urgent %d, want %#x and 3", q.Flags, q.Urgent, FlagACK|FlagURG)
	}
	if seg := b[q.tcp:]; fold(sum(sum(6+uint64(len(seg)), b[12:20]), seg)) != 0xffff {
		t.Error("the checksum is wrong")
	}
}

// FuzzRenumber makes all changes that the worker makes, in a packet with
// arbitrary options, and compares the result with an independent implementation:
// nothing else may differ.
func FuzzRenumber(f *testing.F) {
	sack := []byte{1, 1, 5, 10, 0, 0, 0x20, 0, 0, 0, 0x20, 10}
	for _, options := range [][]byte{nil, sack, append([]byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, sack...),
		{5, 1, 0, 0}, {5, 40, 0, 0}, {0, 5, 10, 0}, {2, 4, 5, 0x14, 5, 2, 5, 2}, {5, 5, 1, 2, 3, 1, 1, 1}} {
		f.Add(uint8(FlagACK|FlagFIN|FlagURG), options, []byte("PORT 10,0,0,2,200,10\r\n"), []byte("x"), uint32(7), uint32(3), uint16(9))
	}
	f.Fuzz(func(t *testing.T, flags uint8, options, before, payload []byte, seq, shift uint32, urgent uint16) {
		options = options[:min(len(options), 40)&^3]
		if len(before) > 2000 || len(payload) > 2000 {
			return
		}
		data := renumberable(flags, options, before)
		want := bytes.Clone(data[:len(data)-len(before)])
		var p Packet
		if err := ParsePacket(&p, data); err != nil {
			return
		}
		stamps := p.Timestamps()
		Renumber(&p, seq, func(n uint32) uint32 { return n - shift })
		ClearFIN(&p)
		SetUrgent(&p, urgent)
		got, err := AppendSpliced(nil, &p, payload)
		if err != nil {
			t.Fatal(err)
		}

		tcp := want[ipv4HeaderLen:]
		binary.BigEndian.PutUint32(tcp[4:], seq)
		tcp[13] &^= FlagFIN
		binary.BigEndian.PutUint16(tcp[18:], urgent)
		if flags&FlagACK != 0 {
			for _, at := range append([]int{8}, sackEdgesNaive(tcp)...) {
				binary.BigEndian.PutUint32(tcp[at:], binary.BigEndian.Uint32(tcp[at:])-shift)
			}
		}
		want = append(want, payload...)
		binary.BigEndian.PutUint16(want[2:], uint16(len(want)))
		naiveChecksums(want, ipv4HeaderLen)
		if !bytes.Equal(got, want) {
			t.Fatalf("flags %#x, options % x\n got % x\nwant % x", flags, options, got, want)
		}
		if stamps != nil && !bytes.Equal(stamps, p.Timestamps()) {
			t.Fatalf("timestamps % x became % x", stamps, p.Timestamps())
		}
	})
}

// sackEdgesNaive returns the offsets of the edges of the first SACK option in a
// TCP header.
func sackEdgesNaive(tcp []byte) (edges []int) {
	end := int(tcp[12]>>4) * 4
	for i := tcpHeaderLen; i < end; {
		switch {
		case tcp[i] == 0:
			return nil
		case tcp[i] == 1:
			i++
			continue
		case i+1 >= end, tcp[i+1] < 2, i+int(tcp[i+1]) > end:
			return nil
		case tcp[i] == 5:
			for at := i + 2; at+4 <= i+int(tcp[i+1]); at += 4 {
				edges = append(edges, at)
			}
			return edges
		}
		i += int(tcp[i+1])
	}
	return nil
}
