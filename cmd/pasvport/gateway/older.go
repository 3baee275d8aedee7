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
	mu  sync.Mutex
	ids map[uint32]struct{}

	// Until they are listed: closed in the end, told to begin at once, those that
	// were seen to begin meanwhile, and whether there are more than are being listed.
	listed chan struct{}
	wanted chan struct{}
	begun  map[uint32]struct{}
	more   bool
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
	if o.listed != nil {
		clear(o.begun) // and may not have been read since
		o.more = true
		return
	}
	ct, err := expect.Dial()
	if err != nil {
		g.log.Warn("conntrack netlink", "err", err)
		return
	}
	wanted := make(chan struct{}, 1)
	o.listed, o.wanted, o.begun = make(chan struct{}), wanted, map[uint32]struct{}{}
	go func() {
		defer ct.Close()
		select {
		case <-wanted:
		case <-time.After(olderAfter):
		}
		g.listOlder(ct)
	}()
}

func (g *Gateway) listOlder(ct *expect.Conn) {
	o := &g.older
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.more = true; o.more; {
		o.more = false
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
	for id := range o.begun {
		delete(o.ids, id)
	}
	close(o.listed)
	o.listed, o.wanted, o.begun = nil, nil, nil
}

// begins notes that a connection has been answered with SYN and ACK: our rules
// mark it there, and an event of one that we have not marked does not come.
func (o *olderConnections) begins(id uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.listed != nil {
		o.begun[id] = struct{}{}
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
	if listed, wanted := o.listed, o.wanted; listed != nil {
		o.mu.Unlock()
		w.g.events.Drain(w.heard)
		o.mu.Lock()
		if _, begun := o.begun[e.ID]; begun {
			return true
		}
		o.mu.Unlock()
		select {
		case wanted <- struct{}{}:
		default:
		}
		<-listed
		o.mu.Lock()
	}
	_, older := o.ids[e.ID]
	return !older && o.ids != nil
}
