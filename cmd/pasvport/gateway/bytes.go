// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"maps"
	"slices"

	"github.com/pasvport/pasvport/expect"
)

// counted adds to a session what its data connection has carried since it was
// last asked. Without accounting there is nothing to add.
func (d *dataConnections) counted(e *expect.Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.open[e.Original]
	if !ok || !e.HasCounters {
		return
	}
	more := [2]uint64{e.Bytes[0] - c.bytes[0], e.Bytes[1] - c.bytes[1]}
	c.bytes = e.Bytes
	d.open[e.Original] = c
	c.session.mu.Lock()
	c.session.accounting = true
	c.session.bytes[0] += more[0]
	c.session.bytes[1] += more[1]
	c.session.mu.Unlock()
}

// tuples returns all data connections.
func (d *dataConnections) tuples() []expect.Tuple {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.open))
}

// countBytes asks the tracker what the data connections have carried. Their
// last figures come with the event of their end, minutes after the last byte.
func (g *Gateway) countBytes() {
	ct, err := expect.Dial()
	if err != nil {
		return
	}
	defer ct.Close()
	for _, t := range g.data.tuples() {
		if e, err := ct.Get(t); err == nil {
			g.data.counted(&e)
		}
	}
}
