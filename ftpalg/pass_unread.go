// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// The limits on a segment that may pass unread, in bytes.
const (
	MinUnread = len("PWD\r\n")
	MaxUnread = 512
)

// Phase is what a connection waits for between two lines.
type Phase uint32

const (
	// PhaseIdle: every command is answered.
	PhaseIdle Phase = iota
	// PhaseAsked: one command waits for its reply.
	PhaseAsked
	// PhaseTransfer: one command that is answered twice, first by 1xx.
	PhaseTransfer
	// PhaseBegun: one command that has had its 1xx.
	PhaseBegun
	// PhaseActive: PORT, EPRT or LPRT.
	PhaseActive
	// PhasePassive: PASV, EPSV or LPSV, whose reply must be read.
	PhasePassive
)

// Unread is the state of a connection whose next line may pass unread: where that
// line starts in either direction, and what it can answer. [Conn.Rest] gives it,
// Pass advances it for each line that passes, and [Conn.Passed] takes it over in
// the end. Any other place that decides for the engine decides as Pass does.
type Unread struct {
	Next  [2]uint32 // sequence number of the next byte, by Direction
	Acked [2]uint32 // acknowledgement in the last segment that passed
	Lines [2]uint32 // how many passed since Rest
	Phase Phase
	Verb  [4]byte // the last command that passed, in upper case
}

// UnreadCommands are the commands that may pass unread while no other waits for
// its reply, with the phase that they begin. Commands that announce a port, log
// in, encrypt or end a session are not among them; EPSV without an argument is,
// as its reply is read.
func UnreadCommands() map[[4]byte]Phase {
	return unreadCommands
}

var unreadCommands = func() map[[4]byte]Phase {
	list := map[[4]byte]Phase{}
	for v, cmd := range commands {
		switch v {
		case "ABOR", "CCC", "CONF", "ENC", "HOST", "MIC", "PBSZ", "PROT", "SITE", "STAT", "SPSV", "CPSV", "LPSV", "XAUT", "OPEN", disguisedPASV:
			continue
		}
		var name [4]byte
		copy(name[:], v)
		switch cmd {
		case cmdOther:
			list[name] = PhaseAsked
		case cmdTransfer:
			list[name] = PhaseTransfer
		case cmdPASV, cmdEPSV:
			list[name] = PhasePassive
		}
	}
	return list
}()

// UnreadBegins are the replies that may pass unread in PhaseTransfer, and
// UnreadEnds those that may in every phase of a command except PhaseActive, where
// only 200 may, and PhasePassive. They mean nothing except that the command was
// answered.
var (
	UnreadBegins = []int{125, 150}
	UnreadEnds   = []int{200, 202, 211, 212, 213, 214, 215, 225, 226, 250, 257, 350, 450, 451, 452, 500, 501, 502, 504, 550, 551, 552, 553}
)

// UnreadOK is the one reply that may pass in PhaseActive.
const UnreadOK = 200

// Pass reports whether a segment may pass unread, and records it if so. It may if
// it is one whole line, the very next one of its direction, and nothing but u
// depends on it.
func (u *Unread) Pass(d Direction, seq, ack uint32, p []byte) bool {
	if seq != u.Next[d] || !isOneLine(p) {
		return false
	}
	phase, verb, ok := u.after(d, p)
	if !ok {
		return false
	}
	u.Phase, u.Verb, u.Acked[d] = phase, verb, ack
	u.Next[d] += uint32(len(p))
	u.Lines[d]++
	return true
}

// isOneLine reports whether a payload is a line that ends with CR LF, without
// Telnet commands or NUL in it.
func isOneLine(p []byte) bool {
	if len(p) < MinUnread || len(p) > MaxUnread {
		return false
	}
	text, ok := bytes.CutSuffix(p, []byte("\r\n"))
	return ok && bytes.IndexByte(text, '\n') < 0 && bytes.IndexByte(text, telnetIAC) < 0 && bytes.IndexByte(text, 0) < 0
}

