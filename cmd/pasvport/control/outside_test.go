// SPDX-License-Identifier: Apache-2.0

package control

import (
	"testing"
	"time"
)

func TestOutsideText(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for want, o := range map[string]Outside{
		"ftp.example.org is 203.0.113.7, found 12s ago, again in 48s": {Of: "ftp.example.org", Address: "203.0.113.7",
			Found: now.Add(-12 * time.Second), Next: now.Add(48 * time.Second)},
		"interface:ppp0 is not known, again in 5s: no such device": {Of: "interface:ppp0", Next: now.Add(5 * time.Second), Error: "no such device"},
		"x is not known": {Of: "x"},
	} {
		if got := o.text(now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
