// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"slices"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// holdTime is how long a half line may wait for its rest before it is dropped, so
// that its sender retransmits it in one piece. It is well under the shortest
// retransmission time (200 ms on Linux).
const holdTime = 40 * time.Millisecond

// maxHeld is how many segments of one direction may be held, and maxWaiting how
// many of all sessions of a queue: held packets take up room in the kernel's
// queue. Above that a half line is dropped at once.
const (
	maxHeld    = 64
	maxWaiting = 1024
)

// shelf has the packets of a queue that wait for the rest of a line. The zero value
// is empty.
type shelf struct {
	lines   map[halfLine]*held
	waiting int // how many packets
}

// halfLine is one direction of a session.
type halfLine struct {
	session *session.Session
	d       ftpalg.Direction
}

// held are packets that wait.
type held struct {
	since   time.Time
	packets []heldPacket
}

// heldPacket is a copy of a queued packet whose verdict is due.
type heldPacket struct {
	id   uint32
	data []byte
}

// put keeps a packet until its line is complete, and reports whether there is
// room for it.
func (s *shelf) put(l halfLine, p *nfq.Packet, now time.Time) bool {
	h := s.lines[l]
	if s.waiting >= maxWaiting || h != nil && len(h.packets) >= maxHeld {
		return false
	}
	if h == nil {
		if s.lines == nil {
			s.lines = map[halfLine]*held{}
		}
		h = &held{since: now}
		s.lines[l] = h
	}
	h.packets = append(h.packets, heldPacket{p.ID, slices.Clone(p.Data)})
	s.waiting++
	return true
}

// take removes and returns what is held of a line, in the order of arrival.
func (s *shelf) take(l halfLine) []heldPacket {
	h := s.lines[l]
	if h == nil {
		return nil
	}
	delete(s.lines, l)
	s.waiting -= len(h.packets)
	return h.packets
}

// has reports whether something of a session is held.
func (s *shelf) has(of *session.Session) bool {
	if len(s.lines) == 0 {
		return false
	}
	return s.lines[halfLine{of, ftpalg.Original}] != nil || s.lines[halfLine{of, ftpalg.Reply}] != nil
}

// deadline returns when the first packet has been held for too long; zero: never.
func (s *shelf) deadline() (first time.Time) {
	for _, h := range s.lines {
		if first.IsZero() || h.since.Before(first) {
			first = h.since
		}
	}
	if !first.IsZero() {
		first = first.Add(holdTime)
	}
	return first
}

// overdue returns the lines that have been held for too long.
func (s *shelf) overdue(now time.Time) (list []halfLine) {
	for l, h := range s.lines {
		if now.Sub(h.since) >= holdTime {
			list = append(list, l)
		}
	}
	return list
}

// all returns the lines of which something is held.
func (s *shelf) all() (list []halfLine) {
	for l := range s.lines {
		list = append(list, l)
	}
	return list
}
