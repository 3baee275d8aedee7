// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"sync"

	"github.com/pasvport/pasvport/expect"
)

// dataConnection is a data connection that is open now.
type dataConnection struct {
	session *session
	rule    *pinhole // whose set elements are still there; nil when they are gone
	bytes   [2]uint64
}

// dataConnections are found by their original tuple.
type dataConnections struct {
	mu   sync.Mutex
	open map[expect.Tuple]dataConnection
	live liveData
}

// add enters a data connection. p is the pinhole that it came through, nil if
// that is not known; what is known already stays.
func (d *dataConnections) add(t expect.Tuple, s *session, p *pinhole) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p == nil {
		p = d.open[t].rule
	}
	d.open[t] = dataConnection{session: s, rule: p, bytes: d.open[t].bytes}
	d.live.add(t, s)
}

// isLive reports whether a data connection is open and carries bytes still.
func (d *dataConnections) isLive(t expect.Tuple) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, live := d.live.of[d.open[t].session][t]
	return live
}

// closed notes that both ends of a data connection have closed it.
func (d *dataConnections) closed(t expect.Tuple) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.open[t].session; s != nil {
		d.live.remove(t, s)
	}
}

// take takes a data connection out.
func (d *dataConnections) take(t expect.Tuple) dataConnection {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.open[t]
	delete(d.open, t)
	d.live.remove(t, c.session)
	return c
}

// takeRule takes the pinhole of a data connection whose rule is not needed any
// more, nil if there is none.
func (d *dataConnections) takeRule(t expect.Tuple) *pinhole {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.open[t]
	if !ok || c.rule == nil {
		return nil
	}
	p := c.rule
	c.rule = nil
	d.open[t] = c
	return p
}

// eachRule calls f for each data connection whose rule is needed still.
func (d *dataConnections) eachRule(f func(expect.Tuple, *pinhole)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for t, c := range d.open {
		if c.rule != nil {
			f(t, c.rule)
		}
	}
}

// closeRule takes a used pinhole out of the sets of nftables. The rule must
// stand until the other end has answered: the SYN may have to be repeated.
func (g *Gateway) closeRule(p *pinhole) {
	if p == nil {
		return
	}
	if err := g.firewall.ClosePinhole(p.element); err != nil {
		g.log.Warn("cannot delete a set element", "tuple", p.expected(), "err", err)
	}
}
