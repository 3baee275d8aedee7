// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A Pinhole is the permission for one data connection as the places that look for
// it see it. A half that is the zero value is not opened.
type Pinhole struct {
	// Source and Dest are the addresses of the connection's SYN in prerouting,
	// before any translation: the key of the claim sets.
	Source netip.Addr
	Dest   netip.AddrPort

	// Forward is what a filter chain sees, after destination translation and
	// before that of the source: the key of the sets in the administrator's
	// tables.
	Forward struct {
		Src netip.Addr
		Dst netip.AddrPort
	}

	// First is the data connection's first packet in prerouting, before any
	// translation: the key of the sets of ways.
	First struct {
		Src netip.Addr
		Dst netip.AddrPort
	}

	// Way is the permitted direction of its payload; with WayAny First is unused.
	// Opening it again with another one affects connections that begin from then
	// on.
	Way Way

	// Timeout closes the pinhole in any case; 0 is Config.PinholeTimeout.
	Timeout time.Duration

	// Note is stored as the comment of the elements, at most 120 bytes. Elements
	// returns it, also to the next run.
	Note string
}

// A half is the part of a pinhole in one kind of sets.
type half struct {
	content content
	element element
}

// halves are the halves of p to open.
func (p *Pinhole) halves() (list [3]half, n int) {
	add := func(c content, src netip.Addr, dst netip.AddrPort) {
		if src.IsValid() && dst.IsValid() {
			key := pinholeKey(src.Unmap(), netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port()))
			list[n] = half{c, element{key: key, timeout: p.Timeout, note: p.Note}}
			n++
		}
	}
	add(keptClaims, p.Source, p.Dest)
	add(keptForwards, p.Forward.Src, p.Forward.Dst)
	if p.Way != WayAny {
		add(firstOf(p.Way), p.First.Src, p.First.Dst)
	}
	return list, n
}

// OpenPinhole adds p to its sets, in one transaction. A pinhole that is already
// open is open for its timeout again. It does nothing if the configuration has no
// set for p. If someone has deleted our table, it is put back with p.
func (f *Firewall) OpenPinhole(p Pinhole) error {
	return f.change(func() {
		list, n := p.halves()
		for i := range list[:n] {
			h := &list[i]
			for _, other := range decided {
				if h.content.way() != WayAny && other != p.Way {
					remove(f, firstOf(other), h.element.key)
				}
			}
			f.add(h.content, &h.element, cmp.Or(p.Timeout, f.cfg.PinholeTimeout))
		}
	})
}

// ClosePinhole deletes p from all sets. It is not an error if p is in none.
func (f *Firewall) ClosePinhole(p Pinhole) error {
	list, n := p.halves()
	halves := list[:n]
	for _, h := range halves {
		for _, other := range decided { // whatever it was when it was opened
			if h.content.way() != WayAny && other != p.Way {
				halves = append(halves, half{firstOf(other), h.element})
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range halves {
		f.memory.drop(halves[i].content, halves[i].element.key)
	}
	err := f.closeIn(f.sets, halves)
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	// The administrator has flushed a set; the others still have to be closed.
	err = nil
	for i := range f.sets {
		e := f.closeIn(f.sets[i:i+1], halves)
		if e != nil && !errors.Is(e, unix.ENOENT) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// closeIn deletes a pinhole from sets in one transaction.
func (f *Firewall) closeIn(sets []set, halves []half) error {
	f.conn.begin(&f.b, 0)
	for i := range sets {
		for j := range halves {
			if h := &halves[j]; sets[i].takes(h.content, &h.element.key) {
				f.b.dropElement(&sets[i], h.element.key)
			}
		}
	}
	if f.b.empty() {
		return nil
	}
	return f.conn.commit(&f.b)
}

// An Element is an open pinhole in the kernel.
type Element struct {
	Family     Family // of the table
	Table, Set string
	Source     netip.Addr
	Dest       netip.AddrPort
	Timeout    time.Duration // 0: the set's
	Expires    time.Duration // how long from now
	Forward    bool          // in an administrator's table: Source and Dest are those of Pinhole.Forward
	Note       string
	Way        Way // in the set of a way: Source and Dest are those of Pinhole.First
}

// Elements lists the open pinholes of all our sets. Deleted sets have none.
func (f *Firewall) Elements() (all []Element, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.sets {
		s := &f.sets[i]
		if !s.keeps.pinholes() {
			continue
		}
		err := f.conn.elements(s, func(e *element) {
			if src, dst, ok := e.key.asPinhole(); ok {
				all = append(all, Element{s.family, s.table, s.name, src, dst, e.timeout, e.expires, s.keeps == keptForwards, e.note, s.keeps.way()})
			}
		})
		if err != nil {
			return all, err
		}
	}
	return all, nil
}
