// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"sync/atomic"
	"time"
)

// heartbeat shows that a worker's goroutine is alive: it handles packets, or
// sleeps until there are some. The zero value never beats.
type heartbeat struct {
	every time.Duration
	next  time.Time    // of the worker's goroutine
	last  atomic.Int64 // as sinceStart; 0: never
}

var processStart = time.Now()

// sinceStart is a time on the monotonic clock: a step of the wall clock must
// neither stop a living daemon nor hide that one hangs.
func sinceStart(now time.Time) int64 { return max(int64(now.Sub(processStart)), 1) }

// overdue is the deadline of a worker that has not beaten yet.
var overdue = time.Unix(1, 0)

// deadline is when to beat; zero: never.
func (h *heartbeat) deadline() time.Time {
	if h.every > 0 && h.next.IsZero() {
		return overdue
	}
	return h.next
}

// beat records a beat, if one is due.
func (h *heartbeat) beat(now time.Time) {
	if h.every > 0 && !now.Before(h.next) {
		h.last.Store(sinceStart(now))
		h.next = now.Add(h.every)
	}
}

// alive reports whether there was a beat within a time before now.
func (h *heartbeat) alive(now time.Time, within time.Duration) bool {
	last := h.last.Load()
	return h.every > 0 && last > 0 && sinceStart(now)-last <= int64(within)
}

// earlier is the first of two deadlines; zero means none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
