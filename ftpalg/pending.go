// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"math"
	"slices"
)

const (
	// maxPending is how many unanswered commands are remembered individually. If
	// a client pipelines more, the oldest are only counted.
	maxPending = 64
	// maxSkipped is how many replies to other commands may overtake a command
	// before it is given up. Some servers send a reply too many, for example
	// after ABOR, so that PASV seems to get "Type set to I".
	maxSkipped = 3
)

// entry is a command that the server has not answered yet.
type entry struct {
	cmd     command
	offer   bool   // it made the current offer
	ahead   bool   // it was sent before an earlier command was answered
	explain bool   // it was made to fail, and the error that answers it is to say why
	begun   bool   // a 1xx reply has come
	skipped uint8  // replies that cannot have been to it
	told    told   // what the client gets in place of the reply
	way     Way    // direction, of a transfer
	guessed bool   // it may not have been given
	earlier bool   // of an answered one: the current offer was made by a later command
	count   uint16 // of cmdMany: number of commands
	asked   uint16 // of cmdMany: number of them that ask for a port
}

// pending is the queue of commands that the server has not answered yet. The
// first entry may stand for many.
type pending struct {
	list []entry
}

// push adds a command and returns its entry, which is valid until the next call.
// If the queue is full its oldest commands are only counted.
func (p *pending) push(c command) *entry {
	if isPassive(c) { // then it is not the one that may have been given before
		p.list = slices.DeleteFunc(p.list, func(e entry) bool { return e.told == told229Once })
	}
	ahead := p.waiting()
	if p.full() {
		p.merge()
	}
	p.list = append(p.list, entry{cmd: c, ahead: ahead})
	return &p.list[len(p.list)-1]
}

// merge merges the two oldest entries.
func (p *pending) merge() {
	many := p.list[0]
	for _, e := range p.list[:2] {
		if e.cmd == cmdMany {
			continue
		}
		if many.cmd != cmdMany {
			many = entry{cmd: cmdMany}
		}
		many.count = min(many.count, math.MaxUint16-1) + 1
		if isPassive(e.cmd) {
			if many.told = toldAll; e.told == told229 {
				many.told = told229
			}
			many.asked = min(many.asked, math.MaxUint16-1) + 1
		}
	}
	p.remove(0)
	p.list[0] = many
}

// many returns the entry that stands for many commands, nil if there is none.
func (p *pending) many() *entry {
	if len(p.list) == 0 || p.list[0].cmd != cmdMany {
		return nil
	}
	return &p.list[0]
}

// takeMany takes one of many commands as answered.
func (p *pending) takeMany() {
	m := &p.list[0]
	m.count--
	m.asked = min(m.asked, m.count)
	if m.count == 0 {
		p.remove(0)
	}
}

// asks reports whether a command waits for a reply with a port.
func (p *pending) asks() bool {
	m := p.many()
	return m != nil && m.asked > 0 || p.index(isPassive) >= 0
}

// takeAsked returns the command that a reply with a port answers, and removes it
// if that is the final reply.
func (p *pending) takeAsked(last bool) (e entry, ok bool) {
	if m := p.many(); m != nil && m.asked > 0 {
		if last {
			m.asked--
			p.takeMany()
		}
		return entry{cmd: cmdPASV, ahead: true, told: m.told}, true
	}
	i := p.index(isPassive)
	if i < 0 {
		return e, false
	}
	e = p.list[i]
	if last {
		p.drop(i + 1)
	}
	return e, true
}

func (p *pending) full() bool { return len(p.list) == maxPending }

// waiting reports whether a command has had no reply at all. One that got a 1xx
// reply does not count: ABOR and STAT may follow (RFC 959 section 4.1.3).
func (p *pending) waiting() bool {
	for i := range p.list {
		if !p.list[i].begun {
			return true
		}
	}
	return false
}

// drop removes the n oldest commands.
func (p *pending) drop(n int) {
	p.list = append(p.list[:0], p.list[n:]...)
}

// remove removes the command at place i.
func (p *pending) remove(i int) {
	p.list = append(p.list[:i], p.list[i+1:]...)
}

// index returns the place of the first command that f accepts, or -1.
func (p *pending) index(f func(command) bool) int {
	for i := range p.list {
		if f(p.list[i].cmd) {
			return i
		}
	}
	return -1
}

// begin handles a 1xx reply: the transfer has begun, so the commands before it
// are answered.
func (p *pending) begin() {
	if i := p.index(isTransfer); i >= 0 && p.many() == nil {
		p.drop(i)
		p.list[0].begun = true
	}
}

// answer removes and returns the command that a final reply with this code
// answers: the oldest that can have got it.
func (p *pending) answer(code int) (entry, bool) {
	if p.many() != nil {
		p.takeMany()
		return entry{cmd: cmdOther}, true
	}
	for i := range p.list {
		e := p.list[i]
		if e.cmd.answeredBy(code) {
			e.earlier = slices.ContainsFunc(p.list[i+1:], func(later entry) bool { return later.offer })
			p.remove(i)
			p.forget()
			return e, true
		}
		p.list[i].skipped++
	}
	p.forget()
	return entry{}, false
}

// forget gives up commands that were overtaken too often.
func (p *pending) forget() {
	for len(p.list) > 0 && p.list[0].skipped > maxSkipped {
		p.drop(1)
	}
}

// newOffer records that the offers of the commands so far are no longer valid.
func (p *pending) newOffer() {
	for i := range p.list {
		p.list[i].offer = false
	}
}

// told reports whether an awaited reply, the next one first, is replaced.
func (p *pending) told() bool {
	return slices.ContainsFunc(p.list, func(e entry) bool { return e.told >= told504 })
}

// toldOf returns what the client gets in place of a reply with this code. A 1xx
// and a 421 pass unchanged, and ports are handled elsewhere.
func (p *pending) toldOf(code int) told {
	if code < 200 || code == 421 || isPassiveCode(code) || p.many() != nil {
		return toldAll
	}
	for i := range p.list {
		if e := &p.list[i]; e.cmd.answeredBy(code) {
			return e.told
		}
	}
	return toldAll
}
