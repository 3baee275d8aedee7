// SPDX-License-Identifier: Apache-2.0

package keepalive

import (
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
)

// entry is a control connection of the tests, by its client's port.
type entry uint32

func (e entry) Entry() (expect.Tuple, uint32) { return e.tuple(), uint32(e) }

func (e entry) tuple() expect.Tuple {
	t := tuple("192.0.2.1:1", "192.0.2.2:21")
	t.Zone = uint16(e)
	return t
}

// table is conntrack and the data connections of the tests.
type table struct {
	entries map[expect.Tuple]expect.Entry
	set     []time.Duration
	setErr  error
	due     []entry
	live    map[entry][]expect.Tuple
	ended   []expect.Tuple
	wake    chan struct{}
}

func (t *table) Get(of expect.Tuple) (expect.Entry, error) {
	e, ok := t.entries[of]
	if !ok {
		return e, unix.ENOENT
	}
	return e, nil
}

func (t *table) UpdateTimeout(_ expect.Tuple, d time.Duration) error {
	t.set = append(t.set, d)
	return t.setErr
}

func (t *table) Wake() <-chan struct{}          { return t.wake }
func (t *table) Due() []entry                   { return t.due }
func (t *table) Live(e entry) []expect.Tuple    { return t.live[e] }
func (t *table) Ended(d expect.Tuple, of entry) { t.ended = append(t.ended, d) }

var data = tuple("192.0.2.1:4001", "192.0.2.2:5000")

func TestRefresh(t *testing.T) {
	const c = entry(1)
	established := func(left time.Duration) expect.Entry {
		return expect.Entry{ID: uint32(c), TCPState: expect.TCPStateEstablished, Timeout: left}
	}
	start := time.Unix(1000, 0)
	for _, tt := range []struct {
		name    string
		control []expect.Entry // at each look; none: the entry is gone
		data    *expect.Entry
		set     []time.Duration
		kept    bool
		ended   bool
		next    time.Duration // after the last look
	}{
		{name: "fresh", control: []expect.Entry{established(30 * time.Second)}, data: &expect.Entry{}, kept: true, next: 31 * time.Second / 3},
		{name: "a third is over", control: []expect.Entry{established(30 * time.Second), established(20 * time.Second)}, data: &expect.Entry{},
			set: []time.Duration{31 * time.Second}, kept: true, next: 31 * time.Second / 3},
		{name: "days", control: []expect.Entry{established(120 * time.Hour)}, data: &expect.Entry{}, kept: true, next: longestLook},
		{name: "a second", control: []expect.Entry{established(0)}, data: &expect.Entry{}, set: []time.Duration{time.Second}, kept: true, next: time.Second / 3},
		{name: "another's entry", control: []expect.Entry{{ID: 7, TCPState: expect.TCPStateEstablished}}, data: &expect.Entry{}},
		{name: "closing", control: []expect.Entry{{ID: 1, TCPState: expect.TCPStateFinWait}}, data: &expect.Entry{}},
		{name: "gone", control: nil, data: &expect.Entry{}},
		{name: "data gone", control: []expect.Entry{established(time.Second)}, ended: true},
		{name: "data closed", control: []expect.Entry{established(time.Second)}, data: &expect.Entry{TCPState: expect.TCPStateTimeWait}, ended: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tb := &table{entries: map[expect.Tuple]expect.Entry{}, live: map[entry][]expect.Tuple{c: {data}}}
			if tt.data != nil {
				tb.entries[data] = *tt.data
			}
			r := Refresher[entry]{Conntrack: tb, Transfers: tb, all: map[entry]*upkeep[entry]{}}
			now := start
			for range max(1, len(tt.control)) {
				if len(tt.control) > 0 {
					tb.entries[c.tuple()], tt.control = tt.control[0], tt.control[1:]
				}
				now = now.Add(time.Second)
				r.look(c, now, longestLook)
			}
			if !slices.Equal(tb.set, tt.set) {
				t.Errorf("set to %v, want %v", tb.set, tt.set)
			}
			u := r.all[c]
			if (u != nil) != tt.kept || len(r.heap) != len(r.all) || (len(tb.ended) > 0) != tt.ended {
				t.Fatalf("kept %v, %d in the heap, ended %v", u, len(r.heap), tb.ended)
			}
			if u != nil && u.next.Sub(now) != tt.next {
				t.Errorf("next look in %v, want %v", u.next.Sub(now), tt.next)
			}
		})
	}
}

// Entries are checked in the order of their need, and forgotten when their
// transfer is over, wherever they are in that order.
func TestRefreshOrder(t *testing.T) {
	tb := &table{entries: map[expect.Tuple]expect.Entry{data: {}}, live: map[entry][]expect.Tuple{}, setErr: errors.New("no")}
	failed := 0
	r := Refresher[entry]{Conntrack: tb, Transfers: tb, all: map[entry]*upkeep[entry]{}, Failed: func(entry, error) { failed++ }}
	now := time.Unix(1000, 0)
	for _, c := range []entry{5, 3, 9, 1, 7} {
		tb.live[c] = []expect.Tuple{data}
		tb.entries[c.tuple()] = expect.Entry{ID: uint32(c), TCPState: expect.TCPStateEstablished, Timeout: time.Duration(c) * 3 * time.Second}
		r.look(c, now, longestLook)
	}
	delete(tb.live, 3)
	r.look(3, now, longestLook)
	var order []entry
	for len(r.heap) > 0 {
		order = append(order, r.heap[0].control)
		r.forget(r.heap[0].control)
	}
	if want := []entry{1, 5, 7, 9}; !slices.Equal(order, want) || len(r.all) != 0 {
		t.Errorf("order %v, want %v; %d left", order, want, len(r.all))
	}
	tb.entries[entry(1).tuple()] = expect.Entry{ID: 1, TCPState: expect.TCPStateEstablished}
	r.look(1, now, longestLook)
	if failed != 1 {
		t.Errorf("%d failures reported, want 1", failed)
	}
}
