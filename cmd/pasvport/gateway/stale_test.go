// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
)

// What comes of a packet that begins an entry in the middle, and comes again.
func TestRepeated(t *testing.T) {
	type again struct {
		after     time.Duration
		seq       uint32
		confirmed bool
		want      string
	}
	const rto = 200 * time.Millisecond
	for _, tt := range []struct {
		name    string
		packets []again
	}{
		{"once", []again{{0, 1, false, ""}}},
		{"dropped by the ruleset", []again{{0, 1, false, ""}, {rto, 1, false, causeRefused}}},
		{"sent together", []again{{0, 1, false, ""}, {time.Millisecond, 7, false, ""}, {time.Millisecond, 7, false, ""}}},
		{"lost on the way", []again{{0, 1, false, ""}, {rto, 1, true, ""}, {2 * rto, 1, true, ""}}},
		{"nobody there", []again{{0, 1, false, ""}, {rto, 1, true, ""}, {2 * rto, 1, true, ""}, {4 * rto, 1, true, ""}, {8 * rto, 1, true, causeUnanswered}}},
		{"goes on", []again{{0, 1, false, ""}, {rto, 7, false, ""}, {rto, 13, false, ""}}},
		{"long ago", []again{{0, 1, false, ""}, {2 * sightingTime, 1, false, ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &worker{sightings: map[expect.Tuple]*sighting{}, now: time.Unix(1000, 0)}
			for i, p := range tt.packets {
				w.now = w.now.Add(p.after)
				if got := w.repeated(tuple("192.0.2.1:21", "192.0.2.2:4000"), p.seq, p.confirmed); got != p.want {
					t.Errorf("packet %d: %q, want %q", i, got, p.want)
				}
			}
		})
	}
}

// The memory of packets that anybody can send is bounded.
func TestSightingsAreBounded(t *testing.T) {
	w := &worker{sightings: map[expect.Tuple]*sighting{}, now: time.Unix(1000, 0)}
	src := tuple("192.0.2.1:21", "192.0.2.2:4000").Src
	for i := range 3 * maxSightings {
		dst := tuple("192.0.2.1:21", "192.0.2.2:4000").Dst.Addr()
		for range i / 60000 {
			dst = dst.Next()
		}
		w.repeated(expect.Tuple{Src: src, Dst: netip.AddrPortFrom(dst, uint16(i%60000))}, 1, false)
		if len(w.sightings) > maxSightings {
			t.Fatalf("%d packets are remembered", len(w.sightings))
		}
	}
}
