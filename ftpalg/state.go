// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"slices"
	"unsafe"
)

// State is what an engine knows of its connection, for another engine that
// continues from there (see Continue): after a restart, or when conntrack has
// lost the connection. Judgements stay as they are, and known line starts stay
// known. Nothing in it can open more than the connection's own ends could ask
// for.
type State struct {
	Foreign   bool     `json:",omitempty"` // the connection is not FTP
	Encrypted bool     `json:",omitempty"`
	Started   bool     `json:",omitempty"` // it was seen from its first byte on, and of these:
	Begun     bool     `json:",omitempty"` // where the client's first byte is
	Answered  bool     `json:",omitempty"` // the server has sent something
	Greeted   bool     `json:",omitempty"` // and that was a greeting
	Spoken    bool     `json:",omitempty"` // the client's first line has been seen
	Login     bool     `json:",omitempty"` // the server has accepted the user
	EPSVAll   bool     `json:",omitempty"`
	NAT64Off  bool     `json:",omitempty"` // the client sent ALGS DISABLE64
	Unchosen  bool     `json:",omitempty"` // the client, through a translator, has chosen no port for its next transfer
	Multi     uint16   `json:",omitempty"` // code of the multi-line reply in progress
	Offered   bool     `json:",omitempty"` // the last announcement is still valid
	Waiting   []string `json:",omitempty"` // unanswered commands, the oldest first
	Marks     []byte   `json:",omitempty"` // for each of them; see entry.marks
	Stream    [2]Place // by Direction
}

// Place is the position in a stream.
type Place struct {
	Known bool   `json:",omitempty"`
	Next  uint32 `json:",omitempty"` // sequence number of the first unseen byte
	Start bool   `json:",omitempty"` // the start of the line in progress is known
	// Line is the seen part of the line in progress. Taken bytes at its end were
	// acknowledged to the sender but not forwarded.
	Line  []byte `json:",omitempty"`
	Taken uint32 `json:",omitempty"`
	// Denied: the line is a denied command.
	Denied bool `json:",omitempty"`
	// Acked is what the receiver has acknowledged, in its numbers; nil if
	// unknown.
	Acked *uint32 `json:",omitempty"`
	// Edits are the changes that may have to be repeated, the oldest first. Floor
	// is where those before them end, nil if there were none.
	Edits []Edit  `json:",omitempty"`
	Floor *uint32 `json:",omitempty"`
	// Adjusted is the adjustment, if no edit shows it; nil if that is unknown.
	Adjusted *Adjustment `json:",omitempty"`
	// Ahead is a line that was forwarded though Missing bytes before it were not seen.
	Ahead   []byte `json:",omitempty"`
	Missing uint32 `json:",omitempty"`
}

// Edit is a change: Text replaces Length bytes from Start, in the sender's
// numbers. Taken of them were absorbed before their line was whole. Before is the
// sum of all earlier changes of length.
type Edit struct {
	Start, Length uint32
	Text          []byte `json:",omitempty"`
	Taken         uint32 `json:",omitempty"`
	Before        int32  `json:",omitempty"`
}

// State returns the state of the connection.
func (c *Conn) State() (t State) {
	c.SaveState(&t)
	return t
}

// SaveState sets t to the state of the connection. What t was before is lost, as its memory
// is used again.
func (c *Conn) SaveState(t *State) {
	*t = State{
		Foreign: c.foreign != ReasonPlain, Encrypted: c.opaque, Started: c.started, Begun: c.begun, Answered: c.answered,
		Greeted: c.greeted, Spoken: c.spoken, Login: c.login, EPSVAll: c.epsvAll, Multi: c.multi,
		NAT64Off: c.nat64 == off64, Offered: c.offered,
		Unchosen: c.unchosen && c.nat64 != not64,
		Waiting:  t.Waiting[:0], Marks: t.Marks[:0], Stream: t.Stream,
	}
	for i := range c.pending.list {
		e := &c.pending.list[i]
		t.Waiting, t.Marks = append(t.Waiting, e.example()), append(t.Marks, e.marks())
	}
	for d := range t.Stream {
		c.stream[d].savePlace(&t.Stream[d], Direction(d), c.met || c.started)
	}
	if p := &t.Stream[Reply]; c.ahead != nil && int32(c.ahead.at-p.Next) > 0 {
		p.Ahead, p.Missing = append(p.Ahead, c.ahead.text...), c.ahead.at-p.Next
	}
}

// put returns p, which points to v then, or a new pointer if p is nil.
func put[T any](p *T, v T) *T {
	if p == nil {
		return new(v)
	}
	*p = v
	return p
}

