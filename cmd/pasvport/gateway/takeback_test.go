// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"math"
	"testing"
)

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
