// SPDX-License-Identifier: Apache-2.0

package lost

import (
	"time"

	"github.com/pasvport/pasvport/expect"
)

// Cause is why an end gets a reset, for the log. It is empty if it gets none.
type Cause string

// The causes of a reset.
const (
	CauseAdjusted   Cause = "its sequence numbers were adjusted"
	CauseTranslated Cause = "it was translated and the tracker has forgotten how"
	CauseRefused    Cause = "the ruleset does not let it begin again"
	CauseUnanswered Cause = "no one answers"
	CauseUnknown    Cause = "the tracker does not take it up"
	CauseUnread     Cause = "its sequence numbers were not adjusted while there was no daemon"
)

// Judgement is the verdict on a packet without an entry.
type Judgement struct {
	Cause   Cause // reset its sender
	Restore bool  // recreate the entry: to the ruleset the packet would begin a new connection
}

// A Packet is a packet without an entry.
type Packet struct {
	Tuple     expect.Tuple
	Seq, Ack  uint32
	Bytes     int  // of payload
	Confirmed bool // conntrack has made an entry, and confirmed it
}

// Judge decides on a packet of a connection that conntrack has lost, or for which
// it has just created an entry midstream. c is what is remembered of the
// connection, or nil.
func (s *Sightings) Judge(c *Connection, p *Packet, now time.Time) Judgement {
	switch {
	case c != nil && c.Adjusted:
		return Judgement{Cause: CauseAdjusted}
	case c != nil && c.Translated && p.Tuple == c.Reply:
		return Judgement{Cause: CauseTranslated}
	case c != nil && p.Tuple == c.Reply:
		return Judgement{Restore: true}
	}
	return Judgement{Cause: s.Repeated(c, p, now)}
}
