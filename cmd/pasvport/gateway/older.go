// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"sync"
	"time"

	"github.com/pasvport/pasvport/expect"
)

// olderConnections are the control connections, by the id of their entry, of
// which bytes may have passed before our rules were there. Of all others the
// first byte is seen, and the engine may ask how they began.
type olderConnections struct {
	mu      sync.Mutex
	ids     map[uint32]struct{}
	listing *olderListing // nil once they are listed
}

// olderListing is a list that is to be made.
type olderListing struct {
	wanted chan struct{}       // of capacity 1: make it at once
	done   chan struct{}       // closed when it is made
	begun  map[uint32]struct{} // were seen to begin meanwhile
	more   bool                // there are more than are being listed
}

func newOlderListing() *olderListing {
	return &olderListing{wanted: make(chan struct{}, 1), done: make(chan struct{}), begun: map[uint32]struct{}{}}
}

// olderAfter is when they are listed if nobody asks before: the list takes a
// processor for ten milliseconds or more, which a start has better use for, and
// a ruleset may be flushed many times in a second.
const olderAfter = time.Second

// noteOlder takes the connections that there are now for older ones. It is
// called when our rules are in place, for the first time or again. They are
// listed later.
func (g *Gateway) noteOlder() {
	o := &g.older
	o.mu.Lock()
	defer o.mu.Unlock()
	if l := o.listing; l != nil {
		clear(l.begun) // and may not have been read since
		l.more = true
		return
	}
	ct, err := expect.Dial()
	if err != nil {
		g.log.Warn("conntrack netlink", "err", err)
		return
	}
	l := newOlderListing()
	o.listing = l
	go func() {
		defer ct.Close()
		select {
		case <-l.wanted:
		case <-time.After(olderAfter):
		}
		g.listOlder(ct, l)
	}()
}

func (g *Gateway) listOlder(ct *expect.Conn, l *olderListing) {
	o := &g.older
	o.mu.Lock()
	defer o.mu.Unlock()
	for l.more = true; l.more; {
		l.more = false
		ids := map[uint32]struct{}{}
		o.mu.Unlock()
		err := ct.Dump(0, 0, func(e *expect.Entry) {
			if e.Status&expect.StatusExpected == 0 && g.isControl(e.Original.Dst.Port()) {
				ids[e.ID] = struct{}{}
			}
		})
		if err != nil {
			g.log.Warn("cannot list conntrack entries", "err", err)
		}
		o.mu.Lock()
		o.ids = ids
	}
	for id := range l.begun {
		delete(o.ids, id)
	}
	o.listing = nil
	close(l.done)
}

// begins notes that a connection has been answered with SYN and ACK: our rules
// mark it there, and an event of one that we have not marked does not come.
func (o *olderConnections) begins(id uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.listing != nil {
		o.listing.begun[id] = struct{}{}
	}
}

// started reports whether a connection that is met now is seen from its first
// byte on. What earlier daemons have seen is taken back before; a connection
// that the tracker picked up in the middle, or that was restored, shows it.
func (w *worker) started(e *expect.Entry) bool {
	if w == w.g.orphans || e.Liberal {
		return false
	}
	o := &w.g.older
	o.mu.Lock()
	defer o.mu.Unlock()
	if l := o.listing; l != nil {
		o.mu.Unlock()
		w.g.events.Drain(w.heard)
		o.mu.Lock()
		if _, begun := l.begun[e.ID]; begun {
			return true
		}
		o.mu.Unlock()
		select {
		case l.wanted <- struct{}{}:
		default:
		}
		<-l.done
		o.mu.Lock()
	}
	_, older := o.ids[e.ID]
	return !older && o.ids != nil
}
