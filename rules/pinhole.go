// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A Pinhole is the permission for one data connection as the two places that
// look for it see it. A half that is the zero value is not opened.
type Pinhole struct {
	// Source and Dest are the addresses of the connection's SYN in
	// prerouting, before any translation: the key of the claim sets.
	Source netip.Addr
	Dest   netip.AddrPort

	// Forward is what a filter chain sees, after destination translation
	// and before that of the source: the key of the sets in the
	// administrator's tables.
	Forward struct {
		Src netip.Addr
		Dst netip.AddrPort
	}

	// Timeout closes the pinhole in any case; 0 is Config.PinholeTimeout.
	Timeout time.Duration

	// Note is kept with the elements as their comment, at most 120 bytes.
	// Elements gives it back, also to the next run.
	Note string
}

// OpenPinhole adds p to the sets that are there for it, in one transaction. A
// pinhole that is open already is open for its timeout again. It does nothing
// where the configuration has no set for p. Where somebody has taken our table
// away, it is put back with p.
func (f *Firewall) OpenPinhole(p Pinhole) error {
	return f.change(func() {
		f.memory.add(&p, cmp.Or(p.Timeout, f.cfg.PinholeTimeout))
		for i := range f.sets {
			if f.setKey(&f.sets[i], &p) {
				// A kernel before 6.12 does not renew the timeout of an element,
				// and none deletes one that is not there. So: add, delete, add.
				f.element(unix.NFT_MSG_NEWSETELEM, &f.sets[i], 0, "")
				f.element(unix.NFT_MSG_DELSETELEM, &f.sets[i], 0, "")
				f.element(unix.NFT_MSG_NEWSETELEM, &f.sets[i], p.Timeout, p.Note)
			}
		}
	})
}

// ClosePinhole takes p out of all sets. What is not there is not missed.
func (f *Firewall) ClosePinhole(p Pinhole) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.memory.remove(&p)
	err := f.closeIn(f.sets, &p)
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	// The administrator has flushed a set; the others are to be closed still.
	err = nil
	for i := range f.sets {
		e := f.closeIn(f.sets[i:i+1], &p)
		if e != nil && !errors.Is(e, unix.ENOENT) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// closeIn takes p out of sets in one transaction.
func (f *Firewall) closeIn(sets []set, p *Pinhole) error {
	f.conn.begin(&f.b, 0)
	for i := range sets {
		if f.setKey(&sets[i], p) {
			f.element(unix.NFT_MSG_NEWSETELEM, &sets[i], 0, "")
			f.element(unix.NFT_MSG_DELSETELEM, &sets[i], 0, "")
		}
	}
	if f.b.empty() {
		return nil
	}
	return f.conn.commit(&f.b)
}

// setKey makes f.key the key of p in s, and reports whether p belongs there.
func (f *Firewall) setKey(s *set, p *Pinhole) bool {
	src, dst := p.Forward.Src, p.Forward.Dst
	if s.comment == "" {
		src, dst = p.Source, p.Dest
	}
	if !src.IsValid() || !dst.IsValid() {
		return false
	}
	src, dst = src.Unmap(), netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	if src.Is4() != dst.Addr().Is4() || src.Is4() != (s.ip == FamilyIPv4) {
		return false
	}
	f.key = appendKey(f.key[:0], src, dst)
	return true
}

// element adds or deletes the element f.key of s.
func (f *Firewall) element(msg uint16, s *set, timeout time.Duration, note string) {
	b, op, flags := &f.b, "open pinhole in", uint16(unix.NLM_F_CREATE)
	if msg == unix.NFT_MSG_DELSETELEM {
		op, flags = "close pinhole in", 0
	}
	b.open(msg, flags, s.family, op, s.fullName)
	b.buf = appendString(b.buf, unix.NFTA_SET_ELEM_LIST_TABLE, s.table)
	b.buf = appendString(b.buf, unix.NFTA_SET_ELEM_LIST_SET, s.name)
	var list int
	b.buf, list = openNest(b.buf, unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	b.buf = appendElement(b.buf, f.key, 0, timeout, note)
	b.buf = closeAttr(b.buf, list)
	b.done()
}

// An Element is an open pinhole as the kernel holds it.
type Element struct {
	Family     Family // of the table
	Table, Set string
	Source     netip.Addr
	Dest       netip.AddrPort
	Timeout    time.Duration // 0: the set's
	Expires    time.Duration // how long from now
	Forward    bool          // in an administrator's table: Source and Dest are those of Pinhole.Forward
	Note       string
}

// Elements lists the open pinholes of all our sets. Sets that somebody has
// deleted hold none.
func (f *Firewall) Elements() ([]Element, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.elements()
}

func (f *Firewall) elements() ([]Element, error) {
	var all []Element
	for _, s := range f.sets {
		query := appendString(nil, unix.NFTA_SET_ELEM_LIST_TABLE, s.table)
		query = appendString(query, unix.NFTA_SET_ELEM_LIST_SET, s.name)
		err := f.conn.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, s.family, query, func(_ Family, body []byte) {
			all = appendElements(all, s, body)
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return all, &OpError{Op: "list set", Object: s.words(), Err: err}
		}
	}
	return all, nil
}

// appendElements reads the elements of one message of a dump.
func appendElements(all []Element, s set, body []byte) []Element {
	for typ, list := range attrs(body) {
		if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for _, elem := range attrs(list) {
			e, ok := parseElement(elem)
			if !ok {
				continue
			}
			e.Family, e.Table, e.Set, e.Forward = s.family, s.table, s.name, s.comment != ""
			all = append(all, e)
		}
	}
	return all
}

func parseElement(b []byte) (e Element, ok bool) {
	for typ, v := range attrs(b) {
		switch {
		case typ == unix.NFTA_SET_ELEM_KEY:
			for _, key := range attrs(v) {
				e.Source, e.Dest, ok = parseKey(key)
			}
		case typ == unix.NFTA_SET_ELEM_TIMEOUT && len(v) == 8:
			e.Timeout = milliseconds(v)
		case typ == unix.NFTA_SET_ELEM_EXPIRATION && len(v) == 8:
			e.Expires = milliseconds(v)
		case typ == unix.NFTA_SET_ELEM_USERDATA:
			e.Note, _ = udataString(v, udataElemComment)
		}
	}
	return e, ok
}

// milliseconds reads a time as the kernel has it.
func milliseconds(v []byte) time.Duration {
	if len(v) != 8 {
		return 0
	}
	return time.Duration(binary.BigEndian.Uint64(v)) * time.Millisecond
}
