// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"net/netip"
	"strconv"
)

// mayTranslate reports whether a line of the segment's direction that starts with
// b may turn out to be one that changes, or must be stopped.
func (c *dialogue) mayTranslate(b []byte) bool {
	switch {
	case c.nat64 == not64:
		return false
	case c.cur.dir == Reply:
		return c.pending.told()
	case c.nat64 == checks64:
		return mayBe("EPRT", b)
	}
	return mayBe("EPSV", b) || mayBe("ALGS", b) || mayBeOffer(b)
}

// translation returns what the server gets in place of a command, nothing if it
// stays, and what the client gets in place of the reply. The server's answer to
// NOOP becomes the client's reply, so that no packet has to be made up (RFC 6384
// section 12).
func (c *dialogue) translation(cmd command, v verb, arg []byte) (with string, t told) {
	arg = bytes.Trim(arg, skipped)
	switch {
	case c.pending.index(isAUTH) >= 0: // section 5
		return "", toldAll
	case string(v[:]) == "ALGS" && (c.nat64.translates() || c.nat64 == off64): // section 11
		return "", c.algs(arg)
	case !c.nat64.translates():
		return "", toldAll
	case cmd == cmdEPSVAll:
		return "NOOP", told504
	case cmd == cmdEPSV && (len(arg) == 0 || string(arg) == "2"): // section 6
		return "PASV", told229
	case cmd == cmdEPSV:
		return "NOOP", told522
	}
	return "", toldAll
}

// translate forwards a command in the form that the server knows, and reports
// whether nothing else has to be done about it.
func (c *dialogue) translate(e *entry, cmd command, v verb, start uint32, line []byte, arg int) bool {
	with, t := c.translation(cmd, v, line[min(arg, len(line)):])
	if with != "" && !c.replaceLine(start, line, with) {
		return false
	}
	if e.told = t; with == "NOOP" {
		e.cmd = cmdOther
	}
	c.obey(t)
	return t != toldAll
}

// defaultPort offers the default data port for a transfer for which the client
// has chosen none: the port of its control connection, which the server connects
// to from the port before its own (RFC 959 section 3.3, RFC 6384 section 8).
func (c *dialogue) defaultPort(e *entry, cmd command, start uint32, line []byte) {
	unchosen := c.unchosen
	c.unchosen = (unchosen || cmd == cmdTransfer) && !cmd.active() && !isPassive(cmd)
	if cmd != cmdTransfer || !unchosen || c.nat64 == off64 {
		return
	}
	o, r := c.newOffer(VerbDefault, Active, start, line), ReasonPlain
	if o.Announced = c.ep.Client; e.ahead && c.checks.has(CheckAnswered) {
		r = ReasonPipelined
	}
	e.offer = c.offer(o, r)
}

// refuseTelnet turns offers to negotiate a Telnet option, before a line of the
// segment being handled, into refusals: WILL into WONT, DO into DONT. Then
// nothing is agreed on, and any answer is a refusal (RFC 6384 section 5).
func (c *streams) refuseTelnet(start uint32, line []byte) {
	if !c.nat64.translates() {
		return
	}
	for n := telnetLen(line); n > 0; n = telnetLen(line) {
		at := start + 1
		if n > 1 && (line[1] == telnetWILL || line[1] == telnetDO) && int32(at-c.cur.seq) >= 0 && !c.stream[c.cur.dir].touches(at, 1) {
			c.change(at, 0, line[1:2], []byte{line[1] + 1})
		}
		start, line = start+uint32(n), line[n:]
	}
}

// cutFront cuts the line in progress off after the Telnet commands before it, if
// these are to be forwarded: they may change, and the line itself will be
// retransmitted.
func (c *streams) cutFront(s *stream) bool {
	front := s.lineStart() + uint32(skipTelnet(s.line))
	if front == s.lineStart() || int32(front-s.sent) <= 0 {
		return false
	}
	c.refuseTelnet(s.lineStart(), s.line)
	s.sent = front
	s.unread()
	return true
}

// obey does what an ALGS asks for that gets this answer.
func (c *dialogue) obey(t told) {
	switch t {
	case toldNone:
		c.nat64 = off64
	case toldEPSV, toldEPSVEPRT:
		c.nat64, _ = c.policy.role64(&c.ep)
	}
}

