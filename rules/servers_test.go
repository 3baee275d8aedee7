// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pasvport/pasvport/integration/stage"
)

// slotsOf is nft's listing of the elements of a map.
func slotsOf(t *testing.T, n stage.Namespace, name string) string {
	t.Helper()
	_, elems, _ := strings.Cut(n.Run(t, "nft", "list", "map", "inet", "pasvport", name), "elements = {")
	elems, _, _ = strings.Cut(elems, "}")
	return strings.Join(strings.Fields(elems), " ")
}

// TestSpread: slots change in place, are put back with the table or alone, and
// servers without one are remembered for the next run, with the reason.
func TestSpread(t *testing.T) {
	n := stage.New(t)
	c := Config{Queue: testQueue(t, n), VirtualServers: virtualServers}
	f := installed(t, n, c)
	v := virtualServers[1]
	v.Slots = ends("[fd00::2]:21", "[fd00::2]:21", "[fd00::2]:21")
	v.Parked = []Parked{{ends("[fd00::1]:21")[0], "drained"}, {ends("[fd00::9]:21")[0], "down"}}
	if err := f.Spread(v); err != nil {
		t.Fatal(err)
	}
	const want = `0 : fd00::2 . 21, 1 : fd00::2 . 21, 2 : fd00::2 . 21, 3 comment "drained" : fd00::1 . 21, 4 comment "down" : fd00::9 . 21`
	if got := slotsOf(t, n, "servers6_ftp"); got != want {
		t.Errorf("the map holds\n%s, want\n%s", got, want)
	}
	for _, change := range []string{"flush map inet pasvport servers6_ftp", "delete table inet pasvport",
		"delete element inet pasvport servers6_ftp { 1 }", "add element inet pasvport servers6_ftp { 7 : fd00::7 . 21 }"} {
		n.Load(t, change)
		h, err := f.Heal()
		if err != nil || len(h.Missing) == 0 {
			t.Errorf("%s: healed %v, %v", change, h.Missing, err)
		}
		if got := slotsOf(t, n, "servers6_ftp"); got != want {
			t.Errorf("%s: the map holds\n%s, want\n%s", change, got, want)
		}
	}
	n.Load(t, "delete table inet pasvport")
	if err := f.Spread(v); err != nil {
		t.Fatal(err)
	}
	if got := slotsOf(t, n, "servers6_ftp"); got != want {
		t.Errorf("after Spread without a table the map holds\n%s, want\n%s", got, want)
	}
	if h, err := f.Heal(); err != nil || len(h.Missing) > 0 {
		t.Errorf("nothing was changed, but healed %v, %v", h.Missing, err)
	}

	// The next run starts with what this one left.
	next := open(t, n, c)
	got, err := next.Parked(v)
	if d := cmp.Diff(v.Parked, got, cmpopts.EquateComparable(v.Parked[0].Server),
		cmpopts.SortSlices(func(a, b Parked) bool { return a.Server.Compare(b.Server) < 0 })); err != nil || d != "" {
		t.Errorf("Parked: %v (-want +got):\n%s", err, d)
	}
	if err := next.Spread(v); err != nil {
		t.Fatal(err)
	}
	if err := next.Install(); err != nil {
		t.Fatal(err)
	}
	if got := slotsOf(t, n, "servers6_ftp"); got != want {
		t.Errorf("after another Install the map holds\n%s, want\n%s", got, want)
	}

	v.Slots = v.Slots[:2]
	if err := next.Spread(v); !errors.Is(err, errSlots) {
		t.Errorf("another number of slots: %v, want %v", err, errSlots)
	}
	v.Name = "other"
	if err := next.Spread(v); !errors.Is(err, errSlots) {
		t.Errorf("an unknown name: %v, want %v", err, errSlots)
	}
}

// TestSpreadMany: more elements than fit into one message.
func TestSpreadMany(t *testing.T) {
	n := stage.New(t)
	v := VirtualServer{Name: "many", Listen: ends("203.0.113.171:21")}
	for i := range 5000 {
		v.Slots = append(v.Slots, ends(fmt.Sprintf("10.0.%d.%d:21", i/250, i%250+1))[0])
	}
	f := installed(t, n, Config{Queue: testQueue(t, n), VirtualServers: []VirtualServer{v}})
	if err := f.Spread(v); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(slotsOf(t, n, "servers4_many"), " : "); got != len(v.Slots) {
		t.Errorf("the map holds %d slots, want %d", got, len(v.Slots))
	}
}
