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
	at  time.Time
}

// olderEvery is how often the connections are listed at the most: a ruleset
// may be flushed many times in a second.
const olderEvery = time.Second

// noteOlder takes the connections that there are now for older ones. It is
// called when our rules are in place, for the first time or again.
func (g *Gateway) noteOlder() {
	g.older.mu.Lock()
	soon := time.Since(g.older.at) < olderEvery
	g.older.mu.Unlock()
	if soon {
		return
	}
	ct, err := expect.Dial()
	if err != nil {
		g.log.Warn("conntrack netlink", "err", err)
		return
	}
	defer ct.Close()
	ids := map[uint32]struct{}{}
	err = ct.Dump(0, 0, func(e *expect.Entry) {
		if e.Status&expect.StatusExpected == 0 && g.isControl(e.Original.Dst.Port()) {
			ids[e.ID] = struct{}{}
		}
	})
	if err != nil {
		g.log.Warn("cannot list conntrack entries", "err", err)
	}
	g.older.mu.Lock()
	g.older.ids, g.older.at = ids, time.Now()
	g.older.mu.Unlock()
}

// started reports whether a connection that is met now is seen from its first
// byte on. What earlier daemons have seen is taken back before; a connection
// that the tracker picked up in the middle, or that was restored, shows it.
func (w *worker) started(e *expect.Entry) bool {
	if w == w.g.orphans || e.Liberal {
		return false
	}
	w.g.older.mu.Lock()
	defer w.g.older.mu.Unlock()
	_, older := w.g.older.ids[e.ID]
	return !older && w.g.older.ids != nil
}
