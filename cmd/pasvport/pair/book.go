// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

const (
	// grace is how long packets are dropped that arrive before the entry of their
	// session.
	grace = 10 * time.Second
	// goneFor is how long a record is kept whose entry is gone although neither end
	// has closed. conntrackd deletes and recreates it; or it empties the table of a
	// machine that is the backup now, which gets the session back if it takes the
	// addresses again. Servers end idle sessions sooner.
	goneFor = time.Hour
	// endedFor is how long it is known of a session that it has ended: its last
	// packets may be retransmitted. For longer than that after an entry is gone a
	// packet makes conntrack take the connection up itself, and what that does not
	// show is not known.
	endedFor = 10 * time.Second
	// retransmitted is after how long a packet is not one of those before it again. The
	// addresses may come twice, and between them a session may have sent nothing.
	retransmitted = 3 * grace
	// remade is how long packets are dropped meanwhile.
	remade = time.Second
	// maxRecords is the maximum number of records.
	maxRecords = 1 << 16
)

// Known is what is known of a session.
type Known struct {
	succession.Record
	raw []byte // the same, encoded, without what its pinholes have seen since
	at  stamp
	// ours says that this machine saw its last packets, as far as is known.
	ours bool
}

// page is an encoded record.
type page struct {
	at     stamp
	raw    []byte
	uses   []use // since raw
	reply  mark
	noted  instant // the remaining times of its pinholes count from then on
	missed instant // when the first of several packets came without an entry; zero: never
	latest instant // when the last one did
	ended  instant // when its entry disappeared, or it was over; zero: it exists
	over   bool    // the session has ended: nothing else is known of it
	ours   bool    // this machine saw its last packets
	taken  bool    // for a session of the other machine, whether it is live here
	absent bool    // there is no entry; its event will report one
	out    bool    // it was removed from the book
	lent   bool    // someone has raw, which does not change any more
}

// use is that a data connection has come, or was answered.
type use struct {
	data     expect.Tuple
	answered bool
}

// maxUses is how many a page has at the most: a daemon with a peer has it told of them
// long before.
const maxUses = 8

// instant is a time in nanoseconds since epoch. A page has many.
type instant int64

var epoch = time.Now()

// instantOf is never zero.
func instantOf(t time.Time) instant { return instant(max(t.Sub(epoch), 1)) }

func (i instant) before(now time.Time) time.Duration { return now.Sub(epoch) - time.Duration(i) }

// mark identifies a tuple: two tuples have different marks.
type mark [2]uint64

// book has the records of all sessions, ours and those of the other firewall.
type book struct {
	seeds [2]maphash.Seed

	mu      sync.Mutex
	pages   map[mark]*page // by the original tuple
	replies map[mark]*page // the same, by the tuple of reply packets
	ended   []mark         // that are over, the oldest first
	lost    []mark         // whose entries disappeared, the oldest first
	scratch []byte         // for a record being encoded
}

func newBook() book {
	return book{pages: map[mark]*page{}, replies: map[mark]*page{}, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

func (b *book) mark(t expect.Tuple) mark {
	return mark{maphash.Comparable(b.seeds[0], t), maphash.Comparable(b.seeds[1], t)}
}

// of returns the page of a session that is not over, by its original tuple, or nil.
// b.mu is held.
func (b *book) of(original expect.Tuple) *page {
	if p := b.pages[b.mark(original)]; p != nil && !p.over {
		return p
	}
	return nil
}

// gen is the generation of what is known of a session, over or not; zero: nothing is.
func (b *book) gen(original expect.Tuple) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.pages[b.mark(original)]; p != nil {
		return p.at.gen
	}
	return 0
}

// note enters a record, unless what is known is as new. raw must not change from then
// on. look says whether there may be an entry whose event has already come.
func (b *book) note(at stamp, ours bool, from, to expect.Tuple, raw []byte, now time.Time) (news, look bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pageFor(b.mark(from), b.mark(to), at)
	if p == nil {
		return false, false
	}
	p.set(at, ours, raw, now)
	p.lent = true
	return true, !p.absent
}

// write enters the newest record of a session of ours, whose page it has had or nil. It
// returns the page, nil if the other firewall knows better, and the bytes, which only stay
// as they are if they are lent.
func (b *book) write(p *page, at stamp, r *succession.Record, lend bool, now time.Time) (_ *page, raw []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case p == nil || p.out:
		p = b.pageFor(b.mark(expect.Tuple(r.Original)), b.mark(expect.Tuple(r.Reply)), at)
	case !at.newer(p.at):
		p = nil
	}
	if p == nil {
		return nil, succession.AppendRecord(nil, r)
	}
	b.scratch = succession.AppendRecord(b.scratch[:0], r)
	raw = p.raw
	if n := len(b.scratch); p.lent || cap(raw) < n || cap(raw) > 2*n {
		raw = make([]byte, 0, n)
	}
	raw = append(raw[:0], b.scratch...)
	p.set(at, true, raw, now)
	p.lent = lend
	return p, raw
}

