// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pasvport/pasvport/expect"
)

// Data are the data connections that conntrack knows, by their original tuple.
type Data struct {
	// Unreported says that no event reports when both ends have closed a data
	// connection: it is taken for closed when its owner has another one, and else
	// who looks at it finds out.
	Unreported atomic.Bool

	mu   sync.Mutex
	open map[expect.Tuple]connection
	live liveData
}

// connection is one data connection.
type connection struct {
	owner *Owner
	rule  *Pinhole // whose set elements are still there; nil when they are gone
	bytes [2]uint64
	count Payload // counted already
	since time.Time
	told  bool // Unanswered has returned it
	// before is the id of the entry that it has replaced, until the end of that is
	// reported.
	before uint32
}

func newData() Data {
	return Data{open: map[expect.Tuple]connection{}, live: newLiveData()}
}

// begins counts a data connection and adds it.
func (d *Data) begins(t expect.Tuple, o *Owner, p *Pinhole) *Pinhole {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.add(t, o, p)
	o.traffic.Connections++
	return before
}

// Found adds a data connection that was there before.
func (d *Data) Found(t expect.Tuple, o *Owner) { d.begins(t, o, nil) }

// Add enters a data connection. p is the pinhole that it came through, nil if
// that is not known; what is known already stays. It returns the pinhole of an
// earlier data connection with the same tuple, whose rule is still there.
func (d *Data) Add(t expect.Tuple, o *Owner, p *Pinhole) *Pinhole {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.add(t, o, p)
}

func (d *Data) add(t expect.Tuple, o *Owner, p *Pinhole) (before *Pinhole) {
	c := d.open[t]
	c.owner = o
	if _, known := d.open[t]; !known && d.Unreported.Load() {
		for before := range d.live.of[o] {
			d.live.remove(before, o)
		}
	}
	if p != nil && c.rule != p { // another connection than before
		before, c = c.rule, connection{owner: o, rule: p, before: c.before}
	}
	if o.traffic == nil {
		o.traffic = new(Traffic)
	}
	if c.since.IsZero() {
		c.since = time.Now()
	}
	d.open[t] = c
	o.traffic.last = t
	d.live.add(t, o)
	return before
}

// IsLive reports whether a data connection is open and carries bytes still.
func (d *Data) IsLive(t expect.Tuple) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, live := d.live.of[d.open[t].owner][t]
	return live
}

// Closed notes that both ends of a data connection have closed it. It returns its
// owner, nil if it is not known or was closed before, and when it was met.
func (d *Data) Closed(t expect.Tuple) (o *Owner, since time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.open[t]
	if _, live := d.live.of[c.owner][t]; !live {
		return nil, since
	}
	d.live.remove(t, c.owner)
	return c.owner, c.since
}

// drop forgets a data connection that did not come to be.
func (d *Data) drop(t expect.Tuple) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live.remove(t, d.open[t].owner)
	delete(d.open, t)
}

// replaces says that the entry with this id is about to be deleted to make place
// for another connection with the same tuple: its end is not that one's.
func (d *Data) replaces(t expect.Tuple, id uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.open[t]
	c.before = id
	d.open[t] = c
}

// isBefore reports whether an entry is the one that the connection has replaced.
func (c *connection) isBefore(e *expect.Entry) bool { return c.before != 0 && c.before == e.ID }

// ends takes a data connection out whose entry is gone. It reports whether it is
// one, and returns the pinhole whose rule is still there.
func (d *Data) ends(e *expect.Entry) (known bool, rule *Pinhole) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := e.Original
	c, known := d.open[t]
	switch {
	case !known:
		return false, nil
	case c.isBefore(e):
		c.before = 0
		d.open[t] = c
		return true, nil
	}
	delete(d.open, t)
	d.live.remove(t, c.owner)
	return true, c.rule
}

// TakeRule takes the pinhole of a data connection whose rule is not needed any
// more, nil if none.
func (d *Data) TakeRule(t expect.Tuple) *Pinhole {
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

// OwnerOf returns the owner of a data connection, nil if it is not known.
func (d *Data) OwnerOf(t expect.Tuple) *Owner {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[t].owner
}

// EachRule calls f for each data connection whose rule is still needed. f must
// not use d.
func (d *Data) EachRule(f func(expect.Tuple, *Pinhole)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for t, c := range d.open {
		if c.rule != nil {
			f(t, c.rule)
		}
	}
}

// Unanswered returns the pinholes by claim whose data connection began before a time
// and has not been answered: its SYN was dropped, here or further on. Each is
// returned once.
func (d *Data) Unanswered(before time.Time) (list []*Pinhole) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for t, c := range d.open {
		if c.rule == nil || !c.rule.Claim || c.told || !c.since.Before(before) {
			continue
		}
		c.told = true
		d.open[t] = c
		list = append(list, c.rule)
	}
	return list
}

// Count adds to an owner what its data connection has carried since it was last
// asked, and returns that. Without accounting there is nothing to add.
func (d *Data) Count(e *expect.Entry) (more Carried) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.open[e.Original]
	if !ok || !e.HasCounters || c.isBefore(e) {
		return more
	}
	traffic := c.owner.traffic
	traffic.Accounting = true
	for i := range traffic.Bytes {
		traffic.Bytes[i] += e.Bytes[i] - c.bytes[i]
	}
	more = c.owner.Carried(e)
	more.Upload -= min(more.Upload, c.count.Upload)
	more.Download -= min(more.Download, c.count.Download)
	traffic.Payload.add(more.Payload)
	c.bytes = e.Bytes
	c.count.add(more.Payload)
	d.open[e.Original] = c
	return more
}

// Waiting returns the data connection of an owner that came last, and its pinhole, if it
// was not answered yet; else nil.
func (d *Data) Waiting(o *Owner) (t expect.Tuple, p *Pinhole) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o.traffic == nil {
		return t, nil
	}
	c := d.open[o.traffic.last]
	if c.owner != o {
		return t, nil
	}
	return o.traffic.last, c.rule
}

// Knows reports whether a data connection is known.
func (d *Data) Knows(t expect.Tuple) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, known := d.open[t]
	return known
}

// TakeLast takes the data connection of an owner that came last, and reports
// whether there is one that was not taken before.
func (d *Data) TakeLast(o *Owner) (t expect.Tuple, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o.traffic == nil || o.traffic.last == (expect.Tuple{}) {
		return t, false
	}
	t, o.traffic.last = o.traffic.last, expect.Tuple{}
	return t, true
}

// Traffic returns what an owner's data connections have carried.
func (d *Data) Traffic(o *Owner) Traffic {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o.traffic == nil {
		return Traffic{}
	}
	return *o.traffic
}

// Tuples returns all data connections.
func (d *Data) Tuples() []expect.Tuple {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.open))
}
