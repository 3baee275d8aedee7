// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A half is one of the two keys of a pinhole: that of the claim sets, or that
// of the sets in the administrator's tables.
type half struct {
	forward bool
	src     netip.Addr
	dst     netip.AddrPort
}

// memory is what our sets hold besides what the configuration says: it is put
// back with the sets when somebody has taken them away.
type memory struct {
	open       map[half]remembered
	renumbered map[uint32]string
	aside      map[uint32]string
	peers      map[peers]struct{}
	blocked    map[netip.Prefix]time.Time // until when
	pruned     time.Time
}

type remembered struct {
	expires time.Time
	note    string
}

func newMemory() memory {
	return memory{open: map[half]remembered{}, renumbered: map[uint32]string{}, aside: map[uint32]string{}, peers: map[peers]struct{}{},
		blocked: map[netip.Prefix]time.Time{}}
}

// halves are the halves of p that are to be opened.
func (p *Pinhole) halves() (list [2]half, n int) {
	for _, h := range [2]half{{false, p.Source, p.Dest}, {true, p.Forward.Src, p.Forward.Dst}} {
		if h.src.IsValid() && h.dst.IsValid() {
			h.src, h.dst = h.src.Unmap(), netip.AddrPortFrom(h.dst.Addr().Unmap(), h.dst.Port())
			list[n] = h
			n++
		}
	}
	return list, n
}

// add remembers p for its timeout, and forgets what has expired meanwhile.
func (m *memory) add(p *Pinhole, timeout time.Duration) {
	now := time.Now()
	list, n := p.halves()
	for _, h := range list[:n] {
		m.open[h] = remembered{now.Add(timeout), p.Note}
	}
	if now.Sub(m.pruned) < time.Minute {
		return
	}
	m.pruned = now
	for h, r := range m.open {
		if now.After(r.expires) {
			delete(m.open, h)
		}
	}
}

func (m *memory) remove(p *Pinhole) {
	list, n := p.halves()
	for _, h := range list[:n] {
		delete(m.open, h)
	}
}

// recall remembers elements that an earlier run left in the kernel.
func (m *memory) recall(elements []Element) {
	now := time.Now()
	for _, e := range elements {
		h := half{e.Forward, e.Source, e.Dest}
		if _, known := m.open[h]; !known && e.Expires > 0 {
			m.open[h] = remembered{now.Add(e.Expires), e.Note}
		}
	}
}

// missing reports whether something that has more than a moment to live is
// not among elements. What is in a set that sets does not name has no place.
func (m *memory) missing(sets []set, elements []Element) bool {
	have := make(map[half]int, len(elements))
	for _, e := range elements {
		have[half{e.Forward, e.Source, e.Dest}]++
	}
	soon := time.Now().Add(time.Second)
	for h, r := range m.open {
		want := 0
		for i := range sets {
			if sets[i].holds(h) {
				want++
			}
		}
		if r.expires.After(soon) && have[h] < want {
			return true
		}
	}
	return false
}

// holds reports whether h belongs into s.
func (s *set) holds(h half) bool {
	return s.ip != 0 && h.forward == (s.comment != "") && h.src.Is4() == (s.ip == FamilyIPv4)
}

// maxElements keeps a message of elements well under the 64 KiB of an
// attribute.
const maxElements = 150

// addRemembered adds to b everything in m that has a place in c, and
// returns how many elements these are.
func (b *batch) addRemembered(m *memory, c Config) (n int) {
	sets := c.pinholeSets()
	now := time.Now()
	for i := range sets {
		l := listing{b: b, s: &sets[i]}
		for h, r := range m.open {
			if left := r.expires.Sub(now); left > 0 && sets[i].holds(h) {
				l.add(appendKey(nil, h.src, h.dst), left, r.note)
			}
		}
		n += l.end()
	}
	n += b.addIDs(renumberedSet(c.Table), m.renumbered)
	n += b.addIDs(asideSet(c.Table), m.aside)
	if c.hasPeers() {
		b.addPeers(m, c.Table)
	}
	if c.Block {
		b.addBlocked(m, c.Table)
	}
	return n
}

// addIDs adds conntrack ids with their notes to a set.
func (b *batch) addIDs(s set, ids map[uint32]string) int {
	l := listing{b: b, s: &s}
	for id, note := range ids {
		l.add(idKey(nil, id), 0, note)
	}
	return l.end()
}

// addPeers adds to b the pairs of addresses in m.
func (b *batch) addPeers(m *memory, table string) {
	for _, ip := range []Family{FamilyIPv4, FamilyIPv6} {
		s := peerSet(table, ip)
		l := listing{b: b, s: &s}
		for p := range m.peers {
			if p.client.Is4() == (ip == FamilyIPv4) {
				l.add(p.key(nil), 0, "")
			}
		}
		l.end()
	}
}

// A listing adds elements to a set, many in one message.
type listing struct {
	b        *batch
	s        *set
	list     int
	n, total int
}

func (l *listing) add(key []byte, timeout time.Duration, note string) {
	l.begin()
	l.b.buf = appendElement(l.b.buf, key, 0, timeout, note)
	l.added()
}

// begin has the message of the next element begun.
func (l *listing) begin() {
	if l.n == 0 {
		l.b.open(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, l.s.family, "add elements to", l.s.words())
		l.b.buf = appendString(l.b.buf, unix.NFTA_SET_ELEM_LIST_TABLE, l.s.table)
		l.b.buf = appendString(l.b.buf, unix.NFTA_SET_ELEM_LIST_SET, l.s.name)
		l.b.buf, l.list = openNest(l.b.buf, unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	}
}

// added counts an element that was appended.
func (l *listing) added() {
	if l.n++; l.n == maxElements {
		l.end()
	}
}

// end ends the message in progress, and returns how many elements were added
// in all.
func (l *listing) end() int {
	if l.n > 0 {
		l.b.buf = closeAttr(l.b.buf, l.list)
		l.b.done()
	}
	l.total, l.n = l.total+l.n, 0
	return l.total
}
