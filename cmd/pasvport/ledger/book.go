// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"sync"
	"time"
)

// patience is how long a transfer waits for the end of its data connection after
// the server's final reply: some servers reply while bytes are still in flight.
const patience = 5 * time.Second

// Book keeps transfers that have had their final reply until their data
// connection K is closed, so that their bytes are counted to the end. R is the
// report of a transfer. The zero value is empty; its methods are safe for
// concurrent use.
type Book[K comparable, R any] struct {
	mu   sync.Mutex
	open map[K]entry[R]
}

type entry[R any] struct {
	record R
	until  time.Time
}

// Add keeps a transfer.
func (b *Book[K, R]) Add(data K, r R, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open = map[K]entry[R]{}
	}
	b.open[data] = entry[R]{r, now.Add(patience)}
}

// Closed removes and returns the transfer of a closed data connection, and
// reports whether there is one.
func (b *Book[K, R]) Closed(data K) (r R, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.open[data]
	delete(b.open, data)
	return e.record, ok
}

// Due removes and returns the transfers that have waited long enough.
func (b *Book[K, R]) Due(now time.Time) map[K]R {
	b.mu.Lock()
	defer b.mu.Unlock()
	var due map[K]R
	for k, e := range b.open {
		if now.Before(e.until) {
			continue
		}
		if due == nil {
			due = map[K]R{}
		}
		due[k] = e.record
		delete(b.open, k)
	}
	return due
}
