// SPDX-License-Identifier: Apache-2.0

package rules

// Control connections are in sets by the id of their conntrack entry.

// Renumber queues all packets of an established control connection, also those
// without payload, and drops them while no one listens: unadjusted they would put
// their bytes in the wrong place. id is that of its conntrack entry. The note, at
// most 120 bytes, is kept for the next run; it can be changed.
func (f *Firewall) Renumber(id uint32, note string) error {
	return f.change(func() { f.add(keptRenumbered, &element{key: idKey(id), note: note}, 0) })
}

// Forget undoes Renumber. An unknown id is not an error.
func (f *Firewall) Forget(id uint32) error {
	_, err := f.take(keptRenumbered, idKey(id))
	return err
}

// Renumbered lists the connections of Renumber with their notes, also those
// that an earlier run left.
func (f *Firewall) Renumbered() (map[uint32]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conn.ids(renumberedSet(f.cfg.Table))
}

// LeaveAlone stops queueing packets of a control connection. id is that of its
// conntrack entry. The note, at most 120 bytes, says why, and is kept for the
// next run.
func (f *Firewall) LeaveAlone(id uint32, note string) error {
	return f.change(func() { f.add(keptAside, &element{key: idKey(id), note: note}, 0) })
}

// TakeUp undoes LeaveAlone. An unknown id is not an error.
func (f *Firewall) TakeUp(id uint32) error {
	f.mu.Lock()
	// Without virtual servers no rule adds an element, and a failed transaction
	// takes the kernel milliseconds.
	there := f.memory.has(keptAside, idKey(id)) || len(f.cfg.VirtualServers) > 0
	f.mu.Unlock()
	if !there {
		return nil
	}
	_, err := f.take(keptAside, idKey(id))
	return err
}

// LeftAlone lists the connections of LeaveAlone with their notes, also those that
// an earlier run left. One without a note is a check of a server.
func (f *Firewall) LeftAlone() (map[uint32]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	left, err := f.conn.ids(asideSet(f.cfg.Table))
	if err != nil {
		return nil, err
	}
	checks, err := f.conn.ids(checksSet(f.cfg.Table))
	for id := range checks {
		left[id] = ""
	}
	return left, err
}

// ShowAcks queues bare acknowledgements of an established control connection for
// AskedTime. id is that of its conntrack entry.
func (f *Firewall) ShowAcks(id uint32) error {
	return f.change(func() {
		s := askedSet(f.cfg.Table)
		f.b.renewElement(&s, &element{key: idKey(id)})
	})
}

// ids reads a set of conntrack ids. A set that does not exist is empty.
func (c *conn) ids(s set) (map[uint32]string, error) {
	ids := map[uint32]string{}
	err := c.elements(&s, func(e *element) {
		if id, ok := e.key.asID(); ok {
			ids[id] = e.note
		}
	})
	return ids, err
}
