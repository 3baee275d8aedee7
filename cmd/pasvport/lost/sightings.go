// SPDX-License-Identifier: Apache-2.0

package lost

import (
	"time"

	"github.com/pasvport/pasvport/expect"
)

const (
	// repeatAfter is less than the shortest retransmission time (200 ms on
	// Linux) and more than the distance of segments that are sent together.
	repeatAfter = 150 * time.Millisecond
	// maxRepeats is how often a packet that the ruleset let pass may be
	// repeated without an answer: it may be lost on the way.
	maxRepeats = 3
	// sightingTime is how long a packet is remembered.
	sightingTime = time.Minute
	// maxSightings bounds the memory: anybody can send such packets.
	maxSightings = 4096
)

// Sightings are packets without an entry that were let pass. They belong to one
// goroutine. The zero value is empty.
type Sightings struct {
	of     map[expect.Tuple]sighting
	logged time.Time
}

type sighting struct {
	seq     uint32
	at      time.Time
	repeats int
}

// Repeated notes a packet that is let pass. If it comes again, it returns why
// letting it pass cannot be expected to help.
func (s *Sightings) Repeated(t expect.Tuple, seq uint32, confirmed bool, now time.Time) Cause {
	p, known := s.of[t]
	switch {
	case !known || p.seq != seq || now.Sub(p.at) > sightingTime:
		s.add(t, sighting{seq: seq, at: now})
		return ""
	case now.Sub(p.at) < repeatAfter:
		return ""
	}
	p.at = now
	p.repeats++
	s.of[t] = p
	switch {
	case !confirmed: // it had an entry if it had left this machine
		return CauseRefused
	case p.repeats > maxRepeats:
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

// logEvery bounds how often resets of connections of which nothing is remembered
// are logged: anybody can have them logged.
const logEvery = time.Second

// Reset notes that the sender of a packet gets a reset, and reports whether that
// is to be logged. c is what is remembered of its connection, or nil.
func (s *Sightings) Reset(c *Connection, t expect.Tuple, now time.Time) (log bool) {
	delete(s.of, t)
	if c == nil && now.Sub(s.logged) < logEvery {
		return false
	}
	s.logged = now
	return true
}
