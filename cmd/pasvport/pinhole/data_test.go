// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"slices"
	"testing"

	"github.com/pasvport/pasvport/expect"
)

// TestData: a data connection from its first packet to the end of its entry.
func TestData(t *testing.T) {
	b := newBench()
	o := owner(1, client)
	p, err := b.open(o, passive(5000))
	if err != nil {
		t.Fatal(err)
	}
	data := b.begins(p, 50000)
	if !o.Transferring() || !b.Data.IsLive(data) || !slices.Equal(b.Data.Live(o), []expect.Tuple{data}) {
		t.Error("it is not live")
	}
	select {
	case <-b.Data.Wake():
	default:
		t.Error("no one is woken")
	}
	if due := b.Data.Due(); !slices.Equal(due, []*Owner{o}) || len(b.Data.Due()) != 0 {
		t.Errorf("due: %v", due)
	}
	rules := 0
	b.Data.EachRule(func(expect.Tuple, *Pinhole) { rules++ })
	if rules != 1 || b.Data.TakeRule(data) != p || b.Data.TakeRule(data) != nil {
		t.Error("its rule is not there once")
	}
	for _, n := range []uint64{10, 30} {
		b.Data.Count(&expect.Entry{Original: data, Bytes: [2]uint64{n, 2 * n}, HasCounters: true})
	}
	if got, want := b.Data.Traffic(o), (Traffic{1, true, [2]uint64{30, 60}}); got != want {
		t.Errorf("traffic %+v, want %+v", got, want)
	}
	b.Data.Closed(data)
	if o.Transferring() || b.Data.IsLive(data) {
		t.Error("it is live although it is closed")
	}
	b.Data.Count(&expect.Entry{Original: data, Bytes: [2]uint64{31, 60}, HasCounters: true})
	if who, rule := b.Data.Take(data); who != o || rule != nil {
		t.Errorf("%v, %v", who, rule)
	}
	if who, _ := b.Data.Take(data); who != nil || len(b.Data.Tuples()) != 0 {
		t.Error("it is taken twice")
	}
	if got := b.Data.Traffic(o).Bytes; got != [2]uint64{31, 60} {
		t.Errorf("%v bytes", got)
	}
}
