// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"maps"
	"testing"

	"github.com/pasvport/pasvport/integration/stage"
)

// wantWays fails a test if the kernel has other ways of data connections.
func (f *Firewall) wantWays(t *testing.T, when string, want map[uint32]Way) {
	t.Helper()
	got, err := f.Directions().All()
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%s: %v, %v, want %v", when, got, err, want)
	}
}

// TestDirections: a connection is in the set of one way, is put back with our
// table, and is known to the next run.
func TestDirections(t *testing.T) {
	n := stage.New(t)
	c := Config{OneWay: true, Queue: testQueue(t, n)}
	f := installed(t, n, c)
	d := f.Directions()
	set := func(id uint32, w Way) {
		t.Helper()
		if err := d.Direct(id, w); err != nil {
			t.Fatalf("%d to %d: %v", id, w, err)
		}
	}
	set(7, WayReply)
	set(8, WayOriginal)
	f.wantWays(t, "two", map[uint32]Way{7: WayReply, 8: WayOriginal})
	set(7, WayOriginal)
	f.wantWays(t, "the other way", map[uint32]Way{7: WayOriginal, 8: WayOriginal})
	set(9, WayUndecided) // the kernel adds it with the first packet, which did not exist
	f.wantWays(t, "undecided", map[uint32]Way{7: WayOriginal, 8: WayOriginal})
	set(8, WayAny)
	set(4711, WayAny)
	f.wantWays(t, "one forgotten", map[uint32]Way{7: WayOriginal})

	for what, command := range map[string][]string{"a set": {"flush", "set", "inet", "pasvport", "way_original"}, "the ruleset": {"flush", "ruleset"}} {
		n.Run(t, append([]string{"nft"}, command...)...)
		if h, err := f.Heal(); err != nil || len(h.Missing) == 0 {
			t.Fatalf("%s flushed: %+v, %v", what, h, err)
		}
		f.wantWays(t, what+" flushed", map[uint32]Way{7: WayOriginal, 9: WayUndecided})
	}
	next := installed(t, n, c)
	next.wantWays(t, "the next run", map[uint32]Way{7: WayOriginal, 9: WayUndecided})
	n.Run(t, "nft", "add", "element", "inet", "pasvport", setEnded, "{ 7 }")
	if ended, err := next.Directions().Ended(); err != nil || len(ended) != 1 || ended[0] != 7 {
		t.Errorf("ended: %v, %v", ended, err)
	}
	if err := next.Directions().Direct(7, WayAny); err != nil {
		t.Fatal(err)
	}
	next.wantWays(t, "the end", map[uint32]Way{9: WayUndecided})

	// Without the sets the kernel is asked for nothing.
	none := installed(t, stage.New(t), Config{Queue: c.Queue})
	if err := none.Directions().Direct(7, WayReply); err != nil {
		t.Error(err)
	}
	none.wantWays(t, "without", map[uint32]Way{})
}

// TestPinholeWays: a pinhole is in the sets of one way at a time, and closed in
// all.
func TestPinholeWays(t *testing.T) {
	n := stage.New(t)
	f := installed(t, n, Config{OneWay: true, Claim: true, Queue: testQueue(t, n)})
	for i := range 2 {
		p := testPinhole(i)
		p.First.Src, p.First.Dst = p.Source, p.Dest
		for _, w := range []Way{WayUndecided, WayReply, WayOriginal} {
			p.Way = w
			if err := f.OpenPinhole(p); err != nil {
				t.Fatal(err)
			}
			var ways []Way
			claims := 0
			es, err := f.Elements()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range es {
				if e.Way == WayAny {
					claims++
				} else {
					ways = append(ways, e.Way)
				}
			}
			if len(ways) != 1 || ways[0] != w || claims != 1 {
				t.Errorf("opened with %d: ways %v, %d claims", w, ways, claims)
			}
		}
		p.Way = WayUndecided // the way that it was first opened with
		if err := f.ClosePinhole(p); err != nil {
			t.Fatal(err)
		}
		if got := elements(t, f); got != nil {
			t.Errorf("closed, and still there: %q", got)
		}
	}
}
