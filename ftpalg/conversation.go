// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// command handles a client's line.
func (c *dialogue) command(start uint32, line []byte) {
	if c.ended { // the server never closed its multi-line reply, and waits
		c.multi, c.ended = 0, false
	}
	cmd, v, arg := parseCommand(line)
	if len(line) > 0 && c.isProxyHeader(line) {
		return
	}
	if len(line) > 0 {
		c.firstLine(cmd, line)
	}
	full := c.pending.full()
	e := c.pending.push(cmd)
	e.explain = c.cur.why == ReasonTLSRequired
	if c.cur.why != ReasonPlain {
		return
	}
	if c.policy.OneWay {
		e.way = ways[v]
	}
	if c.nat64 != not64 && c.foreign == ReasonPlain {
		c.defaultPort(e, cmd, start, line)
		if c.translate(e, cmd, v, start, line, arg) {
			return
		}
	}
	if !cmd.active() {
		return
	}
	o, r := c.parseActive(cmd, start, line, arg)
	if r == ReasonPlain && c.nat64 != not64 {
		r = c.active64(o)
	}
	switch {
	case r != ReasonPlain:
	case full:
		r = ReasonTooMany
	case e.ahead && c.checks.has(CheckAnswered):
		r = ReasonPipelined
	}
	e.offer = c.offer(o, r)
}

// firstLine judges the client's lines up to the login, above all the first one. A
// program of another protocol that was made to connect to a control port, such as
// a browser, starts with words of its own.
func (c *dialogue) firstLine(cmd command, line []byte) {
	first := !c.spoken
	c.spoken = true
	switch {
	case c.started && first && cmd == cmdUnknown:
	case (c.started || cmd == cmdUnknown && !c.cur.guess) && !c.login && isRequest(line):
	default:
		return
	}
	c.notFTP(ReasonNotFTP)
}

// isRequest reports whether a client's line belongs to HTTP, or to a protocol
// modelled on it: a request that ends with the protocol's version, whatever its
// method, or a header.
func isRequest(line []byte) bool {
	line = bytes.TrimRight(line, " \t")
	word := line[bytes.LastIndexByte(line, ' ')+1:]
	for _, name := range [...]string{"HTTP/", "RTSP/", "SIP/", "ICAP/"} {
		if n := len(name); len(word) > n && len(word) < len(line) && equalFold(word[:n], name) && isDigit(word[n]) {
			return true
		}
	}
	n := 0
	for n < len(line) && (isLetter(line[n]) || n > 0 && (line[n] == '-' || isDigit(line[n]))) {
		n++
	}
	return n > 0 && n < len(line) && line[n] == ':'
}

// notFTP records that the connection is not FTP. That is final.
func (c *dialogue) notFTP(r Reason) {
	if c.foreign != ReasonPlain || !c.checks.has(CheckFirstCommand) {
		return
	}
	c.foreign = r
	c.cancel(r)
	c.events = append(c.events, Event{Kind: EventForeign, Reason: r})
	c.release(r)
}

// release reports that nothing on this connection can matter any more, if that is
// so.
func (c *dialogue) release(r Reason) {
	if !c.judges && len(c.stream[Original].edits)+len(c.stream[Reply].edits) == 0 {
		c.events = append(c.events, Event{Kind: EventReleased, Reason: r})
	}
}

// reply handles a server's line.
func (c *dialogue) reply(start uint32, line []byte) {
	r := parseReply(line)
	if c.later = c.multi != 0; c.later {
		if r.code != int(c.multi) || r.more {
			c.ended = c.ended || r.code != 0 && !r.more
			c.passive(int(c.multi), start, line, 0, false)
			return
		}
		c.multi, c.ended = 0, false
	} else {
		c.retold = c.pending.toldOf(r.code)
	}
	if r.code == 0 {
		return
	}
	if !c.answered {
		c.answered, c.greeted = true, r.code == 220 || r.code == 120 || r.code == 230
		c.login = c.login || r.code == 230 // no login is asked for
	}
	if r.more {
		c.multi, c.inside = uint16(r.code), false
		c.tell(c.retold, start, line, false)
		c.passive(r.code, start, line, 4, false)
		return
	}
	c.final(r.code, start, line)
}

// final handles the last line of a reply and finds the command that it answers.
func (c *dialogue) final(code int, start uint32, line []byte) {
	if c.passive(code, start, line, min(4, len(line)), true) {
		return
	}
	switch {
	case code < 200:
		c.pending.begin()
		return
	case code == 421: // it may answer anything (RFC 959 section 4.2.1)
		c.cancel(ReasonClosing)
	case code == 234 || code == 235:
		if c.pending.index(isAUTH) >= 0 || c.pending.many() != nil {
			c.opaque = true
			c.events = append(c.events, Event{Kind: EventOpaque, Reason: ReasonOpaque})
			return
		}
	}
	if e, ok := c.pending.answer(code); ok {
		if e.explain && code >= 400 {
			c.explain(start, line)
		}
		c.tell(c.retold, start, line, true)
		c.answer(&e, code)
	}
}

// answer handles the final reply to a command. It does not void an offer that was
// sent behind the command.
func (c *dialogue) answer(e *entry, code int) {
	if code >= 400 {
		switch {
		case e.offer:
			c.cancel(ReasonRejected)
		case e.cmd == cmdTransfer && code == 425 && !e.earlier: // no data connection (RFC 959 section 4.2.2)
			c.cancel(ReasonNoConnection)
		}
		if e.cmd == cmdTransfer { // the next one may use the same data connection
			c.way = WayUnknown
		}
		return
	}
	switch e.cmd {
	case cmdEPSVAll:
		c.epsvAll = true
	case cmdUSER: // a second one starts anew (RFC 959 section 4.1.1)
		c.greeted = c.greeted || code == 230 || code == 331
		if c.login && !e.earlier {
			c.cancel(ReasonReset)
		}
		c.login = code == 230 || code == 232
	case cmdPASS:
		c.login = c.login || code < 300
	case cmdREIN:
		c.login, c.epsvAll = false, false
		if !e.earlier {
			c.cancel(ReasonReset)
		}
	case cmdQUIT: // nothing behind it is answered
		c.cancel(ReasonQuit)
	}
}

// cancel reports that the current offer, if any, is void.
func (c *dialogue) cancel(r Reason) {
	if c.offered {
		c.offered = false
		c.events = append(c.events, Event{Kind: EventCancelled, Reason: r})
	}
}

// TransferWaits reports whether a command that opens a data connection waits for
// its final reply. What was opened for it may still be used.
func (c *dialogue) TransferWaits() bool { return c.pending.index(isTransfer) >= 0 }
