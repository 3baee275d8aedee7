// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestFailures(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	one, other := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")
	var f Failures
	for i, tt := range []struct {
		client netip.Prefix
		after  time.Duration
		want   bool
	}{
		{one, 0, false}, {one, 10 * time.Second, false}, {other, 10 * time.Second, false}, {one, 20 * time.Second, true},
		{one, 21 * time.Second, false}, {one, 22 * time.Second, false}, // anew
		{one, 90 * time.Second, false}, {one, 91 * time.Second, false}, {one, 92 * time.Second, true},
		{other, 92 * time.Second, false},
	} {
		if got := f.Failed(tt.client, start.Add(tt.after), 3, time.Minute); got != tt.want {
			t.Errorf("failure %d: %t, want %t", i, got, tt.want)
		}
	}
	f.Failed(other, start.Add(93*time.Second), 3, time.Minute)
	f.Forget(other)
	if f.Failed(other, start.Add(94*time.Second), 3, time.Minute) {
		t.Error("what was forgotten counts")
	}
	if !f.Failed(one, start.Add(time.Hour), 1, time.Minute) {
		t.Error("the first of one is not enough")
	}
}

// TestFailuresBounded: as many clients as there are addresses take no more memory
// than a bound, and those that fail no more make room.
func TestFailuresBounded(t *testing.T) {
	client := func(i int) netip.Prefix {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(i))
		return netip.PrefixFrom(netip.AddrFrom4(b), 32)
	}
	var f Failures
	start := time.Unix(1_000_000, 0)
	for i := range 2 * maxFailing {
		f.Failed(client(i), start, 3, time.Minute)
	}
	if len(f.of) > maxFailing {
		t.Errorf("%d clients are counted, want at most %d", len(f.of), maxFailing)
	}
	f.Failed(client(-1), start.Add(2*time.Minute), 3, time.Minute)
	if len(f.of) != 1 {
		t.Errorf("%d clients are counted a time later, want 1", len(f.of))
	}
}
