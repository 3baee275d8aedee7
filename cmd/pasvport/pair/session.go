// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
)

// Session is a control connection as the pair sees it. The zero value is that of
// one of which nothing was told and nothing was learned: it is ours.
type Session struct {
	standby atomic.Bool // the other firewall had its packets last

	mu       sync.Mutex
	at       stamp
	incoming *succession.Record // what it goes on from, when its next packet comes
}

// Standby reports whether the other firewall had its packets last, as far as is
// known.
func (s *Session) Standby() bool { return s.standby.Load() }

// Learn notes what the other daemon has told, and reports whether that is newer
// than what is known here.
func (s *Session) Learn(k *Known) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !k.at.newer(s.at) {
		return false
	}
	s.at, s.incoming = k.at, &k.Record
	s.standby.Store(true)
	return true
}

// Own makes the session ours: a packet of it came. It returns what it goes on
// from; nil if there is nothing.
func (s *Session) Own() *succession.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.incoming
	s.incoming = nil
	s.at = stamp{gen: max(s.at.gen+1, uint64(time.Now().UnixMilli()))}
	s.standby.Store(false)
	return r
}

// next is the stamp of what is told next.
func (s *Session) next() stamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.gen == 0 {
		s.at.gen = uint64(time.Now().UnixMilli())
	}
	s.at.seq++
	return s.at
}

// last is the stamp of what was told or learned last.
func (s *Session) last() stamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}
