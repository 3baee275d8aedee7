// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Directions are the permitted directions of the payload of data connections, by
// the ids of their conntrack entries. They need Config.OneWay.
type Directions struct{ f *Firewall }

// Directions returns the directions of a firewall.
func (f *Firewall) Directions() Directions { return Directions{f} }

// Direct sets the direction in which payload of a data connection may pass, from
// now on. Its first packet has passed. WayUndecided is what that packet has set,
// and WayAny ends the restriction.
func (d Directions) Direct(id uint32, w Way) error {
	e := element{key: idKey(id)}
	if w == WayAny {
		return d.forget(e.key)
	}
	return d.f.change(func() {
		if w == WayUndecided {
			d.f.memory.keep(dataOf(w), &e, 0)
			return
		}
		d.remove(w, e.key)
		d.f.add(dataOf(w), &e, 0)
	})
}

// remove deletes a connection from the sets of all ways but one.
func (d Directions) remove(but Way, key value) {
	for _, w := range decided {
		if w != but {
			remove(d.f, dataOf(w), key)
		}
	}
}

// forget deletes a connection from all sets. An unknown one is not an error.
func (d Directions) forget(key value) error {
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	d.f.conn.begin(&d.f.b, 0)
	d.remove(WayAny, key)
	if d.f.b.empty() {
		return nil
	}
	if err := d.f.conn.commit(&d.f.b); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// All lists the data connections of Direct, also those of an earlier run.
func (d Directions) All() (map[uint32]Way, error) {
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	all := map[uint32]Way{}
	for _, w := range decided {
		ids, err := d.f.conn.ids(dataSet(d.f.cfg.Table, w))
		if err != nil {
			return all, err
		}
		for id := range ids {
			all[id] = w
		}
	}
	return all, nil
}

// Ended lists the data connections that were ended because of payload in the wrong
// direction.
func (d Directions) Ended() (list []uint32, err error) {
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	if !d.f.cfg.OneWay {
		return nil, nil
	}
	ids, err := d.f.conn.ids(endedSet(d.f.cfg.Table))
	for id := range ids {
		list = append(list, id)
	}
	return list, err
}

// remove forgets an element, and deletes it in the transaction of change. A
// missing one is not an error.
func remove(f *Firewall, c content, key value) {
	f.memory.drop(c, key)
	for i := range f.sets {
		if f.sets[i].takes(c, &key) {
			f.b.dropElement(&f.sets[i], key)
		}
	}
}
