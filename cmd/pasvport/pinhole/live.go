// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"maps"
	"slices"

	"github.com/pasvport/pasvport/expect"
)

// liveData are the data connections over which bytes may still go, by their
// owner. A connection that was closed stays in conntrack for minutes and is not
// live. It is guarded by the lock of Data.
type liveData struct {
	of   map[*Owner]map[expect.Tuple]struct{}
	due  map[*Owner]struct{} // whose control entry is to be looked at now
	wake chan struct{}
}

func newLiveData() liveData {
	return liveData{of: map[*Owner]map[expect.Tuple]struct{}{}, due: map[*Owner]struct{}{}, wake: make(chan struct{}, 1)}
}

func (l *liveData) add(t expect.Tuple, o *Owner) {
	if l.of[o] == nil {
		l.of[o] = map[expect.Tuple]struct{}{}
	}
	l.of[o][t] = struct{}{}
	o.transferring.Store(true)
	l.look(o)
}

func (l *liveData) remove(t expect.Tuple, o *Owner) {
	delete(l.of[o], t)
	if o != nil && len(l.of[o]) == 0 {
		delete(l.of, o)
		o.transferring.Store(false)
	}
}

// look has the control entry of an owner looked at.
func (l *liveData) look(o *Owner) {
	l.due[o] = struct{}{}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Wake returns the channel that is sent to when an owner is due.
func (d *Data) Wake() <-chan struct{} { return d.live.wake }

// Due returns and forgets the owners whose control entry is to be looked at:
// they have a new data connection, or Spoke named them.
func (d *Data) Due() []*Owner {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := slices.Collect(maps.Keys(d.live.due))
	clear(d.live.due)
	return list
}

// Spoke says that a control packet of an owner with data connections was seen.
// It may have set its entry's timeout to another value than before.
func (d *Data) Spoke(o *Owner) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live.look(o)
}

// Live returns the live data connections of an owner.
func (d *Data) Live(o *Owner) []expect.Tuple {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.live.of[o]))
}

// Ended notes that a data connection is not live any more.
func (d *Data) Ended(t expect.Tuple, o *Owner) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live.remove(t, o)
}
