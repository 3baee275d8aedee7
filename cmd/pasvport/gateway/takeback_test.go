// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"math"
	"net/netip"
	"testing"

	"github.com/pasvport/pasvport/ftpalg"
)

// What a daemon notes the next one must read, within the 120 bytes of a note.
func TestNote(t *testing.T) {
	for _, target := range []string{"10.0.0.5:2000", "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"} {
		for _, p := range []pinhole{
			{mode: ftpalg.Passive, session: &session{id: 1}},
			{mode: ftpalg.Active, nat: true, port: 20, session: &session{id: 7}},
			{mode: ftpalg.Passive, nat: false, port: math.MaxUint16, session: &session{id: math.MaxUint32}},
		} {
			p.target = netip.MustParseAddrPort(target)
			note := p.note()
			got, id, ok := parseNote(note)
			if !ok || len(note) > 120 || id != p.session.id || got.mode != p.mode || got.nat != p.nat || got.port != p.port || got.target != p.target {
				t.Errorf("%q of %d bytes read as %+v of %d, %v", note, len(note), got, id, ok)
			}
			for cut := range note[:len(note)-1] {
				if p, _, ok := parseNote(note[:cut]); ok && p.target.String() != target {
					t.Errorf("%q read as %+v", note[:cut], p)
				}
			}
		}
	}
}

// Notes are comments of set elements: anybody may have written them.
func FuzzNote(f *testing.F) {
	f.Add("passive to 10.0.0.5:2000 for 1 nat true port 0")
	f.Add("active to [::]:0 for 4294967296 nat maybe port -1")
	f.Fuzz(func(t *testing.T, text string) {
		p, id, ok := parseNote(text)
		if !ok {
			return
		}
		p.session = &session{id: id}
		again, _, ok := parseNote(p.note())
		if !ok || again.target != p.target || again.mode != p.mode {
			t.Errorf("%q read as %+v, written as %q", text, p, p.note())
		}
	})
}

func TestAdjustmentsNote(t *testing.T) {
	for _, a := range []adjustments{
		{},
		{{Pos: 1, Before: -2, After: 3}, {Pos: math.MaxUint32, Before: math.MaxInt32, After: math.MinInt32}},
		{{Pos: math.MaxUint32, Before: math.MinInt32, After: math.MinInt32}, {Pos: math.MaxUint32, Before: math.MinInt32, After: math.MinInt32}},
	} {
		got, err := parseAdjustments(a.note())
		if err != nil || got != a || len(a.note()) > 120 {
			t.Errorf("%q of %d bytes read as %v, %v", a.note(), len(a.note()), got, err)
		}
	}
	if _, err := parseAdjustments("original 1 2"); err == nil {
		t.Error("half a note was read")
	}
}
