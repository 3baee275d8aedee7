// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// denied returns why a command is to be made to fail, ReasonPlain if it is
// not.
func (c *Conn) denied(cmd command, v *verb) Reason {
	switch {
	case cmd == cmdAUTH && c.policy.DenyTLS && string(v[:]) == "AUTH":
		return ReasonTLSDenied
	case c.policy.Deny[string(v.bytes())], c.policy.Deny["PASV"] && string(v[:]) == disguisedPASV:
		return ReasonCommandDenied
	}
	return ReasonPlain
}

// denyEarly denies the command whose line p begins or continues as soon as its
// verb is known, so that a line need be neither complete nor short: every
// letter of the verb becomes an X, and as no server knows such a command, the
// server itself answers with an error. The length stays, as do the order and
// the number of replies.
func (c *Conn) denyEarly(s *stream, p []byte) {
	if c.cur.dir != Original || !c.denies() || !s.aligned || s.skip || s.isDenied() {
		return
	}
	c.head = append(append(c.head[:0], s.line...), p[:min(len(p), maxVerbBytes)]...)
	line := c.head
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i+1]
	}
	front := skipFront(line)
	text := c.plain(line[front:])
	cmd, v, n := parseVerb(text)
	r := c.denied(cmd, &v)
	switch {
	case r != ReasonPlain && n < len(text):
	case len(s.line)+len(p) > maxLine && c.mayBeDenied(text):
		// Telnet commands without end inside the verb: no honest client sends them.
		r, n = ReasonCommandDenied, len(text)
	default:
		return
	}
	n = textLen(line[front:], n)
	at := s.lineStart()
	start := at + uint32(front)
	e := edit{start: start, end: start + uint32(n), text: bytes.Repeat([]byte{'X'}, n)}
	if back := int32(c.cur.seq - e.end); back > 0 { // nothing of earlier segments is needed later
		e.text = append(e.text, line[front+n:front+n+int(back)]...)
		e.end = c.cur.seq
	}
	if why := c.replace(e); why != ReasonPlain {
		r = why
	}
	s.denied, s.deniedAt = true, at
	c.events = append(c.events, Event{Kind: EventDenied, Reason: r})
}

// maxVerbBytes is how many bytes of a segment are looked at for a verb.
const maxVerbBytes = 256

func (c *Conn) denies() bool { return c.policy.DenyTLS || len(c.policy.Deny) > 0 }

// skipFront returns the length of what servers skip in front of a command.
func skipFront(line []byte) int {
	i := skipTelnet(line)
	for i < len(line) && line[i] != '\n' && !isLetter(line[i]) {
		i += max(1, skipTelnet(line[i:]))
	}
	return min(i, len(line))
}

// mayBeDenied reports whether a client's line that starts with b may turn out
// to be a command that is denied.
func (c *Conn) mayBeDenied(b []byte) bool {
	if !c.denies() {
		return false
	}
	if b = b[skipFront(b):]; len(b) == 0 {
		return false
	}
	if c.policy.DenyTLS && mayBe("AUTH", b) {
		return true
	}
	for v := range c.policy.Deny {
		if mayBe(v, b) || v == "PASV" && mayBe(disguisedPASV, b) {
			return true
		}
	}
	return false
}

// mayBe reports whether a line that starts with b may turn out to be the
// command verb.
func mayBe(verb string, b []byte) bool {
	return hasPrefixFold(verb, b) && (len(b) <= len(verb) || !isLetter(b[len(verb)]))
}
