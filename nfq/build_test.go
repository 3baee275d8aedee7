// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"bytes"
	"net/netip"
	"testing"
)

// TestAppendSegment: a built segment parses to what it was built from, and has
// the checksums that splicing would give it.
func TestAppendSegment(t *testing.T) {
	options := []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}
	for _, tt := range []struct {
		name string
		in   Segment
	}{
		{"IPv4", Segment{addr("192.0.2.1:40000"), addr("203.0.113.2:21"), 1, 0xfffffff0, FlagACK, 512, nil}},
		{"IPv6", Segment{addr("[2001:db8::1]:21"), addr("[2001:db8::2]:50000"), 7, 8, FlagRST | FlagACK, 1, nil}},
		{"options", Segment{addr("192.0.2.1:40001"), addr("203.0.113.2:21"), 5, 6, FlagACK, 0, options}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := AppendSegment([]byte("before"), &tt.in)[len("before"):]
			var p Packet
			if err := ParsePacket(&p, b); err != nil {
				t.Fatal(err)
			}
			got := Segment{p.Src, p.Dst, p.Seq, p.Ack, p.Flags, p.Window, p.Options()}
			if got.Src != tt.in.Src || got.Dst != tt.in.Dst || got.Seq != tt.in.Seq || got.Ack != tt.in.Ack ||
				got.Flags != tt.in.Flags || got.Window != tt.in.Window || !bytes.Equal(got.Options, tt.in.Options) || len(p.Payload) != 0 {
				t.Errorf("parsed as %+v, want %+v", got, tt.in)
			}
			want, err := AppendSpliced(nil, &p, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, want) {
				t.Errorf("built %x, spliced %x", b, want)
			}
		})
	}
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// TestTimestamps: the option is found among others, but not after a malformed
// option or the end of the list.
func TestTimestamps(t *testing.T) {
	want := []byte{8, 10, 1, 2, 3, 4, 5, 6, 7, 8}
	for _, tt := range []struct {
		options []byte
		ok      bool
	}{
		{append([]byte{1, 1}, want...), true},
		{append([]byte{4, 2}, append(want, 1, 1)...)[:12], true},
		{[]byte{8, 8, 1, 2, 3, 4, 5, 6}, false},
		{[]byte{8, 10, 1, 2}, false},
		{append([]byte{0, 1}, want...), false},
		{[]byte{2, 0, 8, 10}, false},
		{[]byte{1, 1, 1, 8}, false},
	} {
		b := AppendSegment(nil, &Segment{Src: addr("192.0.2.1:1"), Dst: addr("192.0.2.2:2"), Options: tt.options})
		var p Packet
		if err := ParsePacket(&p, b); err != nil {
			t.Fatal(err)
		}
		if got := p.Timestamps(); (got != nil) != tt.ok || tt.ok && !bytes.Equal(got, want) {
			t.Errorf("%v: %v", tt.options, got)
		}
	}
}
