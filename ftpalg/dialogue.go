// SPDX-License-Identifier: Apache-2.0

package ftpalg

func (c *Conn) command(start uint32, line []byte) {
	if c.ended { // the server never closed its multi-line reply, and waits
		c.multi, c.ended = 0, false
	}
	cmd, v, arg := parseCommand(line)
	c.verb = v
	c.pending.push(cmd)
	switch cmd {
	case cmdPORT:
		c.offer(c.parsePORT(start, line, arg))
	case cmdEPRT:
		c.offer(c.parseEPRT(start, line, arg))
	case cmdAUTH:
		if c.policy.DenyTLS {
			c.denyTLS(start + uint32(skipTelnet(line)))
		}
	}
}

// denied stands for AUTH in what the server is sent; no server knows it.
const denied = "XXXX"

// denyTLS replaces the verb AUTH at start.
func (c *Conn) denyTLS(start uint32) {
	r := c.replace(edit{start: start, end: start + uint32(len(denied)), text: []byte(denied)})
	if r == ReasonPlain {
		r = ReasonTLSDenied
	}
	c.events = append(c.events, Event{Kind: EventDenied, Reason: r})
}

func (c *Conn) reply(start uint32, line []byte) {
	r := parseReply(line)
	if c.multi != 0 {
		if r.code != c.multi || r.more {
			c.ended = c.ended || r.code != 0 && !r.more
			if c.multi == 227 {
				c.passive(start, line, 0, Verb227, false)
			}
			return
		}
		c.multi, c.ended = 0, false
	}
	if r.code == 0 {
		return
	}
	if r.more {
		c.multi = r.code
		if r.code == 227 {
			c.passive(start, line, 4, Verb227, false)
		}
		return
	}
	c.final(r.code, start, line)
}

// final handles the last line of a reply and finds the command it answers.
func (c *Conn) final(code int, start uint32, line []byte) {
	switch {
	case code == 227:
		c.passive(start, line, min(4, len(line)), Verb227, true)
		return
	case code == 229:
		c.passive(start, line, min(4, len(line)), Verb229, true)
		return
	case code < 200: // the transfer has begun: commands before it are answered
		if i := c.pending.index(isTransfer); i > 0 {
			c.pending.drop(i)
		}
		return
	}
	cmd, ok := c.pending.head()
	if !ok {
		return // a greeting, or a farewell
	}
	c.pending.drop(1)
	switch {
	case (cmd == cmdPORT || cmd == cmdEPRT) && code >= 400:
		c.events = append(c.events, Event{Kind: EventCancelled, Reason: ReasonRejected})
	case cmd == cmdEPSVAll && code < 300:
		c.epsvAll = true
	case cmd == cmdAUTH && (code == 234 || code == 235):
		c.opaque = true
		c.events = append(c.events, Event{Kind: EventOpaque, Reason: ReasonOpaque})
	}
}
