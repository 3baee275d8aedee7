// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"
	"unsafe"
)

// setClock is t as it would have been read with the wall clock set forward, and the
// monotonic clock as it is: the seconds of a time that has both begin at bit 30 of the
// first word (time.Time in the standard library).
func setClock(t time.Time, forward time.Duration) time.Time {
	*(*int64)(unsafe.Pointer(&t)) += int64(forward/time.Second) << 30
	return t
}

// TestAge: what a reader with this machine's clock makes of a time is how long ago it
// was, however the clock was set meanwhile; without that the time is left as it is.
func TestAge(t *testing.T) {
	began := time.Now()
	for _, set := range []time.Duration{0, time.Hour, -time.Hour, 20 * 365 * 24 * time.Hour, -time.Second} {
		now := setClock(began.Add(time.Minute), set)
		if got := now.Round(0).Sub(began.Round(0)); got != time.Minute+set {
			t.Fatalf("the test does not set the clock: %v", got)
		}
		got := onClock(began, now)
		if age := now.Round(0).Sub(got); age != time.Minute {
			t.Errorf("clock set by %v: age %v, want 1m", set, age)
		}
		if set == 0 && got != began {
			t.Errorf("%v became %v", began, got)
		}
	}
	if got := onClock(time.Time{}, began); !got.IsZero() {
		t.Errorf("never became %v", got)
	}
}
