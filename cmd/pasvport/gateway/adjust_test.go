// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// TestAdjustHere: the order of the steps, and that nothing is recorded if one
// fails.
func TestAdjustHere(t *testing.T) {
	for _, tt := range []struct {
		name   string
		edit   func(*bench)
		here   bool
		logged string
	}{
		{"it can be", func(*bench) {}, true, `msg="adjusting sequence numbers here"`},
		{"its entry is gone", func(b *bench) { clear(b.k.entries) }, false, `msg="cannot adjust sequence numbers"`},
		{"nftables refuses", func(b *bench) { b.k.refuses = errors.New("no room") }, false, `msg="cannot queue all packets of a session"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			l := b.connect(entryOf(1))
			r := session.New(l.entry, &ftpalg.Policy{}, time.Now(), true, &b.w.work)
			tt.edit(b)
			for range 2 {
				if b.adjust.here(b.k, r) != tt.here || r.Here() != tt.here || r.Adjusted() != tt.here {
					t.Errorf("adjusted here: %v", r.Here())
				}
			}
			b.logs(tt.logged)
			if b.adjust.forget(r.Session); len(b.k.numbered) != 0 {
				t.Error("its packets are queued after its end")
			}
		})
	}
}

// TestResume: adjustments of an earlier daemon come from its notes in the kernel,
// or from what it handed over, and are recorded again.
func TestResume(t *testing.T) {
	adj := session.Adjustments{{Pos: 10, Before: 1, After: 2}, {Pos: 20, Before: -3, After: -4}}
	record := &succession.Record{Adjusted: (*[2]ftpalg.Adjustment)(&adj)}
	for _, tt := range []struct {
		name   string
		notes  map[uint32]string
		handed *succession.Record
		err    error
		want   bool
	}{
		{"noted", map[uint32]string{1: adj.Note()}, nil, nil, true},
		{"handed over", nil, record, nil, true},
		{"nothing", map[uint32]string{2: adj.Note()}, &succession.Record{}, nil, false},
		{"a note that says nothing", map[uint32]string{1: "original"}, record, nil, false},
		{"nftables refuses", nil, record, errors.New("no room"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.k.refuses = tt.err
			e := entryOf(1)
			if got := b.adjust.resume(&e, tt.notes, tt.handed); got != tt.want {
				t.Errorf("resumed: %v", got)
			}
			if want := (expect.SeqAdj{Pos: 20, Before: -3, After: -4}); tt.want && (e.Adj[1] != want || b.k.numbered[1] != adj.Note()) {
				t.Errorf("%+v, noted as %q", e.Adj, b.k.numbered[1])
			}
		})
	}
}
