// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"sync"
	"time"
)

// olderConnections are the control connections, by the id of their entry, of
// which bytes may have passed before our rules were installed. The first byte of
// all others is seen, so that the engine may ask how they began.
//
// One goroutine lists them, in run. Callers that need the list make it hurry, and
// do not wait for long.
type olderConnections struct {
	kick   chan struct{} // of capacity 1: a list is due
	wanted chan struct{} // of capacity 1: make it at once

	mu    sync.Mutex
	ids   map[uint32]struct{} // nil until there is a first list
	begun map[uint32]struct{} // seen to begin since the list became due
	due   chan struct{}       // closed when the list that is due is made; nil if none is due
	again bool                // there are more connections than are being listed
}

func newOlderConnections() *olderConnections {
	return &olderConnections{kick: make(chan struct{}, 1), wanted: make(chan struct{}, 1)}
}

const (
	// olderAfter is when they are listed if no one asks before: the list takes a
	// processor for ten milliseconds or more, which a start needs for other work,
	// and a ruleset may be flushed many times in a second.
	olderAfter = time.Second
	// olderBound is how long a packet waits for the list. A connection that is
	// not known to be new by then counts as an older one.
	olderBound = 250 * time.Millisecond
)

// note makes all current connections older ones. It is called when our rules are
// installed, for the first time or again.
func (o *olderConnections) note() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun = map[uint32]struct{}{} // they may not have been read since
	if o.due != nil {
		o.again = true
		return
	}
	o.due = make(chan struct{})
	signal(o.kick)
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run makes the lists that are due until ctx ends. list calls its argument for
// the id of each existing control connection.
func (o *olderConnections) run(ctx context.Context, list func(func(id uint32))) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-o.kick:
		}
		wait := time.NewTimer(olderAfter)
		select {
		case <-ctx.Done():
		case <-o.wanted:
		case <-wait.C:
		}
		wait.Stop()
		for o.make(list) {
		}
	}
}

// make makes a list, and reports whether another one is due.
func (o *olderConnections) make(list func(func(uint32))) (again bool) {
	ids := map[uint32]struct{}{}
	list(func(id uint32) { ids[id] = struct{}{} })
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.again {
		o.again = false
		return true
	}
	for id := range o.begun {
		delete(ids, id)
	}
	o.ids, o.begun = ids, nil
	close(o.due)
	o.due = nil
	return false
}

// begins records that a connection was answered with SYN and ACK. There is no
// event of one that our rules do not see.
func (o *olderConnections) begins(id uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.begun != nil {
		o.begun[id] = struct{}{}
	}
}

// has reports whether a connection may be an older one. The caller has read the
// events of its beginning.
func (o *olderConnections) has(id uint32) bool {
	o.mu.Lock()
	_, begun := o.begun[id]
	due := o.due
	o.mu.Unlock()
	if begun {
		return false
	}
	if due != nil {
		signal(o.wanted)
		bound := time.NewTimer(olderBound)
		defer bound.Stop()
		select {
		case <-due:
		case <-bound.C:
			return true
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_, older := o.ids[id]
	return older || o.ids == nil
}
