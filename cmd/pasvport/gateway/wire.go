// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// wire is what the segments of a control connection show of its two ends. It
// is kept while --keepalive or --session-idle needs it, and is guarded by the
// session's lock. All numbers are those of the end itself, before any
// adjustment.
type wire struct {
	end   [2]wireEnd // by direction of what it sends
	spoke time.Time  // when something new was last said
}

// wireEnd is what one end has sent.
type wireEnd struct {
	known  bool
	next   uint32    // sequence number of its next byte
	ack    uint32    // what it has acknowledged
	window uint16    // as in its last segment
	stamp  [10]byte  // its last timestamp option (RFC 7323), if stamped
	heard  time.Time // when it last sent anything

	stamped bool
}

// timestampOption is the kind and the length of that option.
var timestampOption = [2]byte{8, 10}

// heed takes down what a segment shows.
func (s *session) heed(d ftpalg.Direction, p *nfq.Packet, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wire == nil {
		s.wire = new(wire)
	}
	e := &s.wire.end[d]
	next := p.Seq + uint32(len(p.Payload))
	if e.known && p.Seq == e.next-1 && len(p.Payload) == 0 {
		return // a probe, ours or the end's own: both are answered by the other
	}
	if !e.known || int32(next-e.next) > 0 || int32(p.Ack-e.ack) > 0 {
		s.wire.spoke = now
	}
	if !e.known || int32(next-e.next) > 0 {
		e.next = next
	}
	if !e.known || int32(p.Ack-e.ack) > 0 {
		e.ack = p.Ack
	}
	e.known, e.heard, e.window = true, now, p.Window
	e.stamped = findTimestamp(&e.stamp, p.Options())
}

// findTimestamp copies the timestamp option, if there is one.
func findTimestamp(dst *[10]byte, options []byte) bool {
	const endOfList, noOperation = 0, 1
	for len(options) >= 2 && options[0] != endOfList {
		if options[0] == noOperation {
			options = options[1:]
			continue
		}
		n := int(options[1])
		if n < 2 || n > len(options) {
			return false
		}
		if [2]byte(options) == timestampOption {
			copy(dst[:], options[:n])
			return true
		}
		options = options[n:]
	}
	return false
}

// ends returns the wire of an idle session, completed: when nobody speaks,
// each end has acknowledged all that the other has sent. Where sequence
// numbers are adjusted the two count differently, and what was not seen stays
// unknown. ok is false if the numbers of one end are not known, as after a
// restart of the daemon before the next packet.
func (s *session) ends() (ends [2]wireEnd, spoke time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wire == nil {
		return ends, spoke, false
	}
	ends = s.wire.end
	if !s.adjusted.Load() {
		for d := range ends {
			e, other := &ends[d], ends[1-d]
			switch {
			case !other.known:
			case !e.known:
				*e = wireEnd{known: true, next: other.ack, ack: other.next, window: other.window}
			default:
				e.next = later(e.next, other.ack)
				e.ack = later(e.ack, other.next)
			}
		}
	}
	idle := s.state == expect.TCPStateEstablished
	// A segment of ours would leave by the default zone, where no entry translates it.
	return ends, s.wire.spoke, idle && ends[0].known && ends[1].known && s.zone == [2]uint16{}
}

// later is the sequence number that comes later.
func later(a, b uint32) uint32 {
	if int32(b-a) > 0 {
		return b
	}
	return a
}