// savePlace sets p to the position in a stream. Held bytes are not included: they
// were not forwarded, and will be retransmitted.
func (s *stream) savePlace(p *Place, d Direction, met bool) {
	old := *p
	*p = Place{Known: s.known && met, Next: s.next, Line: p.Line[:0], Edits: p.Edits[:0], Ahead: p.Ahead[:0]}
	line := s.line
	if s.held {
		kept := max(0, int32(s.sent-s.lineStart()))
		p.Next, line = s.sent, line[:kept]
	}
	if p.Start = p.Known && s.proven && !s.skip && int32(p.Next-s.lineStart()) == int32(len(line)); p.Start {
		p.Line, p.Taken, p.Denied = append(p.Line, line...), s.taken, len(line) > 0 && s.isDenied()
		if d == Original && s.taken == 0 { // otherwise the receiver still needs it
			mask(p.Line)
		}
	}
	if s.ackKnown {
		p.Acked = put(old.Acked, s.acked)
	}
	first := s.firstKept()
	switch {
	case first > 0:
		p.Floor = put(old.Floor, s.edits[first-1].end)
	case s.floorSet:
		p.Floor = put(old.Floor, s.floor)
	}
	if first == len(s.edits) {
		p.Adjusted = put(old.Adjusted, s.adj)
	}
	p.Edits = slices.Grow(p.Edits, len(s.edits)-first)[:len(s.edits)-first]
	for i := range p.Edits {
		e := &s.edits[first+i]
		p.Edits[i] = Edit{Start: e.start, Length: e.end - e.start, Text: append(p.Edits[i].Text[:0], e.text...), Taken: e.taken, Before: e.adj.Before}
	}
}

// mask blanks out a password in a client's line.
func mask(line []byte) {
	blank := bytes.IndexAny(line, " \t")
	if verb := appendText(nil, line); blank >= 0 && (hasPrefixFold("PASS", verb) || hasPrefixFold("ACCT", verb)) {
		for i, b := range line[blank:] {
			if b != '\r' {
				line[blank+i] = ' '
			}
		}
	}
}

// firstKept is the first of the edits that may have to be repeated: those that did not
// arrive, and the last ones that did, as their sender may not know.
func (s *stream) firstKept() int {
	const arrived = 2
	first := max(0, len(s.edits)-arrived)
	for first > 0 && !(s.ackKnown && s.arrived(&s.edits[first-1])) {
		first--
	}
	return first
}

// restore sets a stream to the position p.
func (s *stream) restore(p *Place) {
	s.known, s.next = p.Known, p.Next
	if p.Acked != nil {
		s.acked, s.ackKnown = *p.Acked, true
	}
	fits := s.restoreEdits(p)
	if p.Start && len(p.Line) <= maxLine && int(p.Taken) <= len(p.Line) && (fits || p.Taken == 0) {
		s.aligned, s.proven, s.line, s.taken = true, true, bytes.Clone(p.Line), p.Taken
		s.denied, s.deniedAt = p.Denied, s.lineStart()
	}
	s.sent = s.next - s.taken
	if s.taken > 0 { // and the rest of it is not waited for, either
		s.giveUp, s.abandoned = s.lineStart(), maxAbandons
	}
}

// restoreEdits restores the edits of p, and reports whether the present
// adjustment matches them.
func (s *stream) restoreEdits(p *Place) bool {
	edits, size := make([]edit, 0, len(p.Edits)), 0
	for _, k := range p.Edits {
		e := edit{start: k.Start, end: k.Start + k.Length, text: k.Text, taken: k.Taken}
		e.adj = e.newAdjustment(k.Before)
		edits, size = append(edits, e), size+len(k.Text)
		if k.Length > maxLine || int32(p.Next-e.end) < 0 {
			return false
		}
	}
	if n := len(edits); n > maxEdits || size > 2*maxEditText || n > 0 && edits[n-1].adj.After != s.adj.After {
		return false
	}
	s.edits = edits
	if p.Floor != nil {
		s.floor, s.floorSet = *p.Floor, true
	}
	return true
}

// Adjustment returns the adjustment of a direction after the last change, and
// whether it is known.
func (t *State) Adjustment(d Direction) (a Adjustment, known bool) {
	edits := t.Stream[d].Edits
	if len(edits) == 0 {
		if at := t.Stream[d].Adjusted; at != nil {
			return *at, true
		}
		return a, false
	}
	k := &edits[len(edits)-1]
	e := edit{start: k.Start, end: k.Start + k.Length, text: k.Text}
	return e.newAdjustment(k.Before), true
}

// Precedes reports whether an adjustment of a direction follows the last change: it is of
// the next one, which the state does not show yet.
func (t *State) Precedes(d Direction, a Adjustment) bool {
	last, known := t.Adjustment(d)
	at := &t.Stream[d]
	return known && at.Known && a.Before == last.After && a.After != a.Before && a.Pos-at.Next <= farAway
}

// example returns a command that is answered in the same way.
func (e *entry) example() string {
	switch {
	case e.cmd == cmdMany:
		return "NOOP"
	case e.told >= told504:
		return tellings[e.told].example
	}
	return examples[e.cmd]
}

// Marks of an entry.
const (
	markOffer = 1 << iota
	markAhead
	markExplain
	markBegun
)

// marks returns the properties of e other than its command.
func (e *entry) marks() (m byte) {
	for i, set := range [...]bool{e.offer, e.ahead, e.explain, e.begun} {
		if set {
			m |= 1 << i
		}
	}
	return m
}

