// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"testing"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// meets returns the way that applies to the first packet of a data connection.
func (k *kernel) meets(p *Pinhole) rules.Way {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.first[first{p.Source, p.Public}]
}

// TestWay: whichever comes first, the command or the data connection, the data
// connection has the way of the command once both exist; before, it is undecided.
func TestWay(t *testing.T) {
	for _, tt := range []struct {
		name string
		spec Spec
		way  ftpalg.Way
		want rules.Way
	}{
		{"passive download", passive(5000), ftpalg.Down, rules.WayReply},
		{"passive upload", passive(5000), ftpalg.Up, rules.WayOriginal},
		{"active download", active(5000), ftpalg.Down, rules.WayOriginal},
		{"active upload", active(5000), ftpalg.Up, rules.WayReply},
	} {
		for _, first := range []string{"command", "connection", "neither"} {
			t.Run(tt.name+"/"+first, func(t *testing.T) {
				b, o := newBench(), owner(1, client)
				o.OneWay, tt.spec.OneWay = true, true
				p, err := b.open(o, tt.spec)
				if err != nil {
					t.Fatal(err)
				}
				if got := b.k.meets(p); got != rules.WayUndecided {
					t.Fatalf("opened with %v", got)
				}
				decide := func(settle func()) { b.Ways.Decide(o, tt.way, settle) }
				e := &expect.Entry{ID: 77, Original: expect.Tuple{}, TCPState: expect.TCPStateSynRecv}
				begins := func() { e.Original = b.begins(p, 50000); b.Answered(e) }
				switch first {
				case "command":
					decide(func() {})
					if got := b.k.meets(p); got != tt.want {
						t.Errorf("its first packet meets %v, want %v", got, tt.want)
					}
					begins()
				case "connection":
					begins()
					if got := b.k.ways[77]; got != rules.WayUndecided {
						t.Errorf("before the command %v", got)
					}
					decide(func() {})
				default: // the event is handled while the command waits for it
					decide(begins)
				}
				if got := b.k.ways[77]; got != tt.want {
					t.Errorf("way %v, want %v", got, tt.want)
				}
				again := ftpalg.Up + ftpalg.Down - tt.way
				if b.Ways.Decide(o, again, func() {}); b.k.ways[77] == tt.want {
					t.Error("another command changes nothing")
				}
				b.k.empty(t)
				if who, data := b.Ways.Of(77); who != o || data != e.Original {
					t.Errorf("77 belongs to %v", who)
				}
				b.Ends(e)
				if _, there := b.k.ways[77]; there {
					t.Error("its way is kept")
				}
				if b.Ways.NoneFollow(o); len(b.Ways.last) > 0 || len(b.Ways.of) > 0 {
					t.Error("something is still remembered")
				}
			})
		}
	}
}

// TestWayOff: without it no set is used.
func TestWayOff(t *testing.T) {
	b, o := newBench(), owner(1, client)
	p, err := b.open(o, passive(5000))
	if err != nil {
		t.Fatal(err)
	}
	e := &expect.Entry{ID: 77, Original: b.begins(p, 50000)}
	b.Answered(e)
	b.Ways.Decide(o, ftpalg.Down, func() { t.Error("events are waited for") })
	if len(b.k.first)+len(b.k.ways)+len(b.Ways.last) > 0 {
		t.Errorf("%v, %v", b.k.first, b.k.ways)
	}
}

// TestWayFound: a data connection of an earlier daemon has the way of the next command.
func TestWayFound(t *testing.T) {
	b, o := newBench(), owner(1, client)
	o.OneWay = true
	data := passive(5000)
	e := &expect.Entry{ID: 5, Original: expect.Tuple{Src: o.Ends.Client, Dst: data.Public}, Reply: expect.Tuple{Src: data.Public, Dst: o.Ends.Client}}
	b.Data.Found(e.Original, o)
	b.Ways.Found(e, o, rules.WayUndecided)
	b.Ways.Decide(o, ftpalg.Up, func() {})
	if got := b.k.ways[5]; got != rules.WayOriginal {
		t.Errorf("%v", got)
	}
}
