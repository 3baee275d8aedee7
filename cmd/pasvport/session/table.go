// SPDX-License-Identifier: Apache-2.0

package session

import (
	"encoding/binary"
	"sync"

	"github.com/pasvport/pasvport/expect"
)

// Table has the sessions of one queue. Its lock is held for a look-up only, and
// the queue's goroutine usually need not wait for it. The zero value is empty.
type Table struct {
	mu       sync.Mutex
	sessions map[key]*Session // by both directions
}

// key is a tuple in half its memory, and without a pointer.
type key [2*16 + 3*2]byte

func keyOf(t expect.Tuple) (k key) {
	a, b := t.Src.Addr().As16(), t.Dst.Addr().As16()
	copy(k[:], a[:])
	copy(k[16:], b[:])
	binary.NativeEndian.PutUint16(k[32:], t.Src.Port())
	binary.NativeEndian.PutUint16(k[34:], t.Dst.Port())
	binary.NativeEndian.PutUint16(k[36:], t.Zone)
	return k
}

func (s *Session) keys() (original, reply key) { return keyOf(s.Original()), keyOf(s.Reply()) }

// Find returns the session that has a tuple in either direction, or nil.
func (t *Table) Find(of expect.Tuple) *Session {
	k := keyOf(of)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sessions[k]
}

// Add adds a session.
func (t *Table) Add(s *Session) {
	original, reply := s.keys()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions == nil {
		t.sessions = map[key]*Session{}
	}
	t.sessions[original], t.sessions[reply] = s, s
}

// Remove removes a session and reports whether it was there.
func (t *Table) Remove(s *Session) bool {
	original, reply := s.keys()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions[original] != s {
		return false
	}
	delete(t.sessions, original)
	// A translated session may have the reply tuple of one that is over.
	if t.sessions[reply] == s {
		delete(t.sessions, reply)
	}
	return true
}

// Move takes a session with a tuple from another table, and returns it, or nil.
func (t *Table) Move(of expect.Tuple, from *Table) *Session {
	s := from.Find(of)
	if s == nil {
		return nil
	}
	// In this order, so that it is always in one of them.
	t.Add(s)
	if !from.Remove(s) { // it ended meanwhile
		t.Remove(s)
		return nil
	}
	return s
}

// All returns the sessions of the table.
func (t *Table) All() []*Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*Session, 0, len(t.sessions)/2)
	for k, s := range t.sessions {
		if original, _ := s.keys(); k == original {
			list = append(list, s)
		}
	}
	return list
}

// AnyZone returns the sessions by their original tuple without its zone. It is
// nil for those that differ only in the zone.
func (t *Table) AnyZone() map[expect.Tuple]*Session {
	all := t.All()
	by := make(map[expect.Tuple]*Session, len(all))
	for _, s := range all {
		tuple := s.Original()
		tuple.Zone = 0
		if _, twice := by[tuple]; twice {
			s = nil
		}
		by[tuple] = s
	}
	return by
}
