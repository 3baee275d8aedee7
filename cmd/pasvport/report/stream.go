// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"sync"
)

// kept is how many events a Stream keeps.
const kept = 4096

// Stream keeps the last events for those that read them, however slowly: a reader
// has a position of its own, and is told how many events it missed. The zero value
// is empty. Its methods may be called by several goroutines.
type Stream struct {
	mu   sync.Mutex
	ring []Event
	next uint64        // number of the next event
	wake chan struct{} // closed at the next event; nil while no one waits
}

// Send adds an event. It never waits for a reader.
func (s *Stream) Send(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ring) < kept {
		s.ring = append(s.ring, e)
	} else {
		s.ring[s.next%kept] = e
	}
	s.next++
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}

// Read returns the events from number from on, the number of the one behind them,
// and how many were asked for and are not kept any more.
func (s *Stream) Read(from uint64) (list []Event, next, lost uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if oldest := s.next - uint64(len(s.ring)); from < oldest {
		from, lost = oldest, oldest-from
	}
	for ; from < s.next; from++ {
		list = append(list, s.ring[from%kept])
	}
	return list, s.next, lost
}

// Oldest returns the number of the oldest event that is kept.
func (s *Stream) Oldest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next - uint64(len(s.ring))
}

// Wait returns when there is an event with number from, or when ctx ends, and
// reports whether there is one.
func (s *Stream) Wait(ctx context.Context, from uint64) bool {
	for {
		s.mu.Lock()
		if s.next > from {
			s.mu.Unlock()
			return true
		}
		if s.wake == nil {
			s.wake = make(chan struct{})
		}
		wake := s.wake
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return false
		case <-wake:
		}
	}
}