// pageFor returns the page for a record, a new one if there is none with its tuples; nil:
// what is known is as new. b.mu is held.
func (b *book) pageFor(original, reply mark, at stamp) *page {
	p := b.pages[original]
	switch {
	case p == nil || p.reply != reply:
		return b.add(original, reply)
	case !at.newer(p.at):
		return nil
	}
	return p
}

// add adds a page in place of what there is with its tuples. b.mu is held.
func (b *book) add(original, reply mark) *page {
	b.remove(original)
	b.makeRoom()
	p := &page{reply: reply}
	b.pages[original], b.replies[reply] = p, p
	return p
}

// set enters a record in its page.
func (p *page) set(at stamp, ours bool, raw []byte, now time.Time) {
	*p = page{at: at, ours: ours, raw: raw, reply: p.reply, noted: instantOf(now), absent: p.absent}
}

// makeRoom makes room for a page. b.mu is held.
func (b *book) makeRoom() {
	for len(b.pages) >= maxRecords && len(b.lost) > 0 {
		if p := b.pages[b.lost[0]]; p != nil && p.ended != 0 {
			b.remove(b.lost[0])
		}
		b.lost = b.lost[1:]
	}
	for k := range b.pages { // any one: those that no one has ended are old
		if len(b.pages) < maxRecords {
			break
		}
		b.remove(k)
	}
}

func (b *book) remove(original mark) {
	if p := b.pages[original]; p != nil {
		p.out = true
		delete(b.pages, original)
		if b.replies[p.reply] == p {
			delete(b.replies, p.reply)
		}
	}
}

// lend returns a copy.
func (p *page) lend() page {
	p.lent = true
	return *p
}

// find returns what is known of a session, or nil.
func (b *book) find(original expect.Tuple, now time.Time) *Known {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.of(original)
	switch {
	case p == nil:
		return nil
	case p.ended != 0 && p.ended.before(now) > goneFor:
		b.remove(b.mark(original))
		return nil
	}
	return p.known(now)
}

// known reads a page.
func (p *page) known(now time.Time) *Known {
	r, err := succession.ParseRecord(p.raw)
	if err != nil {
		return nil
	}
	for _, u := range p.uses {
		u.enter(&r)
	}
	passed(&r, p.noted.before(now))
	p.lent = true
	return &Known{r, p.raw, p.at, p.ours}
}

// enter records a use: a daemon that continues from the record opens the pinhole for
// this connection alone, whose SYN may be retransmitted, or no longer if it was
// answered.
func (u use) enter(r *succession.Record) {
	through := func(h succession.Pinhole) bool { return h.Source == u.data.Src.Addr() && h.Public == u.data.Dst }
	at := slices.IndexFunc(r.Pinholes, through)
	switch {
	case at < 0:
	case u.answered:
		r.Pinholes = slices.Delete(r.Pinholes, at, at+1)
	default:
		r.Pinholes[at].Data = (*succession.Tuple)(&u.data)
	}
}

// passed reduces the remaining times of pinholes.
func passed(r *succession.Record, age time.Duration) {
	for i := range r.Pinholes {
		r.Pinholes[i].Left -= age
	}
}

// live records that a session has an entry. It returns a copy of the page of one of this
// machine's that had none before, or nil: see all.
func (b *book) live(original expect.Tuple) (again *page) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.of(original)
	if p == nil {
		return nil
	}
	if p.ours && p.ended != 0 {
		again = new(p.lend())
	}
	p.missed, p.ended, p.absent = 0, 0, false
	return again
}

// entered records that a session may have an entry, and reports whether it continues from
// its record. brought says that no packet has made that entry.
func (b *book) entered(original expect.Tuple, brought bool, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.of(original)
	if p == nil {
		return false
	}
	p.absent = false
	return brought || p.ended == 0 || p.ended.before(now) <= endedFor
}

