// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
)

// Close closes a pinhole if it still exists, and reports whether it did; nil does
// not. why is empty or says what closed it.
func (t *Table) Close(ct Conntrack, p *Pinhole, to State, why string) bool {
	if !t.take(p, to) {
		return false
	}
	t.end(ct, p, why)
	return true
}

// CloseOf closes the open pinhole of an owner, and returns it, or nil.
func (t *Table) CloseOf(ct Conntrack, o *Owner, why string) *Pinhole {
	p := t.Of(o)
	if !t.Close(ct, p, Closed, why) {
		return nil
	}
	return p
}

// Expire closes a pinhole that has timed out, and reports whether it has. The
// caller has handled pending conntrack events: an expectation that is gone
// without a connection was used up by a dropped packet.
func (t *Table) Expire(ct Conntrack, p *Pinhole, now time.Time) bool {
	if !now.After(p.Until()) {
		return false
	}
	if t.take(p, Expired) {
		if t.undo(ct, p) && lives(ct, p.Owner) {
			p.state.Store(uint32(Dropped))
		}
		t.events.PinholeEnded(p, "")
	}
	return true
}

// lives reports whether a control connection still has the same entry: with
// another one its expectations are gone.
func lives(ct Conntrack, o *Owner) bool {
	e, err := ct.Get(o.Original())
	return err == nil && e.ID == o.ID
}

// Repeats records that something was retransmitted on a control connection since
// its pinhole was opened: a packet was lost, so the opener may not know yet that
// it has to connect.
func (t *Table) Repeats(o *Owner, now time.Time) {
	if p := t.Of(o); p != nil {
		p.repeated.Store(now.UnixNano())
	}
}

// repeatsUntil returns until when a pinhole is kept because of retransmissions:
// as TCP doubles its timeout, the next one may come after as long again.
func (p *Pinhole) repeatsUntil() time.Time {
	at := p.repeated.Load()
	if at == 0 {
		return p.Expires
	}
	open := time.Duration(at - p.Expires.Add(-p.Timeout).UnixNano())
	return time.Unix(0, at).Add(open + p.Timeout)
}

// longest is the longest that Keep keeps a pinhole open.
const longest = 300 * time.Second

// Keep keeps a pinhole that is about to expire and whose data connection may
// still come. Either waits is set: a transfer command of its control connection
// waits for its final reply. Some servers connect after more than a minute, and
// some clients wait for a slow 150. Or something was retransmitted there, see
// Repeats.
func (t *Table) Keep(ct Conntrack, p *Pinhole, now time.Time, waits bool) {
	before, until := p.Until(), p.repeatsUntil()
	if again := now.Add(max(p.Timeout, 2*keepBefore)); waits && again.After(until) {
		until = again
	}
	if last := p.Expires.Add(longest - p.Timeout); until.After(last) {
		until = last
	}
	if before.Sub(now) > keepBefore || !until.After(before) || t.find(p.Key) != p {
		return
	}
	p.kept.Store(until.UnixNano())
	if !p.Claim {
		x := p.expectation()
		x.Timeout = until.Sub(now) + keepBefore // it is we who close it
		if err := ct.ProlongExpectation(x); err != nil && !errors.Is(err, unix.ENOENT) {
			t.warn(p.Owner, "cannot keep an expectation", "tuple", p.expected(), "err", err)
		}
	}
	e := p.element
	e.Timeout = until.Sub(now) + keepBefore
	e.Way = p.Way()
	if err := t.Firewall.OpenPinhole(e); err != nil {
		t.warn(p.Owner, "cannot keep a set element", "tuple", p.expected(), "err", err)
	}
	if t.halves.needs(p) {
		return
	}
	// It ended meanwhile, and its elements may have been closed before they were
	// opened again.
	t.halves.hold(p)
	t.CloseRule(p)
}

// end closes a pinhole in the kernel that was taken.
func (t *Table) end(ct Conntrack, p *Pinhole, why string) {
	t.undo(ct, p)
	t.events.PinholeEnded(p, why)
}

// undo removes a pinhole from the kernel. gone reports that its expectation was
// already gone.
func (t *Table) undo(ct Conntrack, p *Pinhole) (gone bool) {
	gone = t.deleteExpectation(ct, p)
	t.CloseRule(p)
	return gone
}

// deleteExpectation deletes the expectation of a pinhole, if it has one, and
// reports whether it was already gone.
func (t *Table) deleteExpectation(ct Conntrack, p *Pinhole) (gone bool) {
	if p.Claim {
		return false
	}
	err := ct.DeleteExpectation(p.Owner.Original(), p.expected())
	if gone = errors.Is(err, unix.ENOENT); err != nil && !gone {
		t.warn(p.Owner, "cannot delete an expectation", "tuple", p.expected(), "err", err)
	}
	return gone
}

// CloseRule removes a pinhole from the sets of nftables; nil is ignored. A used
// one must stay until the other end has answered: the SYN may have to be
// retransmitted.
func (t *Table) CloseRule(p *Pinhole) {
	if p == nil {
		return
	}
	e := t.halves.release(p)
	if halvesOf(&e) == [places]half{} {
		return
	}
	if err := t.Firewall.ClosePinhole(e); err != nil {
		t.warn(p.Owner, "cannot delete a set element", "tuple", p.expected(), "err", err)
	}
	t.halves.done(&e)
}

// CloseRules is CloseRule for all data connections of an owner that were not
// answered: they will not be any more, or elsewhere.
func (t *Table) CloseRules(o *Owner) {
	var list []expect.Tuple
	t.Data.EachRule(func(data expect.Tuple, p *Pinhole) {
		if p.Owner == o {
			list = append(list, data)
		}
	})
	for _, data := range list {
		t.CloseRule(t.Data.TakeRule(data))
	}
	t.Data.forget(o)
}

// openRule puts a pinhole into the sets of nftables.
func (t *Table) openRule(p *Pinhole) error {
	t.halves.hold(p)
	return t.Firewall.OpenPinhole(p.element)
}
