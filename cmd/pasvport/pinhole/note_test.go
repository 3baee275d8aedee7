// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"math"
	"net/netip"
	"testing"

	"github.com/pasvport/pasvport/ftpalg"
)

// What a daemon notes the next one must read, within the 120 bytes of a note.
func TestNote(t *testing.T) {
	for _, target := range []string{"10.0.0.5:2000", "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"} {
		for _, p := range []*Pinhole{
			{Owner: &Owner{ID: 1}, Spec: Spec{Mode: ftpalg.Passive}},
			{Owner: &Owner{ID: 7}, Spec: Spec{Mode: ftpalg.Active, NAT: true, Port: 20}},
			{Owner: &Owner{ID: math.MaxUint32}, Spec: Spec{Mode: ftpalg.Passive, Port: math.MaxUint16}},
		} {
			p.Target = netip.MustParseAddrPort(target)
			note := p.Note()
			got, id, ok := ParseNote(note)
			if !ok || len(note) > 120 || id != p.Owner.ID || got != p.Spec {
				t.Errorf("%q of %d bytes read as %+v of %d, %v", note, len(note), got, id, ok)
			}
			for cut := range note[:len(note)-1] {
				if s, _, ok := ParseNote(note[:cut]); ok && s.Target.String() != target {
					t.Errorf("%q read as %+v", note[:cut], s)
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
		s, id, ok := ParseNote(text)
		if !ok {
			return
		}
		p := &Pinhole{Spec: s, Owner: &Owner{ID: id}}
		again, _, ok := ParseNote(p.Note())
		if !ok || again.Target != s.Target || again.Mode != s.Mode {
			t.Errorf("%q read as %+v, written as %q", text, s, p.Note())
		}
	})
}
