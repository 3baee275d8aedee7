// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"log/slog"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// TestOneProbeInALook: the two ends of a silent session are probed in turn. A
// probe that overtakes the timestamp in the other end's answer is not answered,
// and an end that lives would be taken for dead.
func TestOneProbeInALook(t *testing.T) {
	const after = 3 * time.Second
	w := &idleWatch{g: &Gateway{cfg: config.Config{Keepalive: after}, log: slog.New(slog.DiscardHandler)},
		in: &injector{fd4: -1, fd6: -1}} // sends nothing
	control := tuple("192.0.2.1:4000", "192.0.2.2:21")
	s := newSession(&expect.Entry{Original: control, Reply: expect.Tuple{Src: control.Dst, Dst: control.Src}},
		&ftpalg.Policy{}, time.Unix(1000, 0), true, new(ftpalg.Workspace))
	now := time.Unix(2000, 0)
	ends := [2]wireEnd{{known: true, heard: now}, {known: true, heard: now}}
	p := &probing{}
	look := func(wait time.Duration, ended bool, sent ...time.Time) {
		t.Helper()
		now = now.Add(wait)
		if got := w.keep(s, p, &ends, now); got != ended {
			t.Errorf("ended %v, want %v", got, ended)
		}
		for d, want := range sent {
			if !p.sent[d].Equal(want) {
				t.Errorf("probe %d was sent %v, want %v", d, p.sent[d], want)
			}
		}
	}
	at := func(s float64) time.Time { return time.Unix(2000, 0).Add(time.Duration(s * float64(time.Second))) }
	const tick = 300 * time.Millisecond
	look(after-tick, false, time.Time{}, time.Time{})
	look(tick, false, at(3), time.Time{})
	look(tick, false, at(3), at(3.3))
	ends[ftpalg.Reply].heard = at(3.1) // answers the first
	look(tick, false, time.Time{}, at(3.3))
	look(after-tick, false, at(6.3), at(3.3)) // the second one's turn is next
	look(tick, false, at(6.3), at(6.6))
	ends[ftpalg.Reply].heard = at(6.4)
	look(after, false, at(9.6), at(6.6))
	look(tick, false, at(9.6), at(9.9))
	ends[ftpalg.Reply].heard = at(9.7)
	look(after-2*tick, false, time.Time{}, at(9.9))
	look(2*tick, false, at(12.9), at(9.9))
	look(tick, true) // the client has not answered three
}
