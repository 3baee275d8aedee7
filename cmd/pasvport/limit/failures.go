// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"net/netip"
	"sync"
	"time"
)

// maxFailing is how many clients are counted at once.
const maxFailing = 1 << 16

// Failures counts the failed logins of clients. The zero value has none. Its
// methods are safe for concurrent use.
type Failures struct {
	mu     sync.Mutex
	of     map[netip.Prefix][]time.Time // the last ones of each, the oldest first
	pruned time.Time
}

// Failed counts a failed login of a client, and reports whether it is the most-th
// within a time. Then the count begins anew.
func (f *Failures) Failed(client netip.Prefix, now time.Time, most int, within time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = map[netip.Prefix][]time.Time{}
	}
	times, known := f.of[client]
	if !known && len(f.of) >= maxFailing {
		f.prune(now, within)
		if len(f.of) >= maxFailing {
			return false
		}
	}
	for len(times) > 0 && now.Sub(times[0]) > within {
		times = times[1:]
	}
	if len(times)+1 >= most {
		delete(f.of, client)
		return true
	}
	times = append(times, now)
	f.of[client] = times
	return false
}

// Forget forgets the failures of a client.
func (f *Failures) Forget(client netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.of, client)
}

// prune occasionally forgets clients whose last failure is too long ago to count.
func (f *Failures) prune(now time.Time, within time.Duration) {
	if now.Sub(f.pruned) < time.Second {
		return
	}
	f.pruned = now
	for client, times := range f.of {
		if now.Sub(times[len(times)-1]) > within {
			delete(f.of, client)
		}
	}
}
