// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// remembered are the notes of the elements that m has for s.
func remembered(m *memory, s set) (notes []string) {
	for e := range m.of(&s) {
		notes = append(notes, e.note)
	}
	slices.Sort(notes)
	return notes
}

// TestMemory: an element is remembered for its sets until it is dropped or
// expires.
func TestMemory(t *testing.T) {
	m := newMemory()
	keep := func(c content, key value, note string, d time.Duration) { m.keep(c, &element{key: key, note: note}, d) }
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	keep(keptRenumbered, idKey(1), "one", 0)
	keep(keptRenumbered, idKey(2), "two", 0)
	keep(keptRenumbered, idKey(1), "first", 0)
	keep(keptAside, idKey(1), "aside", 0)
	keep(keptBlocked, blockedKey(four), "four", time.Minute)
	keep(keptBlocked, blockedKey(six), "six", time.Minute)
	keep(keptBlocked, blockedKey(netip.MustParseAddr("192.0.2.2")), "over", -time.Second)
	check := func(s set, want ...string) {
		t.Helper()
		if d := cmp.Diff(want, remembered(m, s)); d != "" {
			t.Errorf("set %s (-want +got):\n%s", s.name, d)
		}
	}
	check(renumberedSet("pasvport"), "first", "two")
	check(asideSet("pasvport"), "aside")
	check(blockedSet("pasvport", FamilyIPv4), "four")
	check(blockedSet("pasvport", FamilyIPv6), "six")
	check(askedSet("pasvport"))
	m.drop(keptRenumbered, idKey(1))
	m.drop(keptRenumbered, idKey(7))
	check(renumberedSet("pasvport"), "two")
	check(asideSet("pasvport"), "aside")

	for e := range m.of(new(blockedSet("pasvport", FamilyIPv4))) {
		if e.timeout > time.Minute || e.timeout < time.Minute-10*time.Second {
			t.Errorf("%v of a minute remain", e.timeout)
		}
	}
	for e := range m.of(new(asideSet("pasvport"))) {
		if e.timeout != 0 {
			t.Errorf("%v remain of an element without timeout", e.timeout)
		}
	}
}

// TestMemoryForgets: expired elements are forgotten.
func TestMemoryForgets(t *testing.T) {
	m := newMemory()
	m.keep(keptRenumbered, &element{key: idKey(1)}, 0)
	for i := range 100 {
		m.keep(keptClaims, &element{key: idKey(uint32(i))}, time.Minute)
	}
	m.prune(m.pruned.Add(time.Second))
	if n := len(m.kept[keptClaims]); n != 100 {
		t.Errorf("%d of 100 remain", n)
	}
	m.prune(time.Now().Add(time.Hour))
	if n := len(m.kept[keptClaims]); n != 0 {
		t.Errorf("%d expired ones remain", n)
	}
	if !m.has(keptRenumbered, idKey(1)) {
		t.Error("an element without timeout was forgotten")
	}
}

// TestRecallElement: what an earlier run left expires when it would have, and
// does not replace what this run knows.
func TestRecallElement(t *testing.T) {
	m := newMemory()
	m.keep(keptBlocked, &element{key: idKey(1), note: "ours"}, time.Hour)
	m.recallElement(keptBlocked, &element{key: idKey(1), expires: time.Minute, note: "theirs"})
	m.recallElement(keptBlocked, &element{key: idKey(2), expires: time.Minute, note: "theirs"})
	m.recallElement(keptBlocked, &element{key: idKey(3), note: "without an end"})
	got := map[string]string{}
	for key, k := range m.kept[keptBlocked] {
		id, _ := key.asID()
		got[fmt.Sprint(id)] = fmt.Sprint(k.note, " ", time.Until(k.until).Round(time.Minute))
	}
	want := map[string]string{"1": "ours 1h0m0s", "2": "theirs 1m0s"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("remembered (-want +got):\n%s", d)
	}
}

