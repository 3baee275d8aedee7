// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"net"
	"slices"
	"sync"
)

// maxWaiting is how many connections may be without a proof of the key.
const maxWaiting = 8

// door has the connections to us that have not proved the key yet, the oldest first. Of too
// many the oldest one goes that does not come from the other machine, or the oldest one: the
// other daemon proves the key at once, and who does not must not keep it out.
type door struct {
	peer string // the other machine's address

	mu      sync.Mutex
	waiting []net.Conn
}

// enter adds a connection.
func (d *door) enter(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting = append(d.waiting, c); len(d.waiting) <= maxWaiting {
		return
	}
	goes := max(0, slices.IndexFunc(d.waiting, func(c net.Conn) bool {
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		return host != d.peer
	}))
	d.waiting[goes].Close()
	d.waiting = slices.Delete(d.waiting, goes, goes+1)
}

// leave removes one that has proved the key, or has ended.
func (d *door) leave(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = slices.DeleteFunc(d.waiting, func(w net.Conn) bool { return w == c })
}
