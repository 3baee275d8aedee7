// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// blur makes some bits of a value unknown.
func blur(r *rand.Rand, b []byte) value {
	v := unknown("x", len(b))
	for i := range b {
		v.known[i] = []byte{0, 0xff, byte(r.Uint32())}[r.IntN(3)]
		v.bits[i] = b[i] & v.known[i]
	}
	return v
}

// TestValueIsSound: an answer about a value with unknown bits is true whatever
// these bits are.
func TestValueIsSound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	some := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = []byte{0, 1, 0x80, 0xff, byte(r.Uint32())}[r.IntN(5)]
		}
		return b
	}
	decided := 0
	for range 200_000 {
		n := 1 + r.IntN(4)
		real := some(n)
		v := blur(r, real)
		if r.IntN(4) == 0 && n == 2 {
			low := number(real) - uint16(r.IntN(int(number(real))+1))
			v = inRange("x", PortRange{Low: low, High: max(number(real), low+uint16(r.IntN(65536-int(low))))})
		}
		a, b := some(n), some(n)
		if bytes.Compare(a, b) > 0 {
			a, b = b, a
		}
		mask, xor := some(n), some(n)
		masked := bytes.Clone(real)
		for i := range masked {
			masked[i] = masked[i]&mask[i] ^ xor[i]
		}
		for name, c := range map[string]struct {
			said truth
			is   bool
		}{
			"equals":        {v.equals(a), bytes.Equal(real, a)},
			"equals itself": {v.equals(real), true},
			"less":          {v.less(a), bytes.Compare(real, a) < 0},
			"within":        {v.within(a, b), bytes.Compare(real, a) >= 0 && bytes.Compare(real, b) <= 0},
			"masked":        {v.masked(mask, xor).equals(a), bytes.Equal(masked, a)},
			"masked itself": {v.masked(mask, xor).equals(masked), true},
		} {
			if c.said == yes && !c.is || c.said == no && c.is {
				t.Fatalf("%s: said %d of %x, known as %+v; a %x, b %x, mask %x, xor %x", name, c.said, real, v, a, b, mask, xor)
			}
			if c.said != maybe {
				decided++
			}
		}
	}
	if decided < 100_000 {
		t.Errorf("only %d decided: the test proves little", decided)
	}
}
