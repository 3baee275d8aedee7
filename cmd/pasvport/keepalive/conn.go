// SPDX-License-Identifier: Apache-2.0

package keepalive

import (
	"sync"
	"time"

	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// Conn is what the segments of a control connection show of its two ends. The
// zero value has seen none. Its methods are safe for concurrent use.
type Conn struct {
	mu   sync.Mutex
	ends Ends
	used time.Time // when an end last sent something new
}

// Ends are the two ends of a control connection, by the direction of what they
// send.
type Ends [2]End

// End is what one end has sent. All numbers are the end's own, before any
// adjustment.
type End struct {
	Known  bool
	Next   uint32    // sequence number of its next byte
	Ack    uint32    // what it has acknowledged
	Window uint16    // of its last segment
	Heard  time.Time // when it last sent anything

	stamped bool
	stamp   [10]byte // its last timestamp option (RFC 7323), if stamped
}

// Note records what a segment shows.
func (c *Conn) Note(d ftpalg.Direction, p *nfq.Packet, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &c.ends[d]
	next := p.Seq + uint32(len(p.Payload))
	if e.Known && p.Seq == e.Next-1 && len(p.Payload) == 0 {
		return // a probe, ours or the end's own: the other end answers both
	}
	more := !e.Known || int32(next-e.Next) > 0
	acked := !e.Known || int32(p.Ack-e.Ack) > 0
	if more {
		e.Next = next
	}
	if acked {
		e.Ack = p.Ack
	}
	if more || acked {
		c.used = now
	}
	e.Known, e.Heard, e.Window = true, now, p.Window
	e.stamped = copy(e.stamp[:], p.Timestamps()) > 0
}

// Use records that the connection is in use, although nothing is sent on it.
func (c *Conn) Use(now time.Time) {
	c.mu.Lock()
	c.used = now
	c.mu.Unlock()
}

// Silent returns the ends of a silent connection, completed: each end has
// acknowledged everything from the other. If sequence numbers are adjusted, the
// two ends count differently, and what was not seen stays unknown. ok is false if
// the numbers of one end are unknown, for instance after a restart of the daemon
// before the next packet. used is when an end last sent something new.
func (c *Conn) Silent(adjusted bool) (ends Ends, used time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ends = c.ends
	if !adjusted {
		for d := range ends {
			ends[d].complete(&c.ends[1-d])
		}
	}
	return ends, c.used, ends[0].Known && ends[1].Known
}

// complete adds what the other end shows of e.
func (e *End) complete(other *End) {
	switch {
	case !other.Known:
	case !e.Known:
		*e = End{Known: true, Next: other.Ack, Ack: other.Next, Window: other.Window}
	default:
		e.Next = later(e.Next, other.Ack)
		e.Ack = later(e.Ack, other.Next)
	}
}

// later returns the later sequence number.
func later(a, b uint32) uint32 {
	if int32(b-a) > 0 {
		return b
	}
	return a
}
