// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	// maxPending is how many unanswered commands are kept; more are only counted.
	maxPending = 16
	// maxText limits, in bytes, what is kept of an argument or a reply.
	maxText = 1024
	// maxUser and maxPath limit the name of a user and an absolute path.
	maxUser = 128
	maxPath = 4096
	// numRecent is how many verbs Recent returns.
	numRecent = 8
)

// Login is the state of a session's login.
type Login uint8

const (
	// LoginNone: no user was named, or the session's start was not seen.
	LoginNone Login = iota
	// LoginAsked: a user was named, and the server has not decided.
	LoginAsked
	// LoginAccepted: the server has accepted the user.
	LoginAccepted
	// LoginFailed: the server has refused the last attempt.
	LoginFailed
)

// String returns the word in `pasvport sessions`.
func (l Login) String() string {
	return [...]string{"none", "asked", "accepted", "failed"}[l]
}

// Verb is a command in upper case, padded with zeros. One of more than four
// letters is not FTP, and may contain what others must not see: it is "?".
type Verb [4]byte

// String returns the verb, or "".
func (v Verb) String() string { return string(bytes.TrimRight(v[:], "\x00")) }

func verbOf(word []byte) (v Verb) {
	if len(word) > len(v) {
		return Verb{'?'}
	}
	for i, c := range word {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		v[i] = c
	}
	return v
}

// Ledger is the account of one control connection. The zero value is an empty
// one. Command and Reply enter lines; it belongs to one goroutine.
type Ledger struct {
	user     string
	login    Login
	failures int

	ascii     bool
	typeKnown bool
	restart   uint64 // offset of the next transfer
	dir       string // working directory, absolute; "" if it is uncertain

	pending []pending
	more    int // commands after those of pending, not kept
	multi   int // code of the multi-line reply being read; 0: none
	file    string

	recent   [numRecent]Verb
	last     int // index of the next one
	transfer *Transfer
}

// pending is a command that waits for its reply.
type pending struct {
	verb Verb
	arg  string
	at   time.Time

	failed bool // It was made to fail on its way, and the server has not seen it.
}

// Event is something that a reply has completed.
type Event uint8

const (
	// EventNone: nothing to report.
	EventNone Event = iota
	// EventLogin: the server accepted the user.
	EventLogin
	// EventLoginFailed: the server refused the login.
	EventLoginFailed
	// EventTransferBegan: the server reported the begin of a transfer. Transfer
	// returns it.
	EventTransferBegan
	// EventTransferEnded: the server sent the final reply to a transfer, whether
	// or not it began. Transfer returns it.
	EventTransferEnded
)

// User returns the last user name of the client, or "".
func (l *Ledger) User() string { return l.user }

// Login returns the state of the login.
func (l *Ledger) Login() Login { return l.login }

// Failures returns how many logins in a row the server has refused.
func (l *Ledger) Failures() int { return l.failures }

// Transfer returns the transfer that is requested or running, or, from
// EventTransferEnded to the next line, the one that ended, or nil.
func (l *Ledger) Transfer() *Transfer { return l.transfer }

// Last returns the client's last command.
func (l *Ledger) Last() Verb { return l.recent[(l.last+numRecent-1)%numRecent] }

// Recent returns the last commands, the oldest first.
func (l *Ledger) Recent() []Verb {
	var list []Verb
	for i := range numRecent {
		if v := l.recent[(l.last+i)%numRecent]; v != (Verb{}) {
			list = append(list, v)
		}
	}
	return list
}

