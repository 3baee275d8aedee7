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

// Data are the data connections in conntrack, by their original tuple.
type Data struct {
	// Unreported says that no event reports when both ends have closed a data
	// connection: it counts as closed when its owner has another one, or when
	// someone looks at it and finds out.
	Unreported atomic.Bool

	mu   sync.Mutex
	open map[expect.Tuple]connection
	live liveData
}

// connection is one data connection.
type connection struct {
	owner *Owner
	rule  *Pinhole // whose set elements still exist; otherwise nil
	bytes [2]uint64
	count Payload // counted so far
	since time.Time
	told  bool // Unanswered has returned it
	// before is the id of the entry that it has replaced, until the end of that
	// is reported.
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

// Found adds an existing data connection.
func (d *Data) Found(t expect.Tuple, o *Owner) { d.begins(t, o, nil) }

// Add enters a data connection. p is the pinhole that it came through, or nil if
// unknown; what is already known stays. It returns the pinhole of an earlier data
// connection with the same tuple, whose rule still exists.
func (d *Data) Add(t expect.Tuple, o *Owner, p *Pinhole) *Pinhole {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.add(t, o, p)
}

func (d *Data) add(t expect.Tuple, o *Owner, p *Pinhole) (before *Pinhole) {
	c := d.open[t]
	if c.owner != nil && c.owner != o { // an earlier entry of its control connection
		d.live.remove(t, c.owner)
	}
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
	o.traffic.last, o.traffic.lost = t, nil
	d.live.add(t, o)
	return before
}

// IsLive reports whether a data connection is open and may carry bytes.
func (d *Data) IsLive(t expect.Tuple) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, live := d.live.of[d.open[t].owner][t]
	return live
}

// Closed records that both ends of a data connection have closed it. It returns
// its owner, nil if it is unknown or was closed before, and when it began.
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

// drop forgets a data connection that was never established.
func (d *Data) drop(t expect.Tuple) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live.remove(t, d.open[t].owner)
	delete(d.open, t)
}

// replaces announces that the entry with this id is about to be deleted to make
// room for another connection with the same tuple: its end is not that one's.
func (d *Data) replaces(t expect.Tuple, id uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.open[t]
	c.before = id
	d.open[t] = c
}

// isBefore reports whether an entry is the one that the connection has replaced.
func (c *connection) isBefore(e *expect.Entry) bool { return c.before != 0 && c.before == e.ID }

// ends removes a data connection whose entry is gone. It reports whether it was
// one, and returns the pinhole whose rule still exists.
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
	if c.rule != nil && e.TCPState == expect.TCPStateSynSent && c.owner.traffic.last == t {
		c.owner.traffic.lost = c.rule
	}
	return true, c.rule
}

// Lost returns the last data connection of an owner, and its pinhole, if its entry was
// deleted before it was answered; otherwise nil. Its SYN may be repeated for as long as
// the pinhole would be open: conntrackd deletes entries, and makes them anew.
func (d *Data) Lost(o *Owner) (t expect.Tuple, p *Pinhole) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost(o)
}

func (d *Data) lost(o *Owner) (t expect.Tuple, p *Pinhole) {
	if o.traffic == nil || o.traffic.lost == nil || !time.Now().Before(o.traffic.lost.Until()) {
		return t, nil
	}
	return o.traffic.last, o.traffic.lost
}

// loses records that the entry of an unknown data connection, which came through p, is
// gone.
func (d *Data) loses(t expect.Tuple, p *Pinhole) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.open[t]; known {
		return
	}
	o := p.Owner
	if o.traffic == nil {
		o.traffic = new(Traffic)
	}
	o.traffic.last, o.traffic.lost = t, p
}

// forget forgets that an owner's last data connection was lost.
func (d *Data) forget(o *Owner) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o.traffic != nil {
		o.traffic.lost = nil
	}
}

// TakeRule returns the pinhole of a data connection whose rule is not needed any
// more, or nil.
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

// OwnerOf returns the owner of a data connection, or nil.
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

// Unanswered returns the pinholes whose data connection began before a time and was
// not answered, as far as events say, by that connection. Each is returned once.
func (d *Data) Unanswered(before time.Time) map[expect.Tuple]*Pinhole {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := map[expect.Tuple]*Pinhole{}
	for t, c := range d.open {
		if c.rule == nil || c.told || !c.since.Before(before) {
			continue
		}
		c.told = true
		d.open[t] = c
		list[t] = c.rule
	}
	return list
}

// Count adds to an owner what its data connection has carried since the last
// call, and returns that. Without accounting it adds nothing.
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

// Waiting returns the last data connection of an owner, and its pinhole, if it
// was not answered yet, even if its entry is gone; otherwise nil.
func (d *Data) Waiting(o *Owner) (t expect.Tuple, p *Pinhole) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t, p = d.lost(o); p != nil || o.traffic == nil {
		return t, p
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

// TakeLast returns the last data connection of an owner, and reports whether
// there is one that was not returned before.
func (d *Data) TakeLast(o *Owner) (t expect.Tuple, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o.traffic == nil || o.traffic.last == (expect.Tuple{}) {
		return t, false
	}
	t, o.traffic.last, o.traffic.lost = o.traffic.last, expect.Tuple{}, nil
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

// LiveOf returns the data connections of an owner that are open and may carry
// bytes.
func (d *Data) LiveOf(o *Owner) []expect.Tuple {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.live.of[o]))
}

// Tuples returns all data connections.
func (d *Data) Tuples() []expect.Tuple {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.open))
}
