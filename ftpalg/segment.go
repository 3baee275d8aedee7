// SPDX-License-Identifier: Apache-2.0

package ftpalg

// Segment handles a segment of the connection and decides what to do with it.
func (c *Conn) Segment(seg *Segment) Decision {
	c.now, c.events, c.read, c.ends = seg.Time, c.events[:0], c.read[:0], c.ends[:0]
	c.failed = c.failed[:0]
	dec := c.segment(seg)
	if c.policy.Watch {
		dec = Decision{Reason: dec.Reason}
	}
	dec.Events, dec.Lines = c.events, Lines{c.read, c.ends, c.failed}
	return dec
}

func (c *Conn) segment(seg *Segment) Decision {
	d, seq, p := seg.Dir, seg.Seq, seg.Payload
	c.cur.dir, c.cur.seq, c.cur.p, c.cur.parts = d, seq, p, c.cur.parts[:0]
	c.cur.back, c.cur.blank, c.cur.undoable, c.cur.ending = 0, false, false, seg.Ending
	if seg.Acks && !c.received(opposite(d), seq, seg.Ack) {
		return Decision{Action: Drop, Reason: ReasonFarAway}
	}
	if len(p) == 0 {
		return Decision{}
	}
	s := &c.stream[d]
	if c.opaque {
		return Decision{Reason: ReasonOpaque}
	}
	if !s.known {
		c.begin(d, seq, p)
	}
	c.passedAhead(s)
	if c.goesAhead(s, seq, p) {
		return Decision{Reason: ReasonAhead}
	}
	seen, answer, known := c.place(s, seq, p)
	if c.unseen {
		c.notFTP(ReasonStartUnseen)
	}
	if known {
		return answer
	}
	if c.mustWait(s, p[seen:]) {
		if seen > 0 && !s.held {
			// What was seen before is forwarded, on its own: it may be the very
			// edit that the rest waits for. Its acknowledgement will come, so
			// this does not count as waiting in vain.
			s.waits -= min(s.waits, 1)
			return Decision{Reason: ReasonInFlight}
		}
		return c.ask(ReasonInFlight)
	}
	if c.mustAdjust64(s, p[seen:]) {
		return Decision{Action: Drop, Reason: ReasonNoAdjust, Adjust: true}
	}
	if !s.held {
		s.sent = s.next - s.taken
	}
	p = p[seen:]
	switch readable := c.remember(s, p); {
	case len(readable) == len(p):
		return c.joinAhead(s, c.fresh(s, p, answer.Reason))
	case len(readable) > 0:
		dec := c.fresh(s, readable, answer.Reason)
		if dec.Action == Hold { // its end must not be forwarded if its start is not
			s.abandon()
			dec.Action = Drop
		}
		return dec
	}
	// More bytes are in flight than can be compared; the receiver is asked what
	// it has.
	return c.ask(ReasonInFlight)
}

// place finds out how many bytes of a segment were seen before. If none of it has
// to be read, known is true and the answer is the decision on it.
func (c *streams) place(s *stream, seq uint32, p []byte) (seen int32, answer Decision, known bool) {
	seen = int32(s.next - seq)
	switch d := c.cur.dir; {
	case s.far(seq) && c.met:
		return seen, Decision{Action: Drop, Reason: ReasonFarAway}, true
	case s.floorSet && int32(seq-s.floor) < 0:
		return seen, Decision{Action: Drop, Reason: ReasonTooOld}, true
	case d == Original && c.startSet && int32(seq-c.start) < 0:
		return seen, c.beforeStart(s, seq, p), true
	case seen > 0 && c.checks.has(CheckRepeats) && !s.history.same(seq, p[:min(int(seen), len(p))]):
		// A keep-alive probe is answered, but its byte is not forwarded.
		if c.cur.blank = s.history.probe(seq, p); c.cur.blank {
			return seen, Decision{Reason: ReasonChanged}, true
		}
		return seen, Decision{Action: Drop, Reason: ReasonChanged}, true
	case seen >= int32(len(p)) && s.held && int32(seq+uint32(len(p))-s.sent) > 0:
		return seen, Decision{Action: Drop, Reason: ReasonHeldTwice}, true
	case seen >= int32(len(p)):
		s.gaps = 0 // its sender does not know that it arrived, and even less of what follows
		return seen, Decision{Reason: ReasonRetransmission}, true
	case seen >= 0:
		return seen, Decision{}, false
	case s.blind:
		c.started = c.started && c.spoken // how it began may have passed unseen
		c.resync(s, seq)
		s.aligned = startsLine(c.cur.dir, p)
	case c.policy.Watch: // it has passed already
		c.resync(s, seq)
		s.aligned = startsLine(c.cur.dir, p)
	case !c.pass(s, seq):
		if s.insists(seq, c.now) {
			return seen, c.ask(ReasonGap), true
		}
		return seen, Decision{Action: Drop, Reason: ReasonGap}, true
	}
	return 0, Decision{Reason: ReasonResync}, false
}