// Command enters a line of the client, without its end. failed says that it was
// made to fail on its way.
func (l *Ledger) Command(line []byte, failed bool, now time.Time) {
	if l.transfer != nil && !l.transfer.Ended.IsZero() {
		l.transfer = nil
	}
	word, arg, _ := bytes.Cut(line, []byte{' '})
	v := verbOf(word)
	l.recent[l.last] = v
	l.last = (l.last + 1) % numRecent
	c := pending{verb: v, at: now, failed: failed}
	switch kindOf(v) {
	case kindUser, kindDirectory, kindType, kindRestart, kindDown, kindUp:
		c.arg = text(arg, maxText)
	}
	if l.more > 0 || len(l.pending) >= maxPending {
		l.more++
		return
	}
	l.pending = append(l.pending, c)
}

// text copies the part of a line to keep.
func text(b []byte, most int) string {
	return string(bytes.TrimRight(b[:min(len(b), most)], "\r"))
}

// Reply enters a line of the server, without its end, and returns what it
// completes.
func (l *Ledger) Reply(line []byte, now time.Time) Event {
	if l.transfer != nil && !l.transfer.Ended.IsZero() {
		l.transfer = nil
	}
	code, last := replyCode(line)
	switch {
	case l.multi != 0 && (code != l.multi || !last): // RFC 959 section 4.2
		return EventNone
	case code == 0:
		return EventNone
	case !last:
		l.multi = code
		return EventNone
	}
	l.multi = 0
	if code < 200 {
		return l.begins(code, line, now)
	}
	c, ok := l.answered(code)
	if !ok {
		return EventNone
	}
	return l.settle(c, code, line, now)
}

// replyCode returns the code of a reply line, and whether it is the reply's last
// one. The code is 0 for a line without one.
func replyCode(line []byte) (code int, last bool) {
	if len(line) < 3 {
		return 0, false
	}
	n, err := strconv.Atoi(string(line[:3]))
	if err != nil || n < 100 || n > 659 {
		return 0, false
	}
	return n, len(line) == 3 || line[3] == ' ' || line[3] == '\r'
}

// answered removes and returns the command that a final reply answers.
func (l *Ledger) answered(code int) (c pending, ok bool) {
	if len(l.pending) == 0 {
		if l.more > 0 {
			l.more--
		}
		return c, false
	}
	i := 0
	if l.overtaken(code) {
		i = 1
	}
	c = l.pending[i]
	l.pending = append(l.pending[:i], l.pending[i+1:]...)
	if len(l.pending) == 0 {
		l.pending = nil // most sessions wait for their client
	}
	return c, true
}

// overtaken reports whether a reply does not belong to the running transfer: STAT
// and NOOP are answered while it lasts (RFC 959 section 4.1.3).
func (l *Ledger) overtaken(code int) bool {
	if len(l.pending) < 2 || l.transfer == nil || l.transfer.Began.IsZero() {
		return false
	}
	switch code {
	case 200, 211, 212, 213, 214, 500, 501, 502:
		k := kindOf(l.pending[1].verb)
		return k != kindDown && k != kindUp
	}
	return false
}

// begins handles a preliminary reply.
func (l *Ledger) begins(code int, line []byte, now time.Time) Event {
	if len(l.pending) == 0 || code != 125 && code != 150 {
		return EventNone
	}
	c := l.pending[0]
	k := kindOf(c.verb)
	if k != kindDown && k != kindUp || l.transfer != nil && !l.transfer.Began.IsZero() {
		return EventNone
	}
	l.file = uniqueName(c.verb, line)
	t := l.newTransfer(c, k)
	t.Began = now
	l.transfer = t
	return EventTransferBegan
}

