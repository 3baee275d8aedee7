// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"sync"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

const (
	// grace is how long packets are dropped that come before the entry of their
	// session.
	grace = 10 * time.Second
	// endedFor is how long a record is kept whose entry is gone although neither
	// end has closed: conntrackd deletes and makes it again.
	endedFor = 10 * time.Second
	// remade is how long packets are dropped meanwhile.
	remade = time.Second
	// maxRecords is how many there are at the most.
	maxRecords = 1 << 16
)

// Known is what is known of a session.
type Known struct {
	succession.Record
	at stamp
	// ours says that this machine has had its packets last, as far as is known.
	ours bool
}

// page is a record, in bytes.
type page struct {
	at     stamp
	ours   bool // this machine has had its packets last
	taken  bool // and of one of the other machine, whether it is live here
	raw    []byte
	reply  expect.Tuple
	noted  time.Time // what is left to its pinholes is left from then on
	missed time.Time // when a packet came without an entry; zero: none has
	ended  time.Time // when its entry went; zero: it has not
}

// book are the records of all sessions, ours and those of the other firewall.
type book struct {
	mu      sync.Mutex
	pages   map[expect.Tuple]*page
	replies map[expect.Tuple]*page // the same, by the tuple of packets that answer
	ended   []expect.Tuple         // whose entries went, the first one first
}

func newBook() book {
	return book{pages: map[expect.Tuple]*page{}, replies: map[expect.Tuple]*page{}}
}

// note enters a record, unless what is known is as new. raw is the book's from then
// on.
func (b *book) note(at stamp, ours bool, r *succession.Record, raw []byte, now time.Time) bool {
	original, reply := expect.Tuple(r.Original), expect.Tuple(r.Reply)
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.pages[original]
	if old != nil && old.reply == reply && !at.newer(old.at) {
		return false
	}
	b.remove(original)
	for t := range b.pages { // any one: those that nobody has ended are old
		if len(b.pages) < maxRecords {
			break
		}
		b.remove(t)
	}
	p := &page{at: at, ours: ours, raw: raw, reply: reply, noted: now}
	b.pages[original], b.replies[reply] = p, p
	return true
}

func (b *book) remove(original expect.Tuple) {
	if p := b.pages[original]; p != nil {
		delete(b.pages, original)
		if b.replies[p.reply] == p {
			delete(b.replies, p.reply)
		}
	}
}

// find returns what is known of a session; nil if that is nothing.
func (b *book) find(original expect.Tuple, now time.Time) *Known {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pages[original]
	if p == nil || !p.ended.IsZero() && now.Sub(p.ended) > endedFor {
		b.remove(original)
		return nil
	}
	return p.known(now)
}

// known reads a page.
func (p *page) known(now time.Time) *Known {
	r, err := succession.ParseRecord(p.raw)
	if err != nil { // it could be read before
		return nil
	}
	passed(&r, now.Sub(p.noted))
	return &Known{r, p.at, p.ours}
}

// passed takes from the time that is left to pinholes.
func passed(r *succession.Record, age time.Duration) {
	for i := range r.Pinholes {
		r.Pinholes[i].Left -= age
	}
}

// live notes that a session has an entry.
func (b *book) live(original expect.Tuple) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.pages[original]; p != nil {
		p.missed, p.ended = time.Time{}, time.Time{}
	}
}

// take notes that a session of the other machine is live here, and reports whether
// that is new.
func (b *book) take(original expect.Tuple) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pages[original]
	if p == nil || p.ours || p.taken {
		return false
	}
	p.taken = true
	return true
}

// has reports whether there is a record.
func (b *book) has(original expect.Tuple) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pages[original] != nil
}

// expects reports whether a packet that has no entry is of a session that is
// known, and whose entry may still come.
func (b *book) expects(t expect.Tuple, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pages[t]
	if p == nil {
		p = b.replies[t]
	}
	if p == nil || !p.ended.IsZero() && now.Sub(p.ended) > remade {
		return false
	}
	if p.missed.IsZero() {
		p.missed = now
	}
	return now.Sub(p.missed) < grace
}

// forget removes the record of a session, if it is not newer than at.
func (b *book) forget(original expect.Tuple, at stamp) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pages[original]
	if p == nil || p.at.gen > at.gen {
		return false
	}
	b.remove(original)
	return true
}

// drop removes the record of a session.
func (b *book) drop(original expect.Tuple) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(original)
}

// gone notes that the entry of a session is.
func (b *book) gone(original expect.Tuple, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.pages[original]; p != nil {
		p.ended = now
		b.ended = append(b.ended, original)
	}
	for len(b.ended) > 0 {
		p := b.pages[b.ended[0]]
		if p != nil && !p.ended.IsZero() {
			if now.Sub(p.ended) <= endedFor {
				break
			}
			b.remove(b.ended[0])
		}
		b.ended = b.ended[1:]
	}
}

// all are the records there are.
func (b *book) all() []*page {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]*page, 0, len(b.pages))
	for _, p := range b.pages {
		if p.ended.IsZero() {
			list = append(list, p)
		}
	}
	return list
}

// count returns how many records there are of sessions of either machine.
func (b *book) count() (ours, theirs int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pages {
		if p.ours {
			ours++
		} else {
			theirs++
		}
	}
	return ours, theirs
}

func (b *book) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pages)
}
