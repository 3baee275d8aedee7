// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// FuzzAttributes tests the parsers of what the kernel sends, and of user data,
// which anyone may have written.
func FuzzAttributes(f *testing.F) {
	f.Add(appendString(appendUint32(nil, 7, 1), 9, "name"))
	f.Add(appendUdataString(appendUdataString(nil, 3, "other"), udataSetComment, "pasvport pasvport"))
	f.Add([]byte{3, 0, 1, 0})
	f.Add([]byte{0, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for _, v := range attrs(b) {
			total += attrHeader + len(v)
		}
		if total > len(b) {
			t.Errorf("%d bytes of attributes in %d", total, len(b))
		}
		for m := range messages(b) {
			errorOf(m.body)
		}
		udataString(b, udataSetComment)
		if e, ok := parseElement(b); ok {
			e.key.asPinhole()
			e.key.asID()
			e.data.asServer()
		}
		eachElement(b, func(*element) {})
	})
}

func TestUserData(t *testing.T) {
	b := appendUdataString(nil, 3, "other")
	b = appendUdataString(b, udataSetComment, "pasvport x")
	if got, ok := udataString(b, udataSetComment); !ok || got != "pasvport x" {
		t.Errorf("comment %q, %v", got, ok)
	}
	if got, ok := udataString(b, 4); ok {
		t.Errorf("comment of a missing type: %q", got)
	}
	for cut := range b {
		if got, ok := udataString(b[:cut], udataSetComment); ok {
			t.Errorf("cut to %d bytes: %q", cut, got)
		}
	}
}

func TestKeyRoundTrip(t *testing.T) {
	for i := range 2 {
		p := testPinhole(i)
		key := pinholeKey(p.Source, p.Dest)
		if want := 2*len(p.Source.AsSlice()) + 4; len(key.bytes()) != want {
			t.Errorf("key of %d bytes, want %d", len(key.bytes()), want)
		}
		src, dst, ok := key.asPinhole()
		if !ok || src != p.Source || dst != p.Dest {
			t.Errorf("asPinhole = %v, %v, %v; want %v, %v", src, dst, ok, p.Source, p.Dest)
		}
	}
}

// Recorded from nft 1.0.6: add element inet t s { 192.0.2.1 . 198.51.100.1 . 50000 timeout 20s }
func TestElementEncoding(t *testing.T) {
	key := pinholeKey(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddrPort("198.51.100.1:50000"))
	header := func(length, typ uint16) []byte { // of an attribute: host order
		return binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, length), typ)
	}
	want := slices.Concat(
		header(0x24, 0x8001),                                  // element
		header(0x0c, 4), []byte{0, 0, 0, 0, 0, 0, 0x4e, 0x20}, // timeout
		header(0x14, 0x8001), header(0x10, 1), // key
		[]byte{192, 0, 2, 1, 198, 51, 100, 1, 0xc3, 0x50, 0, 0})
	if got := appendElement(nil, &element{key: key, timeout: 20 * time.Second}); !bytes.Equal(got, want) {
		t.Errorf("element\n% x, want\n% x", got, want)
	}
}
