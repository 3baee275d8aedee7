// SPDX-License-Identifier: Apache-2.0

package ftpalg

// State is what an engine knows of its connection, for another engine that goes
// on where it was (see Continue): after a restart, or when conntrack has forgotten
// the connection. What was judged stays judged, and where a line starts stays known.
// It says nothing that could open more than the connection's own ends could ask
// for.
type State struct {
	Foreign   bool     `json:",omitempty"` // it is not one of FTP
	Encrypted bool     `json:",omitempty"`
	Started   bool     `json:",omitempty"` // it was seen from its first byte on, and of these:
	Begun     bool     `json:",omitempty"` // where the client's first byte is
	Answered  bool     `json:",omitempty"` // the server has said something
	Greeted   bool     `json:",omitempty"` // and that was a greeting
	Spoken    bool     `json:",omitempty"` // the client's first line has come
	Login     bool     `json:",omitempty"` // the server has accepted the user
	EPSVAll   bool     `json:",omitempty"`
	NAT64Off  bool     `json:",omitempty"` // the client said ALGS DISABLE64
	Multi     uint16   `json:",omitempty"` // code of the multi-line reply in progress
	Waiting   []string `json:",omitempty"` // commands that are not answered yet, the oldest first
	Stream    [2]Place // by Direction
}

// Place is where a stream is.
type Place struct {
	Known bool   `json:",omitempty"`
	Next  uint32 `json:",omitempty"` // sequence number of the first byte that was not seen yet
	Start bool   `json:",omitempty"` // a line starts there
	// Again is where the last line starts that was changed, if Changed is set and
	// its receiver is not known to have it: it may come again.
	Again   uint32 `json:",omitempty"`
	Changed bool   `json:",omitempty"`
}

// State returns the state of the connection.
func (c *Conn) State() State {
	d := &c.dialogue
	t := State{
		Foreign: d.foreign != ReasonPlain, Encrypted: c.opaque, Started: d.started, Begun: d.begun, Answered: d.answered,
		Greeted: d.greeted, Spoken: d.spoken, Login: d.login, EPSVAll: d.epsvAll, Multi: d.multi,
		NAT64Off: c.nat64 == off64,
	}
	for _, e := range c.pending.list {
		t.Waiting = append(t.Waiting, e.example())
	}
	for d := range t.Stream {
		t.Stream[d] = c.stream[d].keptPlace(c.met || c.started)
	}
	return t
}

// keptPlace returns where a stream is. What of a line was not forwarded comes
// again; a line of which a part was forwarded is given up.
func (s *stream) keptPlace(met bool) Place {
	next := s.next
	if s.held {
		next = s.sent
	}
	known := s.known && met
	p := Place{Known: known, Next: next, Start: known && s.proven && !s.skip && next == s.lineStart() && s.taken == 0}
	if n := len(s.edits); n > 0 && p.Start {
		e := &s.edits[n-1]
		p.Again, p.Changed = e.start, e.taken == 0 && !(s.ackKnown && s.arrived(e))
	}
	return p
}

// comesAgain has a segment read that an earlier engine changed, and that comes
// again, and reports whether this is one.
func (s *stream) comesAgain(seq uint32, n int) bool {
	again := s.again && int32(seq-s.gapAt) <= 0 && int32(seq+uint32(n)-s.gapAt) > 0
	if again {
		s.next, s.sent = s.gapAt, s.gapAt
	}
	s.again = false
	return again
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

var examples = [...]string{
	cmdUnknown: "", cmdOther: "NOOP", cmdPORT: "PORT", cmdEPRT: "EPRT", cmdLPRT: "LPRT", cmdPASV: "PASV", cmdEPSV: "EPSV",
	cmdLPSV: "LPSV", cmdEPSVAll: "EPSV ALL", cmdTransfer: "RETR", cmdAUTH: "AUTH", cmdUSER: "USER", cmdPASS: "PASS",
	cmdREIN: "REIN", cmdQUIT: "QUIT",
}

// Continue has a connection of which no segment was seen yet go on from a state.
// Bytes may have passed unseen since then. If nothing is known of the state, t is
// nil, the client may have asked for a port, and the first answer is believed.
func (c *Conn) Continue(t *State) {
	if t == nil {
		if e := c.pending.push(cmdPASV); c.nat64.translates() {
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
	for _, line := range t.Waiting {
		cmd, v, arg := parseCommand([]byte(line))
		e := c.pending.push(cmd)
		if with := ""; c.nat64 != not64 {
			if with, e.told = c.translation(cmd, v, []byte(line[arg:])); with == "NOOP" {
				e.cmd = cmdOther
			}
		}
	}
	if t.NAT64Off && c.nat64.translates() {
		c.nat64 = off64
	}
	for d := range c.stream {
		s, p := &c.stream[d], &t.Stream[d]
		s.known, s.blind = p.Known, p.Known
		s.aligned, s.proven = p.Start, p.Start
		s.next, s.sent = p.Next, p.Next
		s.again, s.gapAt = p.Changed && p.Start, p.Again
	}
	c.met = false
}
