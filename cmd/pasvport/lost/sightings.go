// SPDX-License-Identifier: Apache-2.0

package lost

import (
	"time"

	"github.com/pasvport/pasvport/expect"
)

const (
	// repeatAfter is less than the shortest retransmission time (200 ms on Linux)
	// and more than the interval of segments that are sent together.
	repeatAfter = 150 * time.Millisecond
	// maxRepeats is how often a packet that the ruleset accepted may be
	// retransmitted without an answer: it may be lost on the way.
	maxRepeats = 3
	// sightingTime is how long a packet is remembered.
	sightingTime = time.Minute
	// maxSightings limits the memory: anyone can send such packets.
	maxSightings = 4096
)

// Sightings are packets without an entry that were accepted. They belong to one
// goroutine. The zero value is empty.
type Sightings struct {
	of     map[expect.Tuple]sighting
	logged time.Time
}

type sighting struct {
	seq, ack uint32
	at       time.Time
	repeats  int
	goesOn   bool // its ends answer one another
}

// strangerRepeats is how often a packet of an unknown connection may be
// retransmitted: conntrack may see only one direction of it, or no confirmed one,
// as next to a translator, and it may be lost on its way.
const strangerRepeats = 3

// Repeated records an accepted packet. If it is a retransmission, it returns why
// accepting it cannot be expected to help.
func (s *Sightings) Repeated(c *Connection, p *Packet, now time.Time) Cause {
	seen, known := s.of[p.Tuple]
	known = known && now.Sub(seen.at) <= sightingTime
	switch {
	case c == nil && p.Bytes == 0:
		return "" // an acknowledgement may be the same as the one before
	case !known || seen.seq != p.Seq || c == nil && seen.ack != p.Ack:
		s.add(p.Tuple, sighting{seq: p.Seq, ack: p.Ack, at: now, goesOn: known && (seen.goesOn || seen.ack != p.Ack)})
		return ""
	case now.Sub(seen.at) < repeatAfter:
		return ""
	}
	seen.at = now
	seen.repeats++
	s.of[p.Tuple] = seen
	switch {
	case c == nil && (p.Confirmed || seen.goesOn || seen.repeats < strangerRepeats):
		return ""
	case !p.Confirmed: // it would have an entry if it had left this machine
		return CauseRefused
	case seen.repeats > maxRepeats:
		return CauseUnanswered
	}
	return ""
}

func (s *Sightings) add(t expect.Tuple, p sighting) {
	if len(s.of) >= maxSightings {
		for t, old := range s.of {
			if p.at.Sub(old.at) > sightingTime {
				delete(s.of, t)
			}
		}
		if len(s.of) >= maxSightings {
			clear(s.of)
		}
	}
	if s.of == nil {
		s.of = map[expect.Tuple]sighting{}
	}
	s.of[t] = p
}

// logEvery limits how often resets of unknown connections are logged: anyone can
// cause them.
const logEvery = time.Second

// Reset records that the sender of a packet gets a reset, and reports whether to
// log that. c is what is remembered of its connection, or nil.
func (s *Sightings) Reset(c *Connection, t expect.Tuple, now time.Time) (log bool) {
	delete(s.of, t)
	if c == nil && now.Sub(s.logged) < logEvery {
		return false
	}
	s.logged = now
	return true
}