// without records that a session has no entry.
func (b *book) without(original expect.Tuple) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.of(original); p != nil {
		p.absent = true
	}
}

// take records that a session of the other machine is live here, and reports
// whether that is new.
func (b *book) take(original expect.Tuple) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.of(original)
	if p == nil || p.ours || p.taken {
		return false
	}
	p.taken = true
	return true
}

// used records that a data connection has used a pinhole, or was answered.
func (b *book) used(original, data expect.Tuple, answered bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.of(original)
	if p == nil {
		return
	}
	p.uses = append(p.uses, use{data, answered})
	if len(p.uses) < maxUses {
		return
	}
	if k := p.known(now); k != nil {
		p.raw, p.noted = succession.AppendRecord(nil, &k.Record), instantOf(now)
	}
	p.uses = nil
}

// retell returns a copy of the page of a session of ours, which is newer than what was told
// of it, or nil.
func (b *book) retell(original expect.Tuple) *page {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.of(original)
	if p == nil || !p.ours {
		return nil
	}
	p.at.seq++
	return new(p.lend())
}

// has reports whether there is a record.
func (b *book) has(original expect.Tuple) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(original) != nil
}

// ours reports whether there is a record of a session, and this machine saw its last
// packets, as far as is known.
func (b *book) ours(original expect.Tuple) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.of(original)
	return p != nil && p.ours
}

// expects reports whether a packet without an entry belongs to a known session
// whose entry may still come. late is set for a packet that cannot pass without: then it
// may also be long since there was one.
func (b *book) expects(t expect.Tuple, late bool, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.mark(t)
	p := b.pages[k]
	if p == nil {
		p = b.replies[k]
	}
	within := remade
	switch {
	case p == nil:
		return false
	case p.over:
		within = endedFor
	case late:
		within = goneFor
	}
	if p.ended != 0 && p.ended.before(now) > within {
		return false
	}
	if p.missed == 0 || p.latest.before(now) > retransmitted {
		p.missed = instantOf(now)
	}
	p.latest = instantOf(now)
	return p.missed.before(now) < grace
}

// end records that a session is over, unless the record of it is newer than at.
func (b *book) end(original expect.Tuple, at stamp, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.of(original)
	if p == nil || p.at.gen > at.gen {
		return false
	}
	p.raw, p.uses, p.over = nil, nil, true
	if at.newer(p.at) {
		p.at = at
	}
	b.leave(b.mark(original), p, now)
	return true
}

// drop removes the record of a session.
func (b *book) drop(original expect.Tuple) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(b.mark(original))
}

// gone records that the entry of a session is gone.
func (b *book) gone(original expect.Tuple, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.of(original); p != nil {
		b.leave(b.mark(original), p, now)
	}
}

// leave keeps a page for a while, and removes those that were kept long enough. b.mu is
// held.
func (b *book) leave(k mark, p *page, now time.Time) {
	p.ended = instantOf(now)
	list := &b.lost
	if p.over {
		list = &b.ended
	}
	*list = append(*list, k)
	b.ended = b.tidy(b.ended, true, endedFor, now)
	b.lost = b.tidy(b.lost, false, goneFor, now)
}

// tidy removes the first pages of a list that were kept for long enough.
func (b *book) tidy(list []mark, over bool, kept time.Duration, now time.Time) []mark {
	for len(list) > 0 {
		p := b.pages[list[0]]
		if p != nil && p.ended != 0 && p.over == over { // otherwise it is in the other list, or in none
			if p.ended.before(now) <= kept {
				break
			}
			b.remove(list[0])
		}
		list = list[1:]
	}
	return list
}

// all are copies of the current records. Those are told when they are live again whose
// entry is gone at the moment.
func (b *book) all() []page {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]page, 0, len(b.pages))
	for _, p := range b.pages {
		if p.ended == 0 {
			list = append(list, p.lend())
		}
	}
	return list
}

// count returns the number of records of this and of the other machine's
// sessions that have not lost their entry.
func (b *book) count() (ours, theirs int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pages {
		switch {
		case p.ended != 0:
		case p.ours:
			ours++
		default:
			theirs++
		}
	}
	return ours, theirs
}

// len returns the number of records.
func (b *book) len() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pages {
		if !p.over {
			n++
		}
	}
	return n
}
