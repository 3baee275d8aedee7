// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/pasvport/pasvport/integration/stage"
)

// BenchmarkKernelPinhole opens and closes one pinhole: two transactions, three
// messages to add it (see OpenPinhole) and two to delete it.
func BenchmarkKernelPinhole(b *testing.B) {
	for _, bb := range []struct {
		name string
		c    Config
	}{
		{"related", Config{}}, // no set: nothing is sent
		{"claim", Config{Claim: true}},
		{"chain", Config{Chains: []ChainRef{forward}}},
		{"claim+chain", Config{Claim: true, Chains: []ChainRef{forward}}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			n := stage.New(b)
			n.Load(b, adminRuleset)
			bb.c.Queue = testQueue(b, n)
			f := installed(b, n, bb.c)
			p := testPinhole(0)
			p.Timeout = time.Minute
			b.ReportAllocs()
			for b.Loop() {
				if err := f.OpenPinhole(p); err != nil {
					b.Fatal(err)
				}
				if err := f.ClosePinhole(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkKernelDirect sets the direction of a data connection: one transaction.
func BenchmarkKernelDirect(b *testing.B) {
	n := stage.New(b)
	d := installed(b, n, Config{Claim: true, OneWay: true, Queue: testQueue(b, n)}).Directions()
	b.ReportAllocs()
	w := WayOriginal
	for b.Loop() {
		if err := d.Direct(7, w); err != nil {
			b.Fatal(err)
		}
		w = WayOriginal + WayReply - w
	}
}
