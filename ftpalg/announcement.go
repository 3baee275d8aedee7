// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"net/netip"
)

// parseActive reads PORT, EPRT or LPRT. Only what servers skip may follow the
// numbers.
func (c *dialogue) parseActive(cmd command, start uint32, line []byte, arg int) (*Offer, Reason) {
	o := c.newOffer(VerbPORT, Active, start, line)
	var n int
	var r Reason
	switch cmd {
	case cmdPORT:
		o.Announced, n, r = parseHostPort(line[arg:], true)
		o.line = span{arg, arg + n}
	case cmdLPRT:
		o.Verb = VerbLPRT
		o.Announced, n, r = parseLong(line[arg:], true)
		o.line = span{arg, arg + n}
	default:
		o.Verb = VerbEPRT
		n, r = o.parseEPRT(line, arg)
	}
	if r == ReasonPlain && len(bytes.Trim(line[arg+n:], skipped)) > 0 {
		r = ReasonSyntax
	}
	return o, r
}

// passive handles a line of a reply that may announce a port; its text starts at
// from. The reply counts only if a command waits for one; either form may answer
// either command, as some servers do. It reports whether the line announces one.
func (c *dialogue) passive(code int, start uint32, line []byte, from int, last bool) bool {
	if !isPassiveCode(code) {
		return false
	}
	o := c.newOffer([...]Verb{Verb227, Verb228, Verb229}[code-227], Passive, start, line)
	o.single = last && !c.later
	r := o.parseReply(line, from)
	asked, any := c.pending.takeAsked(last)
	if asked.told.is229() && code == 227 {
		c.passive64(o, r, asked.told)
	}
	inside := c.inside
	c.inside = !last && (inside || r == ReasonPlain)
	switch {
	case r != ReasonPlain && (!last || inside): // just words, the address is elsewhere in the reply
		return true
	case r == ReasonSyntax && !any: // as "227 Logout.", the goodbye of a server
		return false
	case !any && c.checks.has(CheckAsked):
		r = ReasonUnasked
	case c.epsvAll && c.checks.has(CheckEPSVAll) && asked.cmd != cmdEPSV:
		r = ReasonEPSVAll
	case asked.ahead && c.checks.has(CheckAnswered):
		r = ReasonPipelined
	case r == ReasonPlain && len(line)-o.line.to > maxTrailing && c.checks.has(CheckTrailing):
		r = ReasonTrailing
	}
	c.offer(o, r)
	return true
}

// offer judges an offer that was read, reports it, and returns whether it is
// valid.
func (c *dialogue) offer(o *Offer, r Reason) bool {
	if a := o.Announced.Addr(); a.Is4In6() && c.ep.Client.Addr().Is4() {
		o.Announced, o.mapped = netip.AddrPortFrom(a.Unmap(), o.Announced.Port()), true
	}
	if r == ReasonPlain {
		r = c.judge(o)
	}
	if r != ReasonPlain {
		if o.other {
			o.text = c.kept(o.start, o.text, o.line.to)
			c.Decline(o)
		}
		c.events = append(c.events, Event{Kind: EventRefused, Reason: r, Offer: o})
		return false
	}
	n := o.line.to
	if c.nat64 != not64 { // all of it may change, see Decline
		n = len(o.text)
	}
	o.text = c.kept(o.start, o.text, n)
	if c.cur.guess {
		c.events = append(c.events, Event{Kind: EventRefused, Reason: ReasonLineStart, Offer: o, Announce: true})
		return false
	}
	c.pending.newOffer()
	c.offered, c.way = true, WayUnknown
	c.events = append(c.events, Event{Kind: EventOffer, Reason: o.Reason, Offer: o})
	return true
}

// kept returns a copy of the part of a line that an edit replaces, as the
// stream's buffer is reused: at least the first n bytes, and up to the segment
// being handled, so that nothing of earlier segments is needed any more.
func (c *streams) kept(start uint32, line []byte, n int) []byte {
	text := append([]byte(nil), line...)
	for range c.stream[c.cur.dir].returns {
		text = append(text, '\r')
	}
	return text[:max(n, int(int32(c.cur.seq-start)))]
}

// judge decides whether an offer of the announced address is valid and fills in
// who may connect to where. It returns ReasonPlain if it is.
func (c *dialogue) judge(o *Offer) Reason {
	r := c.judgeDialogue(o)
	if r == ReasonPlain {
		r = c.judgePort(o)
	}
	switch {
	case r != ReasonPlain:
	case o.Mode == Passive:
		r = c.judgePassive(o)
	case o.Announced.Addr().Is4() != c.ep.Client.Addr().Is4() && !c.literal64(o):
		r = ReasonFamily
	default:
		r = c.judgeActive(o)
	}
	if r == ReasonPlain && !c.rate.allow(c.now, c.policy.offers()) {
		r = ReasonRate
	}
	return r
}

// judgeDialogue decides whether the dialogue so far, and the line itself, permit
// an offer.
func (c *dialogue) judgeDialogue(o *Offer) Reason {
	switch k := c.checks; {
	case c.foreign != ReasonPlain:
		return c.foreign
	case c.started && !c.greeted && k.has(CheckGreeting):
		return ReasonNoGreeting
	case c.started && !c.login && k.has(CheckLogin):
		return ReasonNotLoggedIn
	case c.epsvAll && o.Mode == Active && k.has(CheckEPSVAll):
		return ReasonEPSVAll
	case c.stream[c.cur.dir].returns == 0 && k.has(CheckLineEnd):
		return ReasonLineEnd
	case c.cur.telnet != nil:
		return ReasonTelnet
	}
	return ReasonPlain
}

// Announce sets the port that the other side is told for an offer of the segment
// being handled. The engine changes the text if it has to. If it cannot, the text
// stays and the reason is returned; otherwise ReasonPlain.
func (c *dialogue) Announce(o *Offer, port uint16) Reason {
	told := netip.AddrPortFrom(o.Text, port)
	if told == o.Announced && !o.other || o.Verb == VerbDefault {
		return ReasonPlain
	}
	return c.change(o.start, o.line.from, o.text, o.newText(told))
}