// mark sets the properties of a mark.
func (e *entry) mark(m byte) {
	e.offer, e.ahead, e.explain, e.begun = m&markOffer != 0, m&markAhead != 0, m&markExplain != 0, m&markBegun != 0
}

var examples = [...]string{
	cmdUnknown: "", cmdOther: "NOOP", cmdPORT: "PORT", cmdEPRT: "EPRT", cmdLPRT: "LPRT", cmdPASV: "PASV", cmdEPSV: "EPSV",
	cmdLPSV: "LPSV", cmdEPSVAll: "EPSV ALL", cmdTransfer: "RETR", cmdAUTH: "AUTH", cmdUSER: "USER", cmdPASS: "PASS",
	cmdREIN: "REIN", cmdQUIT: "QUIT",
}

// Continue makes a connection that has seen no segment yet continue from the
// state of another engine; unseen: bytes may have passed since. If the state is
// unknown t is nil; the client may then have asked for a port, and the first
// answer is believed.
func (c *Conn) Continue(t *State, unseen bool) {
	c.unchosen = t != nil && t.Unchosen
	if t == nil {
		e := c.pending.push(cmdPASV)
		if e.guessed = true; c.nat64.translates() {
			e.told = told229Once
		}
		return
	}
	c.started, c.begun, c.spoken, c.opaque = t.Started, t.Begun, t.Spoken, t.Encrypted
	c.answered, c.greeted, c.login, c.epsvAll = t.Answered, t.Greeted, t.Login, t.EPSVAll
	c.multi = t.Multi
	if t.Foreign {
		c.foreign = ReasonNotFTP
	}
	c.pending.drop(len(c.pending.list))
	c.offered = t.Offered
	for i, line := range t.Waiting {
		cmd, v, arg := parseCommand([]byte(line))
		e := c.pending.push(cmd)
		if i < len(t.Marks) {
			e.mark(t.Marks[i])
		}
		if with := ""; c.nat64 != not64 {
			if with, e.told = c.translation(cmd, v, []byte(line[arg:])); with == "NOOP" {
				e.cmd = cmdOther
			}
		}
	}
	if c.multi != 0 {
		c.retold = c.pending.toldOf(int(c.multi))
	}
	if t.NAT64Off && c.nat64.translates() {
		c.nat64 = off64
	}
	for d := range c.stream {
		s := &c.stream[d]
		s.restore(&t.Stream[d])
		s.blind = unseen
	}
	if p := &t.Stream[Reply]; p.Missing > 0 && p.Missing <= uint32(maxAhead) && isFinal(p.Ahead) {
		c.ahead = &ahead{p.Next + p.Missing, p.Ahead}
	}
	c.met = !unseen && c.stream[Original].known && c.stream[Reply].known
}

// Mark is the part of a state that another engine must receive at once, in a form
// that can be compared. The rest, such as the position after lines that open
// nothing, another engine can find out or receive a moment later.
type Mark struct {
	encrypted, foreign, started, spoken, greeted, login, epsvAll, nat64Off bool

	multi uint16
	asked uint16 // unanswered commands that matter
	edits [2]uint32
	taken [2]uint32
}

// Promises reports whether m has absorbed bytes that before has not: they are
// about to be acknowledged to their sender.
func (m Mark) Promises(before Mark) bool {
	for d := range m.taken {
		if m.taken[d] > before.taken[d] {
			return true
		}
	}
	return false
}

// Mark returns the mark of the current state.
func (c *Conn) Mark() Mark {
	m := Mark{
		encrypted: c.opaque, foreign: c.foreign != ReasonPlain, started: c.started, spoken: c.spoken, greeted: c.greeted,
		login: c.login, epsvAll: c.epsvAll, nat64Off: c.nat64 == off64, multi: c.multi,
	}
	for i := range c.pending.list {
		switch e := &c.pending.list[i]; {
		case e.cmd == cmdMany:
			m.asked += e.asked
		case e.cmd != cmdOther && e.cmd != cmdTransfer && e.cmd != cmdUnknown:
			m.asked++
		}
	}
	for d := range c.stream {
		s := &c.stream[d]
		if n := len(s.edits); n > 0 {
			m.edits[d] = s.edits[n-1].end
		}
		m.taken[d] = s.taken
	}
	return m
}

// Held returns how many bytes of sent data the connection holds, in addition to
// the line in progress. That is a few kilobytes at most, whatever is sent: see
// docs/protocol.md.
func (c *Conn) Held() int {
	n := cap(c.pending.list) * int(unsafe.Sizeof(entry{}))
	if c.ahead != nil {
		n += int(unsafe.Sizeof(ahead{})) + cap(c.ahead.text)
	}
	for d := range c.stream {
		s := &c.stream[d]
		n += cap(s.line) - min(cap(s.line), max(len(s.line), maxLineKept))
		for i := range s.edits {
			n += cap(s.edits[i].text)
		}
		n += cap(s.edits) * int(unsafe.Sizeof(edit{}))
		if s.history != nil {
			n += len(s.history.buf)
		}
	}
	return n
}
