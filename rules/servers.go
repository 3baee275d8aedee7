// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"slices"
)

// find returns the virtual server whose map has this name.
func (c *Config) find(mapName string) *VirtualServer {
	for i := range c.VirtualServers {
		if c.VirtualServers[i].mapName() == mapName {
			return &c.VirtualServers[i]
		}
	}
	return nil
}

// errSlots means that the caller does not know the latest configuration.
var errSlots = errors.New("no virtual server of that name and number of slots")

// Spread assigns the slots of a virtual server to servers, in one transaction.
// Existing connections stay where they are. If someone has deleted our table, it
// is put back with them.
func (f *Firewall) Spread(v VirtualServer) error {
	if err := v.validate(); err != nil {
		return err
	}
	name, found := v.mapName(), false
	err := f.change(func() {
		// A new list: copies of the configuration share the old one.
		f.cfg.VirtualServers = slices.Clone(f.cfg.VirtualServers)
		to := f.cfg.find(name)
		if found = to != nil && len(to.Slots) == len(v.Slots); !found {
			return
		}
		to.Slots, to.Parked = v.Slots, v.Parked
		s := serverMap(f.cfg.Table, to)
		for i := range f.sets {
			if f.sets[i].fullName == s.fullName {
				f.sets[i] = s
			}
		}
		if f.installed {
			f.b.flushSet(&s)
			f.b.addElements(&s, s.fixedElements())
		}
	})
	if err == nil && !found {
		err = &OpError{Op: "put servers into", Object: name, Err: errSlots}
	}
	return err
}

// Parked lists the servers of a virtual server that an earlier run left without a
// slot.
func (f *Firewall) Parked(v VirtualServer) (parked []Parked, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := serverMap(f.cfg.Table, &v)
	err = f.conn.elements(&s, func(e *element) {
		if to, ok := e.data.asServer(); ok && e.note != "" {
			parked = append(parked, Parked{to, e.note})
		}
	})
	return parked, err
}
