// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// Session is a control connection as the pair sees it. The zero value is a
// session of which nothing was sent and nothing was learned: it is ours. Without
// a pair it is nil, which is ours, too.
type Session struct {
	// Told, Late and Refresh belong to the reader of the session: what was sent
	// to the other firewall at once, whether the rest has to be sent, and whether
	// the timeout of the entry has to be set again, and whether lines may pass unread.
	Told                 Told
	Late, Refresh, Rests bool
	// Promise belongs to the reader, too: what the other daemon must have before bytes that
	// were absorbed are acknowledged to their sender.
	Promise Receipt
	// Mark belongs to the reader, too: packets before this mark of its queue may have
	// been queued before its entry was made; zero: none have.
	Mark uint32
	page *page // belongs to the reader, too: the last one that was written, or nil
	// Shown says that the other firewall is to be told of what no packet shows.
	Shown atomic.Bool

	standby  atomic.Bool // the other firewall saw its last packets
	due      atomic.Bool // there is an incoming
	finished atomic.Bool // see Pair.Ended

	mu       sync.Mutex
	at       stamp
	fresh    bool   // an earlier daemon crashed, and no packet has come since
	again    bool   // the other firewall must receive it again
	incoming []byte // the record that it continues from, when its next packet comes; nil: none
}

// Told is what the other firewall must know of a session at once.
type Told struct {
	Mark ftpalg.Mark
	Hole *pinhole.Pinhole
	Left succession.Left
	Own  [2]ftpalg.Adjustment // of the daemon's own
}

// Urgent reports whether the other firewall, which was told before, must know t at once.
// That a pinhole was used it may learn a moment later: the data connection's own client
// alone could use what it would open meanwhile, and for no longer than the pinhole had.
func (t Told) Urgent(before Told) bool {
	hole := t.Hole != before.Hole && (t.Hole != nil || before.Hole.State() != pinhole.Used)
	return hole || t.Mark != before.Mark || t.Left != before.Left || t.Own != before.Own
}

// Standby reports whether the other firewall saw its last packets, as far as is
// known.
func (s *Session) Standby() bool { return s != nil && s.standby.Load() }

// GoesOn reports whether Own must precede the next packet of the session.
func (s *Session) GoesOn() bool { return s != nil && (s.standby.Load() || s.due.Load()) }

// Begin makes a new session one of the other firewall, of which k is known.
func (s *Session) Begin(k *Known) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(k)
	s.standby.Store(true)
}

// Learn records a report of the other daemon, and reports whether it is newer
// than what is known here. A report that this machine itself once sent shows a
// session that survived a crash of our daemon how it continues; it remains ours.
func (s *Session) Learn(k *Known) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !k.at.newer(s.at):
		return false
	case !k.ours:
		s.standby.Store(true)
	case !s.standby.Load() && !s.fresh: // our clock was set back meanwhile
		s.at = stamp{gen: k.at.gen + 1}
		s.again = true
		return false
	}
	s.take(k)
	return true
}

// take makes the session continue from what is known. s.mu is held.
func (s *Session) take(k *Known) {
	s.at, s.incoming = k.at, k.raw
	s.due.Store(true)
}

// Continues is what the session continues from when its next packet comes; nil:
// nothing that it does not know itself.
func (s *Session) Continues() *succession.Record {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record()
}

// record is the record that the session continues from, or nil. s.mu is held.
func (s *Session) record() *succession.Record {
	if r, err := succession.ParseRecord(s.incoming); err == nil {
		return &r
	}
	return nil
}

// Own makes the session ours: a packet of it came. It returns what the session
// continues from, or nil. Everything must be sent again. The caller reads the
// session.
func (s *Session) Own() *succession.Record {
	s.Told = Told{}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.record()
	s.incoming, s.fresh = nil, false
	s.due.Store(false)
	s.at = stamp{gen: max(s.at.gen+1, uint64(time.Now().UnixMilli()))}
	s.standby.Store(false)
	return r
}

// Again reports whether the other firewall must receive the session again
// although nothing has changed, and clears that.
func (s *Session) Again() (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again, s.again = s.again, false
	return again
}

// Stamp is what the next daemon needs to keep reporting; nil if it must learn
// from the other firewall how the session continues.
func (s *Session) Stamp() *succession.Stamp {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.standby.Load() || s.incoming != nil || s.at.gen == 0 {
		return nil
	}
	return &succession.Stamp{Gen: s.at.gen, Seq: s.at.seq}
}

// inherit begins with what was handed over, or with a stamp older than all that
// are sent.
func (s *Session) inherit(told *succession.Stamp) stamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = stamp{seq: 1}
	if s.fresh = told == nil; !s.fresh {
		s.at = stamp{told.Gen, told.Seq + 1}
	}
	return s.at
}

// next is the stamp of the next report. before is called for the first one, and returns
// the generation of what was known before it.
func (s *Session) next(before func() uint64) stamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.gen == 0 {
		s.at.gen = max(uint64(time.Now().UnixMilli()), before()+1)
	}
	s.fresh = false
	s.at.seq++
	return s.at
}

// retold is the page of a session that waits for its first packet, newer than what was told
// of it; nil if that has come, whose reports are newer, or if the other firewall saw the
// last ones.
func (s *Session) retold(b *book, original expect.Tuple) *page {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.standby.Load() {
		return nil
	}
	return b.retell(original)
}

// last is the stamp of the last report that was sent or learned.
func (s *Session) last() stamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}
