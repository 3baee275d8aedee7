// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"log/slog"
	"sync"
	"time"
)

// burst is how long after one session was taken over another one begins a new
// take-over.
const burst = 2 * time.Second

// TakeOver is a time at which sessions of the other firewall became live here.
type TakeOver struct {
	At       time.Time     // of the first session; zero: never
	Lasted   time.Duration // until the last session
	Sessions int
}

// takeOvers counts sessions that become live here.
type takeOvers struct {
	log *slog.Logger

	mu   sync.Mutex
	last TakeOver
	all  uint64
}

// count counts one session.
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

// say logs how many were taken over so far.
func (t *takeOvers) say() {
	last, _ := t.get()
	t.log.Info("sessions of the peer taken over", "sessions", last.Sessions, "within", last.Lasted)
}

// get returns the last one, and the total number of sessions.
func (t *takeOvers) get() (TakeOver, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last, t.all
}