// after returns the phase and last command after a line, if it may pass.
func (u *Unread) after(d Direction, p []byte) (Phase, [4]byte, bool) {
	if d == Original {
		next, v, ok := unreadCommand(p)
		return next, v, ok && u.Phase == PhaseIdle
	}
	r := parseReply(p)
	if p[3] != ' ' {
		return 0, u.Verb, false
	}
	switch u.Phase {
	case PhaseTransfer:
		if contains(UnreadBegins, r.code) {
			return PhaseBegun, u.Verb, true
		}
		fallthrough
	case PhaseAsked, PhaseBegun:
		return PhaseIdle, u.Verb, contains(UnreadEnds, r.code)
	case PhaseActive:
		return PhaseIdle, u.Verb, r.code == UnreadOK
	}
	return 0, u.Verb, false
}

// unreadCommand reads the command of a line. It must be followed by a space or
// the end of the line.
func unreadCommand(p []byte) (Phase, [4]byte, bool) {
	_, v, n := parseVerb(p[:len(p)-2])
	next, ok := unreadCommands[v]
	alone := n == len(p)-2
	if next == PhasePassive {
		return next, v, ok && alone
	}
	return next, v, ok && (alone || p[n] == ' ')
}

func contains(list []int, v int) bool {
	for _, c := range list {
		if c == v {
			return true
		}
	}
	return false
}

// Rest returns the state in which the connection rests between two lines. ok is
// false if it does not: then every segment has to be read.
func (c *Conn) Rest() (u Unread, ok bool) {
	// Retransmissions are compared with what was read; pipelined requests are
	// told apart by the order of both directions, which is not kept.
	if c.opaque || c.nat64 != not64 || c.adjustBy == Caller || c.judges || c.checks.has(CheckRepeats|CheckAnswered) ||
		!c.answered || !c.spoken || !c.met || c.multi != 0 || c.ahead != nil {
		return u, false
	}
	for d := range c.stream {
		if !c.stream[d].rests() {
			return u, false
		}
		u.Next[d] = c.stream[d].next
	}
	u.Phase, ok = c.pending.phase()
	return u, ok
}

// rests reports whether all of a direction was read and forwarded, up to the
// start of a line.
func (s *stream) rests() bool {
	return s.known && s.proven && !s.skip && len(s.line) == 0 && !s.held &&
		s.taken == 0 && s.gaps == 0 && s.waits == 0 && !s.blind && s.adj == s.told
}

// phase returns the phase, if one phase describes the whole state.
func (p *pending) phase() (Phase, bool) {
	if len(p.list) != 1 {
		return PhaseIdle, len(p.list) == 0
	}
	e := &p.list[0]
	switch {
	case e.cmd.active():
		return PhaseActive, !e.begun
	case isPassive(e.cmd):
		return PhasePassive, true
	case e.cmd == cmdTransfer && e.begun:
		return PhaseBegun, true
	case e.cmd == cmdTransfer:
		return PhaseTransfer, true
	}
	return PhaseAsked, e.cmd == cmdOther || e.cmd == cmdUnknown
}

// Passed takes over the lines that have passed unread since Rest, as if the
// connection had read them.
func (c *Conn) Passed(u *Unread) {
	for d := range c.stream {
		if u.Lines[d] == 0 {
			continue
		}
		s := &c.stream[d]
		s.next, s.sent = u.Next[d], u.Next[d]
		s.long, s.returns = false, 1
		s.forgetOld()
		c.received(opposite(Direction(d)), u.Next[d], u.Acked[d])
	}
	if u.Lines[Original]+u.Lines[Reply] == 0 {
		return
	}
	before, _ := c.pending.phase()
	if u.Lines[Original] > 0 {
		c.pending.drop(len(c.pending.list)) // answered, or the command could not have passed
		if before = PhaseIdle; u.Phase != PhaseIdle {
			v := verb(u.Verb)
			c.pending.push(commands[string(v.bytes())])
			before = unreadCommands[u.Verb]
		}
	}
	switch {
	case u.Phase == before:
	case u.Phase == PhaseIdle:
		c.pending.drop(len(c.pending.list))
	case u.Phase == PhaseBegun:
		c.pending.begin()
	}
}
