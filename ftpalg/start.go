// SPDX-License-Identifier: Apache-2.0

package ftpalg

// Who decides where a line starts? Text that one side chose, such as a file name
// or the body of a browser's request, may look like an announcement, and the
// other side can cause it to be cut so that it starts a segment: so the start of
// a segment proves nothing. A line start is known after a line end that was seen
// in order, and at the first byte of a connection. That one is where its sender
// begins; what the receiver acknowledges may be a lie to its advantage. So both
// must agree, or the connection is not read (client), or its first line opens
// nothing (server).
//
// A line whose start is not known is read nevertheless, because its numbers may
// have to be translated, but it opens nothing; see Event.Announce.

// begin takes a segment of direction d as the first one of its stream.
func (c *streams) begin(d Direction, seq uint32, p []byte) {
	s := &c.stream[d]
	said, at, has := s.ackKnown, seq, uint32(0)
	if said {
		has = c.Acknowledgement(d, s.acked)
	}
	if s.blind && (!said || seq != has) {
		c.started = false // how it began may have passed unseen
	}
	if c.started && said && (seq-has <= farAway || len(p) == 1 && seq+1 == has) {
		at = has // what precedes the segment is missing, or it is a keep-alive probe
	}
	s.ackKnown = said && at-has+farAway <= 2*farAway
	s.known, s.next, s.sent = true, at, at
	s.proven = c.started && s.ackKnown && at == has
	s.aligned = c.started || startsLine(d, p)
	if d == Original {
		c.start, c.startSet = at, true
	}
	if d == Original && c.started {
		c.begun = s.proven
		c.unseen = c.unseen || said && !s.proven
	}
}

// startsLine reports whether bytes at an unknown position in a line look like the
// start of one.
func startsLine(d Direction, p []byte) bool {
	if d == Reply {
		return parseReply(p[:min(4, len(p))]).code != 0
	}
	i := skipTelnet(p)
	return i < len(p) && isLetter(p[i])
}

// confirm compares the observed start of the client's stream with what the server
// acknowledges of it. A server that acknowledges more than was seen, or less than
// the apparent start, reports that the client's first bytes were not seen.
func (c *streams) confirm(has uint32) {
	s := &c.stream[Original]
	if !c.started || c.begun || !s.known {
		return
	}
	if has-c.start > s.next-c.start {
		c.unseen = true
		return
	}
	c.begun = true
	s.proven = s.proven || s.lineStart() == c.start
}

// beforeStart decides on a segment from before the first byte seen of the client.
// It does no harm if its receiver has those bytes already. Otherwise the client
// did not begin where it seemed to.
func (c *streams) beforeStart(s *stream, seq uint32, p []byte) Decision {
	end := seq + uint32(len(p))
	if s.ackKnown && int32(end-c.Acknowledgement(c.cur.dir, s.acked)) <= 0 {
		return Decision{Reason: ReasonRetransmission}
	}
	c.unseen = c.unseen || c.started
	if c.judges {
		return Decision{Action: Drop, Reason: ReasonTooOld}
	}
	return Decision{Reason: ReasonRetransmission}
}

// meet reports whether a segment can belong to this connection: it starts where
// its sender is and acknowledges what the other end has sent, give or take a
// window. An attacker who knows only addresses and ports cannot send such a one.
// If the start was not seen the kernel does not compare numbers either, and the
// two ends are known once a segment of each agrees with one of the other.
func (c *streams) meet(from, of *stream, seq, has uint32) bool {
	switch {
	case c.met:
		return !from.far(seq) && !of.far(has)
	case from.far(seq) || of.far(has) || from.hintFar(seq) || of.hintFar(has):
		if c.started || len(from.edits)+len(of.edits) > 0 {
			return false
		}
		from.forgetPlace()
		of.forgetPlace()
	case of.known:
		c.met = true
	}
	return true
}

// hintFar reports whether a number is far from what was acknowledged of a stream
// of which nothing was seen.
func (s *stream) hintFar(seq uint32) bool {
	return !s.known && s.ackKnown && seq-s.acked+farAway > 2*farAway
}

// forgetPlace forgets what was seen of a stream.
func (s *stream) forgetPlace() {
	s.known, s.aligned, s.proven, s.skip, s.held, s.ackKnown = false, false, false, false, false, false
	s.line, s.taken, s.gaps, s.waits, s.abandoned = s.line[:0], 0, 0, 0, 0
}