// TestIntact: whether a set with missing elements is intact depends on its
// content.
func TestIntact(t *testing.T) {
	three := func(d time.Duration) []time.Duration { return []time.Duration{d, d, d} }
	tests := []struct {
		name string
		set  set
		kept []time.Duration // expiry of the elements 0, 1, 2
		have []uint32
		want bool
	}{
		{"all are there", renumberedSet("t"), three(0), []uint32{0, 1, 2}, true},
		{"more are there", renumberedSet("t"), three(0), []uint32{0, 1, 2, 3}, true},
		{"one is missing", renumberedSet("t"), three(0), []uint32{0, 2}, false},
		{"others are there", renumberedSet("t"), three(0), []uint32{4, 5, 6}, false},
		{"nothing is there", renumberedSet("t"), three(0), nil, false},
		{"nothing is kept", renumberedSet("t"), nil, nil, true},

		{"rules took one", asideSet("t"), three(0), []uint32{0, 2}, true},
		{"rules took all but one", asideSet("t"), three(0), []uint32{1}, true},
		{"flushed", asideSet("t"), three(0), nil, false},
		{"flushed and filled by rules", asideSet("t"), three(0), []uint32{7}, false},
		{"nothing was left alone", asideSet("t"), nil, nil, true},

		{"expired", likePinholes(), three(-time.Second), nil, true},
		{"about to expire", likePinholes(), three(time.Second / 2), nil, true},
		{"one is missing that has time", likePinholes(), []time.Duration{time.Second / 2, time.Minute, time.Second / 2}, nil, false},
		{"what has time is there", likePinholes(), []time.Duration{time.Second / 2, time.Minute, time.Second / 2}, []uint32{1}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory()
			for i, d := range tt.kept {
				m.keep(tt.set.keeps, &element{key: idKey(uint32(i))}, d)
			}
			have := map[value]element{}
			for _, id := range tt.have {
				have[idKey(id)] = element{key: idKey(id)}
			}
			if got := m.intact(&tt.set, have); got != tt.want {
				t.Errorf("intact: %v, want %v", got, tt.want)
			}
			if judged := m.judges(&tt.set); judged != (tt.kept != nil) {
				t.Errorf("judged: %v, with %d kept", judged, len(tt.kept))
			}
		})
	}
}

// likePinholes is a set of pinholes with keys as short as ids.
func likePinholes() set {
	s := idSet("t", "pinholes")
	s.keeps = keptClaims
	return s
}

// TestNotJudged: for these sets it is impossible to know whether someone removed
// an element.
func TestNotJudged(t *testing.T) {
	m := newMemory()
	m.keep(keptBlocked, &element{key: blockedKey(netip.MustParseAddr("192.0.2.1"))}, time.Hour)
	for _, s := range []set{blockedSet("t", FamilyIPv4), askedSet("t"), guardedSet("t", FamilyIPv4), seenSet("t", FamilyIPv6), checksSet("t"), renumberedSet("t")} {
		if m.judges(&s) {
			t.Errorf("set %s is judged", s.name)
		}
	}
}

// TestHoldsFixed: a map of servers is intact if it holds what was put there last.
func TestHoldsFixed(t *testing.T) {
	v := VirtualServer{Name: "ftp", Listen: ends("203.0.113.171:21"), Slots: append(ends("10.0.0.1:21", "10.0.0.2:21"), netip.AddrPort{}),
		Parked: []Parked{{ends("10.0.0.3:21")[0], "down"}}}
	s := serverMap("t", &v)
	whole := func() map[value]element {
		have := map[value]element{}
		for _, e := range s.fixed {
			e.text = ""
			have[e.key] = e
		}
		return have
	}
	server := func(a string) element { return element{data: serverData(ends(a)[0])} }
	tests := []struct {
		name   string
		change func(map[value]element)
		want   bool
	}{
		{"nothing", func(map[value]element) {}, true},
		{"slot gone", func(m map[value]element) { delete(m, slotKey(1)) }, false},
		{"server parked no more", func(m map[value]element) { delete(m, slotKey(3)) }, false},
		{"slot added", func(m map[value]element) { m[slotKey(2)] = server("10.0.0.1:21") }, false},
		{"other server", func(m map[value]element) { m[slotKey(0)] = server("10.0.0.9:21") }, false},
		{"other port", func(m map[value]element) { m[slotKey(0)] = server("10.0.0.1:22") }, false},
		{"slot moved", func(m map[value]element) { delete(m, slotKey(1)); m[slotKey(2)] = server("10.0.0.2:21") }, false},
		{"empty", func(m map[value]element) { clear(m) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			have := whole()
			tt.change(have)
			m := newMemory()
			if got := m.intact(&s, have); got != tt.want || !m.judges(&s) {
				t.Errorf("intact: %v, want %v; judged: %v", got, tt.want, m.judges(&s))
			}
		})
	}
}