// fresh reads bytes that were not seen before.
func (c *Conn) fresh(s *stream, p []byte, reason Reason) Decision {
	s.gaps, s.waits, s.blind = 0, 0, false
	s.forgetOld()
	c.startSet = c.startSet && c.stream[Original].next-c.start <= old
	c.giveBack(s)
	for p = c.stepOverProxy(s, p); len(p) > 0 && !c.opaque; {
		if !s.isDenied() {
			c.cur.why = ReasonPlain
		}
		c.denyEarly(s, p)
		c.cur.guess = !s.proven || !c.met
		line, start, n, ok := s.cut(p)
		p = p[n:]
		if ok {
			c.readLine(start, line)
		} else if s.long {
			reason = ReasonLineTooLong
			c.firstLine(cmdUnknown, nil)
		}
	}
	return c.end(s, reason)
}

// end decides on a segment by the line in progress at its end: a line that may
// have to be edited must not be forwarded in part.
func (c *Conn) end(s *stream, reason Reason) Decision {
	switch {
	case !c.mayEdit(s):
	case !c.alone(s):
		// The segment has an edit, or will have one when its offer is announced.
		// The kernel cannot adjust for another one after it in the same flight:
		// the start of the line is cut off, and will be retransmitted.
		s.unread()
	case c.nat64.translates() && c.cutFront(s):
	case s.tired() && c.cur.ending && !(c.cur.dir == Original && c.mayBeDenied(s.line, false)):
		// The line may never be completed. Its FIN has not waited for it: if the
		// line were absorbed, the FIN, as its receiver has it, would be beyond
		// all that the kernel knows, and acknowledgements of it invalid.
	case s.tired() && c.takeIn(s):
		return Decision{Reason: ReasonPieces}
	case s.tired() && c.mustAdjust(s):
		s.abandon()
		return Decision{Action: Drop, Reason: ReasonPartial, Adjust: true}
	case !s.tired() || c.cur.dir == Original && c.mayBeDenied(s.line, false):
		// A denied command must not slip through in parts.
		s.held = true
		return Decision{Action: Hold, Reason: ReasonPartial}
	}
	if s.aligned && !s.skip {
		c.refuseTelnet(s.lineStart(), s.line)
	}
	release := s.held
	s.held = false
	return Decision{Release: release, Reason: reason}
}

// mayEdit reports whether the text of the line in progress may have to change, so
// that it must not be forwarded in parts.
func (c *Conn) mayEdit(s *stream) bool {
	p := c.policy
	nat := c.ep.NAT() || p.Advertise != nil || p.MapPorts.High != 0
	if p.Watch || len(s.line) == 0 || !s.aligned || s.skip || s.isDenied() {
		return false
	}
	switch {
	case c.cur.dir == Original && c.mayBeDenied(s.line, false):
		return true
	case c.cur.dir == Reply && c.pending.explains():
		return true
	}
	b := plain(s.line)
	switch {
	case len(b) == 0:
		return false
	case c.mayTranslate(b):
		return true
	case c.cur.dir == Original:
		return (nat || p.Repair >= RepairPrivate) && mayBeOffer(b)
	case !nat && !c.nat64.translates() && p.Repair == RepairNone || c.checks.has(CheckAsked) && !c.pending.asks():
		return false
	}
	return isPassiveCode(int(c.multi)) || c.multi == 0 && mayBePassiveReply(b)
}

// Abandon reports that the segments held in direction d were dropped.
func (c *streams) Abandon(d Direction) {
	if s := &c.stream[d]; s.held {
		s.abandon()
	}
}

// readLine reads a line, without the Telnet commands before it, so that their
// length never changes; they contain the urgent data.
func (c *Conn) readLine(start uint32, line []byte) {
	c.refuseTelnet(start, line)
	n := skipTelnet(line)
	start, line = start+uint32(n), line[n:]
	c.cur.telnet = nil
	if text := plain(line); len(text) != len(line) {
		c.cur.telnet, line = line, text
	}
	if c.foreign == ReasonPlain {
		c.read = append(c.read, line...)
		c.ends = append(c.ends, len(c.read))
		c.failed = append(c.failed, c.cur.why != ReasonPlain && !c.policy.Watch)
	}
	if c.cur.dir == Original {
		c.command(start, line)
	} else {
		c.reply(start, line)
	}
	c.noteWay()
}

// remember records fresh bytes, and returns those that may be forwarded: no more
// than can be compared with a retransmission.
func (c *streams) remember(s *stream, p []byte) []byte {
	if !c.checks.has(CheckRepeats) || c.policy.Watch {
		return p
	}
	flying := 0
	if s.ackKnown {
		flying = max(0, int(int32(s.next-c.Acknowledgement(c.cur.dir, s.acked))))
		p = p[:min(len(p), max(0, maxHistory-flying))]
	}
	if s.history == nil {
		s.history = new(history)
	}
	s.history.grow(flying + len(p))
	s.history.add(s.next, p)
	return p
}
