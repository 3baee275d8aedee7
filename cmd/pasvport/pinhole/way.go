// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"sync"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// The direction in which the payload of a data connection may go is decided by
// the command that uses it, and enforced by the kernel. Until that command is
// read, no payload passes. The command may be read before the data connection
// begins, or after: so the pinhole has the way, for the connection's first
// packet, and the connection's id has it from then on.

// Directions is the part of nftables that ways need. rules.Directions implements
// it.
type Directions interface {
	Direct(id uint32, w rules.Way) error
}

// Ways are the data connections whose payload goes in one direction.
type Ways struct {
	Kernel Directions // set before the first pinhole

	table *Table
	mu    sync.Mutex
	of    map[uint32]expect.Tuple // by the id of their entry
	last  map[*Owner]*Pinhole     // the one that was announced last
}

func newWays(t *Table) Ways {
	return Ways{table: t, of: map[uint32]expect.Tuple{}, last: map[*Owner]*Pinhole{}}
}

// announced records that a pinhole is the last of its owner.
func (y *Ways) announced(p *Pinhole) {
	if !p.OneWay {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.last[p.Owner] = p
}

// SetWay sets the direction of the payload of a pinhole that is about to be
// restored or reopened.
func (p *Pinhole) SetWay(w rules.Way) {
	p.OneWay = w != rules.WayAny
	p.way.Store(uint32(w))
}

// wayOf converts the direction w of a data connection that is opened in mode m.
func wayOf(m ftpalg.Mode, w ftpalg.Way) rules.Way {
	if (m == ftpalg.Passive) == (w == ftpalg.Up) {
		return rules.WayOriginal
	}
	return rules.WayReply
}

// Decide sets the direction of the transfer of an owner's last pinhole. settle
// handles pending conntrack events: the data connection may have begun.
func (y *Ways) Decide(o *Owner, w ftpalg.Way, settle func()) {
	y.mu.Lock()
	p := y.last[o]
	y.mu.Unlock()
	if p == nil {
		return
	}
	p.way.Store(uint32(wayOf(p.Mode, w)))
	if y.table.halves.needs(p) {
		y.open(p)
	}
	settle()
	y.direct(p)
}

// open makes the data connections that begin through p from now on have its way.
func (y *Ways) open(p *Pinhole) {
	e := rules.Pinhole{First: p.element.First, Way: p.Way(), Timeout: max(time.Until(p.Until()), keepBefore)}
	t := y.table
	if err := t.Firewall.OpenPinhole(e); err != nil {
		t.warn(p.Owner, "cannot say which way a transfer goes", "tuple", p.expected(), "err", err)
	}
	if !t.halves.needs(p) { // it was answered meanwhile, see Keep
		t.halves.hold(p)
		t.CloseRule(p)
	}
}

// direct tells the kernel the direction of the data connection of p, if that has
// begun.
func (y *Ways) direct(p *Pinhole) {
	id := p.data.Load()
	for id != 0 {
		w := p.Way()
		if err := y.Kernel.Direct(id, w); err != nil {
			y.table.warn(p.Owner, "cannot say which way a transfer goes", "tuple", p.expected(), "err", err)
		}
		if p.Way() == w { // otherwise it was decided meanwhile
			return
		}
	}
}

// met records that a data connection has begun: it has its pinhole's way. The
// kernel is told when the connection is answered, and not before: if a rule adds
// an element at the same time as a transaction there are two afterwards
// (nft_rhash_update in net/netfilter/nft_set_hash.c), and the first packet of a
// claim reaches that rule after the event of its entry.
func (y *Ways) met(e *expect.Entry, p *Pinhole) {
	if p == nil || !p.OneWay {
		return
	}
	y.add(e)
	p.data.Store(e.ID)
	y.direct(p)
}

// Resumed records the data connection of a pinhole that was reopened.
func (y *Ways) Resumed(p *Pinhole) {
	if !p.OneWay {
		return
	}
	y.mu.Lock()
	if y.last[p.Owner] == nil {
		y.last[p.Owner] = p
	}
	y.mu.Unlock()
}

// Found enters an existing data connection whose payload goes in one direction.
func (y *Ways) Found(e *expect.Entry, o *Owner, w rules.Way) {
	p := newPinhole(o, Spec{Key: Key{e.Original.Src.Addr(), e.Original.Dst}, Mode: ftpalg.Passive}, time.Time{})
	if o.Carried(e).Active {
		p.Mode = ftpalg.Active
	}
	p.SetWay(w)
	p.state.Store(uint32(Used))
	p.data.Store(e.ID)
	y.add(e)
	y.announced(p)
}

// NoneFollow reports that an owner sends no more commands.
func (y *Ways) NoneFollow(o *Owner) {
	if !o.OneWay {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	delete(y.last, o)
}

// forget forgets a data connection that is gone.
func (y *Ways) forget(id uint32) {
	y.mu.Lock()
	_, known := y.of[id]
	delete(y.of, id)
	y.mu.Unlock()
	if !known {
		return
	}
	if err := y.Kernel.Direct(id, rules.WayAny); err != nil {
		y.table.report.Log.Warn("cannot forget which way a transfer went", "err", err)
	}
}

// Of returns the data connection with an id whose payload goes in one direction,
// and its owner, or nil.
func (y *Ways) Of(id uint32) (*Owner, expect.Tuple) {
	y.mu.Lock()
	data := y.of[id]
	y.mu.Unlock()
	return y.table.Data.OwnerOf(data), data
}

func (y *Ways) add(e *expect.Entry) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.of[e.ID] = e.Original
}
