// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"log/slog"
	"sync"
	"time"
)

// burst is how long no session may have been taken over for the next one to begin
// another take-over.
const burst = 2 * time.Second

// TakeOver is a time at which sessions of the other firewall became live here.
type TakeOver struct {
	At       time.Time     // when the first one did; zero: none has
	Lasted   time.Duration // until the last one did
	Sessions int
}

// takeOvers counts sessions that become live here.
type takeOvers struct {
	log *slog.Logger

	mu   sync.Mutex
	last TakeOver
	all  uint64
}

// count counts one.
func (t *takeOvers) count(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all++
	if now.Sub(t.last.At.Add(t.last.Lasted)) > burst {
		t.last = TakeOver{At: now}
		time.AfterFunc(burst, t.say)
	}
	t.last.Lasted = now.Sub(t.last.At)
	t.last.Sessions++
}

// say says how many were taken over so far.
func (t *takeOvers) say() {
	last, _ := t.get()
	t.log.Info("sessions of the peer taken over", "sessions", last.Sessions, "within", last.Lasted)
}

// get returns the last one, and how many sessions there were in all.
func (t *takeOvers) get() (TakeOver, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last, t.all
}
