// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"iter"
	"slices"
	"time"
)

// memory is what our sets hold in addition to their descriptions. It is put back
// with the sets when someone has deleted them, and shows that someone has flushed
// one.
type memory struct {
	kept   [contentKinds]map[value]kept
	pruned time.Time
}

// kept is what is remembered of an element.
type kept struct {
	until time.Time // zero: until its set drops it
	note  string
}

func newMemory() *memory {
	m := &memory{}
	for c := range m.kept {
		m.kept[c] = map[value]kept{}
	}
	return m
}

// has reports whether an element is remembered.
func (m *memory) has(c content, key value) bool {
	_, ok := m.kept[c][key]
	return ok
}

// keep remembers an element for a time or, if that is 0, until it is dropped.
func (m *memory) keep(c content, e *element, timeout time.Duration) {
	k := kept{note: e.note}
	if timeout != 0 {
		now := time.Now()
		k.until = now.Add(timeout)
		m.prune(now)
	}
	m.kept[c][e.key] = k
}

// prune forgets what has expired.
func (m *memory) prune(now time.Time) {
	if now.Sub(m.pruned) < time.Minute {
		return
	}
	m.pruned = now
	for _, list := range m.kept {
		for key, k := range list {
			if !k.until.IsZero() && now.After(k.until) {
				delete(list, key)
			}
		}
	}
}

// drop forgets an element.
func (m *memory) drop(c content, key value) { delete(m.kept[c], key) }

// recall remembers the pinholes, the ways of data connections and the blocked
// clients that an earlier run left in sets.
func (m *memory) recall(c *conn, sets []set) error {
	for i := range sets {
		s := &sets[i]
		if !s.keeps.pinholes() && s.keeps != keptBlocked && !s.keeps.data() {
			continue
		}
		if err := c.elements(s, func(e *element) { m.recallElement(s.keeps, e) }); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) recallElement(c content, e *element) {
	switch {
	case m.has(c, e.key):
	case c.data():
		m.kept[c][e.key] = kept{}
	case e.expires > 0:
		m.kept[c][e.key] = kept{time.Now().Add(e.expires), e.note}
	}
}

// of are the elements that are remembered for s, with their remaining times.
func (m *memory) of(s *set) iter.Seq[*element] {
	return func(yield func(*element) bool) {
		now := time.Now()
		for key, k := range m.kept[s.keeps] {
			e := element{key: key, note: k.note}
			if !k.until.IsZero() {
				e.timeout = k.until.Sub(now)
			}
			expired := !k.until.IsZero() && e.timeout <= 0
			if s.takes(s.keeps, &key) && !expired && !yield(&e) {
				return
			}
		}
	}
}

// missing names the sets from which someone removed elements.
func (m *memory) missing(c *conn, sets []set) (names []string, err error) {
	for i := range sets {
		s := &sets[i]
		if !m.judges(s) {
			continue
		}
		have := map[value]element{}
		if err := c.elements(s, func(e *element) { have[e.key] = *e }); err != nil {
			return nil, err
		}
		if m.intact(s, have) {
			continue
		}
		name := "elements of " + s.kind() + " " + s.fullName
		if s.keeps.pinholes() {
			name = "elements of open pinholes"
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// judges reports whether it is certain that someone removed elements from s. An
// administrator may unblock a client.
func (m *memory) judges(s *set) bool {
	return s.isMap() || s.keeps != keptBlocked && len(m.kept[s.keeps]) > 0
}

// intact reports whether s holds what it should, or someone may have removed some
// of it.
func (m *memory) intact(s *set, have map[value]element) bool {
	if s.isMap() {
		return s.holdsFixed(have)
	}
	const moment = time.Second // an element with less to live may be gone already
	there, lost := 0, 0
	for e := range m.of(s) {
		if _, ok := have[e.key]; ok {
			there++
		} else if e.timeout == 0 || e.timeout > moment {
			lost++
		}
	}
	if s.keeps == keptAside || s.keeps.data() {
		// Rules and timeouts remove single elements. If all are gone it was
		// someone's flush.
		return there > 0 || lost == 0
	}
	return lost == 0
}

// holdsFixed reports whether a set holds exactly the elements of its description.
func (s *set) holdsFixed(have map[value]element) bool {
	for i := range s.fixed {
		if e, ok := have[s.fixed[i].key]; !ok || e.data != s.fixed[i].data {
			return false
		}
	}
	return len(have) == len(s.fixed)
}
