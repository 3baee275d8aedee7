// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"iter"
	"time"
)

// A content is what a set holds besides what its description says. Several sets
// may hold the same: each takes the keys of its own length.
type content uint8

const (
	keptNothing    content = iota
	keptClaims             // pinholes, as the SYN shows them before any translation
	keptForwards           // pinholes, as a filter chain sees them
	keptRenumbered         // connections whose sequence numbers the daemon adjusts
	keptAside              // connections that are left alone
	keptPeers              // clients of encrypted sessions, with the server that they dialled
	keptBlocked            // clients whose packets are dropped for a time
	contentKinds
)

// pinholes reports whether c are pinholes.
func (c content) pinholes() bool { return c == keptClaims || c == keptForwards }

// takes reports whether s is one of the sets that hold what has the key as c.
func (s *set) takes(c content, key *value) bool {
	return s.keeps == c && c != keptNothing && s.key.size == uint32(key.n)
}

// memory is what our sets hold besides what their descriptions say. It is put back
// with the sets when somebody has taken them away, and is what tells that somebody
// has emptied one.
type memory struct {
	kept   [contentKinds]map[value]kept
	pruned time.Time
}

// kept is what is remembered of an element.
type kept struct {
	until time.Time // zero: for as long as its set leaves it there
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

// keep remembers an element for a time, or if that is 0, until it is dropped.
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

// recall remembers an element with an end that an earlier run left in the kernel.
func (m *memory) recall(c content, e *element) {
	if e.expires > 0 && !m.has(c, e.key) {
		m.kept[c][e.key] = kept{time.Now().Add(e.expires), e.note}
	}
}

// of are the elements that are remembered for s, with the time that is left to them.
func (m *memory) of(s *set) iter.Seq[*element] {
	return func(yield func(*element) bool) {
		now := time.Now()
		for key, k := range m.kept[s.keeps] {
			e := element{key: key, note: k.note}
			if !k.until.IsZero() {
				e.timeout = k.until.Sub(now)
			}
			if !s.takes(s.keeps, &key) || e.timeout < 0 || e.timeout == 0 && !k.until.IsZero() {
				continue
			}
			if !yield(&e) {
				return
			}
		}
	}
}

// intact reports whether s holds what it should, of which something may have been
// taken out by others.
func (m *memory) intact(s *set, have map[value]element) bool {
	if s.isMap() {
		return s.holdsFixed(have)
	}
	const moment = time.Second // an element with less to live may be gone already
	some := false
	for e := range m.of(s) {
		_, ok := have[e.key]
		if !ok && s.keeps != keptAside && (e.timeout == 0 || e.timeout > moment) {
			return false
		}
		some = some || ok
	}
	// Rules, and time, take single elements out of setAside. That all are gone is
	// somebody's flush.
	return some || s.keeps != keptAside || len(m.kept[keptAside]) == 0
}

// judged reports whether it can be told that somebody took elements out of s. An
// administrator may let a blocked client in again.
func (m *memory) judged(s *set) bool {
	return s.isMap() || s.keeps != keptBlocked && len(m.kept[s.keeps]) > 0
}

// holdsFixed reports whether a set holds what its description says, and no more.
func (s *set) holdsFixed(have map[value]element) bool {
	for i := range s.fixed {
		if e, ok := have[s.fixed[i].key]; !ok || e.data != s.fixed[i].data {
			return false
		}
	}
	return len(have) == len(s.fixed)
}
