// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/ftpalg"
)

// Session is a control connection as the pair sees it. The zero value is that of
// one of which nothing was told and nothing was learned: it is ours. Without a pair
// there is none, and nil is ours, too.
type Session struct {
	// Told, Late and Refresh belong to who reads the session: what the other
	// firewall was told at once, whether it is to be told of the rest, and whether
	// the timeout of the entry is to be set again.
	Told          Told
	Late, Refresh bool

	standby  atomic.Bool // the other firewall had its packets last
	finished atomic.Bool // see Pair.Ended

	mu       sync.Mutex
	at       stamp
	incoming *succession.Record // what it goes on from, when its next packet comes
}

// Told is what the other firewall must know of a session at once.
type Told struct {
	Mark  ftpalg.Mark
	Hole  *pinhole.Pinhole
	Until time.Time // when that closes
	Left  succession.Left
	Own   [2]ftpalg.Adjustment // of the daemon's own
}

// Standby reports whether the other firewall had its packets last, as far as is
// known.
func (s *Session) Standby() bool { return s != nil && s.standby.Load() }

// Learn notes what the other daemon has told, and reports whether that is newer
// than what is known here.
func (s *Session) Learn(k *Known) bool {
	if s == nil {
		return false
	}
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
// from; nil if there is nothing. Everything is to be told anew. The caller reads it.
func (s *Session) Own() *succession.Record {
	s.Told = Told{}
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