// active64 handles a PORT or EPRT that was read. If the client's own address is
// known another one is made to fail (section 7); if not, the client is assumed to
// have named its own.
func (c *dialogue) active64(o *Offer) Reason {
	switch a := o.Announced.Addr(); {
	case c.foreign != ReasonPlain || o.Verb != VerbEPRT || a.Is4() || c.cur.telnet != nil:
	case c.nat64 == checks64 && a != c.ep.Client.Addr():
		c.replaceLine(o.start, o.text, "X"+string(o.text[1:]))
		return ReasonForeignAddress
	case c.nat64 == translates46:
		o.Announced = netip.AddrPortFrom(c.ep.Client.Addr(), o.Announced.Port())
		o.other, o.line = true, span{0, len(o.text)}
	}
	return ReasonPlain
}

// passive64 forwards the line of a 227 that answers EPSV as one of 229. Its
// address does not count (section 6).
func (c *dialogue) passive64(o *Offer, r Reason, t told) {
	line := o.text
	switch {
	case r == ReasonPlain || o.single && t == told229:
		o.Verb, o.Announced = Verb229, netip.AddrPortFrom(netip.Addr{}, o.Announced.Port())
		o.other, o.line = true, span{0, len(line)}
	case parseReply(line).code == 227:
		c.replaceLine(o.start, line, "229"+string(line[3:]))
	}
}

// Decline reports that the port of an offer of the segment being handled is not
// open. A client whose EPSV came through a translator gets an error (section 6).
func (c *dialogue) Decline(o *Offer) {
	if o.Mode == Active || !o.other && c.nat64 != checks64 {
		return
	}
	line := string(bytes.TrimRight(o.text, "\r"))
	end := o.text[len(line):]
	switch {
	case o.single:
		line = string(sized(len(line), "425 Can't open data connection.", "425 No data."))
	case o.other && parseReply(o.text).code == 227: // the last line has the code of the first
		line = "229" + line[3:]
	default:
		return
	}
	c.change(o.start, 0, o.text, append([]byte(line), end...))
}

// replaceLine replaces a line that was read, and reports whether it could.
func (c *dialogue) replaceLine(start uint32, line []byte, with string) bool {
	if c.cur.telnet != nil {
		return false
	}
	old := c.kept(start, line, len(line))
	return c.change(start, 0, old, append([]byte(with), old[len(line):]...)) == ReasonPlain
}

// mustAdjust64 reports whether fresh bytes have a line whose length will change,
// while sequence numbers are not adjusted. It does so once.
func (c *Conn) mustAdjust64(s *stream, p []byte) bool {
	if c.nat64 == not64 || c.adjustBy != Nobody || s.asked64 {
		return false
	}
	b := append(bytes.Clone(s.line), p...)
	for line := range bytes.Lines(b) {
		line = appendText(nil, bytes.TrimRight(line, "\r\n"))
		if c.cur.dir == Reply {
			s.asked64 = s.asked64 || c.pending.told() && len(line) < longestTold
			continue
		}
		cmd, v, arg := parseCommand(line)
		with, _ := c.translation(cmd, v, line[min(arg, len(line)):])
		s.asked64 = s.asked64 || with != "" && len(with) != len(line)
	}
	return s.asked64
}

// tell replaces a reply's line, its last one or its first, with what the client
// is told.
func (c *dialogue) tell(t told, start uint32, line []byte, last bool) {
	if t < told504 {
		return
	}
	if !last {
		c.replaceLine(start, line, tellings[t].short[:3]+string(line[3:]))
		return
	}
	c.replaceLine(start, line, string(sized(len(line), tellings[t].full, tellings[t].short)))
}

// otherText is an offer in its other form, with the length of the old one if
// there is room.
func (o *Offer) otherText(to netip.AddrPort) []byte {
	if o.Mode == Active {
		return replaceNumbers([]byte("PORT "), []byte("0,0,0,0,0,0"), hostPortNumbers(to))
	}
	words := ""
	if n := min(len(o.text), 4); parseReply(o.text).code != 0 {
		words = "229" + string(o.text[3:n]) + "Entering Extended Passive Mode "
	}
	return fit(words, "(|||"+strconv.Itoa(int(to.Port()))+"|)", o.line.to)
}