// settle handles the final reply to a command.
func (l *Ledger) settle(c pending, code int, line []byte, now time.Time) Event {
	good := code >= 200 && code < 300
	k := kindOf(c.verb)
	if k != kindRestart && k != kindPort {
		defer func() { l.restart = 0 }() // it is for the very next transfer
	}
	switch k {
	case kindUser, kindPassword:
		if c.failed { // it was no login
			return EventNone
		}
		return l.settleLogin(c, code)
	case kindReinitialize:
		if good {
			l.user, l.login, l.dir, l.typeKnown = "", LoginNone, "", false
		}
	case kindType:
		if good && c.arg != "" {
			l.ascii, l.typeKnown = c.arg[0] == 'A' || c.arg[0] == 'a', true
		}
	case kindRestart:
		l.restart = 0
		if code == 350 {
			l.restart, _ = strconv.ParseUint(c.arg, 10, 64)
		}
	case kindDirectory:
		if good {
			l.dir = l.absolute(c.arg)
		}
	case kindParent:
		if good {
			l.dir = "" // the parent depends on links
		}
	case kindWhere:
		if code == 257 {
			l.dir = quoted(line)
		}
	case kindDown, kindUp:
		return l.settleTransfer(c, k, code, line, now)
	}
	return EventNone
}

func (l *Ledger) settleLogin(c pending, code int) Event {
	if kindOf(c.verb) == kindUser {
		l.user, l.login, l.dir = text([]byte(c.arg), maxUser), LoginAsked, ""
	}
	switch {
	case code == 230 || code == 232 || code == 202 && l.login == LoginAccepted:
		l.login, l.failures = LoginAccepted, 0
		return EventLogin
	case code >= 400:
		l.login = LoginFailed
		l.failures++
		return EventLoginFailed
	}
	return EventNone
}

func (l *Ledger) settleTransfer(c pending, k kind, code int, line []byte, now time.Time) Event {
	t := l.transfer
	if t == nil || !t.Ended.IsZero() {
		t = l.newTransfer(c, k)
	}
	l.transfer, l.file = t, ""
	t.Ended, t.Code, t.Reply = now, code, text(line, maxText)
	return EventTransferEnded
}

// newTransfer returns the transfer that a command requests.
func (l *Ledger) newTransfer(c pending, k kind) *Transfer {
	t := &Transfer{
		Verb: c.verb.String(), Path: c.arg, Asked: c.at, Offset: l.restart,
		Upload: k == kindUp, ASCII: l.ascii || !l.typeKnown, List: isList(c.verb),
	}
	if l.file != "" {
		t.Path = l.file
	}
	if t.List && strings.HasPrefix(t.Path, "-") { // options of ls
		t.Path = strings.TrimLeft(strings.TrimLeft(t.Path, "-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ1"), " ")
	}
	t.Absolute = l.absolute(t.Path)
	return t
}

// absolute returns the absolute form of a path as given, or "" if it is
// uncertain: the directory is unknown, or the path goes up, where the parent
// depends on links.
func (l *Ledger) absolute(p string) string {
	if strings.HasPrefix(p, "~") || strings.Contains("/"+p+"/", "/../") {
		return ""
	}
	if !strings.HasPrefix(p, "/") {
		if l.dir == "" {
			return ""
		}
		p = l.dir + "/" + p
	}
	if len(p) > maxPath {
		return ""
	}
	return path.Clean(p)
}

// quoted returns the directory of a 257 reply, in which a quote is doubled (RFC
// 959 appendix II), or "" if the reply has no absolute one.
func quoted(line []byte) string {
	_, rest, ok := bytes.Cut(line, []byte{'"'})
	if !ok {
		return ""
	}
	var b strings.Builder
	for len(rest) > 0 && b.Len() < maxText {
		switch {
		case bytes.HasPrefix(rest, []byte(`""`)):
			b.WriteByte('"')
			rest = rest[2:]
			continue
		case rest[0] == '"':
			if dir := b.String(); strings.HasPrefix(dir, "/") {
				return path.Clean(dir)
			}
			return ""
		}
		b.WriteByte(rest[0])
		rest = rest[1:]
	}
	return ""
}

// uniqueName returns the name that a server chose for STOU (RFC 1123 section
// 4.1.2.9), or "".
func uniqueName(v Verb, line []byte) string {
	_, name, ok := bytes.Cut(line, []byte("FILE: "))
	if v != verbOf([]byte("STOU")) || !ok {
		return ""
	}
	return text(name, maxText)
}
