// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Close closes a pinhole if it is still there, and reports whether it was; nil
// is not. why is empty or says what closed it.
func (t *Table) Close(ct Conntrack, p *Pinhole, to State, why string) bool {
	if !t.take(p, to) {
		return false
	}
	t.end(ct, p, why)
	return true
}

// CloseOf closes the open pinhole of an owner, and returns it; nil if there is
// none.
func (t *Table) CloseOf(ct Conntrack, o *Owner, why string) *Pinhole {
	p := t.Of(o)
	if !t.Close(ct, p, Closed, why) {
		return nil
	}
	return p
}

// Expire closes a pinhole whose time is over, and reports whether it is.
func (t *Table) Expire(ct Conntrack, p *Pinhole, now time.Time) bool {
	if !now.After(p.Expires) {
		return false
	}
	t.Close(ct, p, Expired, "")
	return true
}

// end closes a pinhole in the kernel that was taken.
func (t *Table) end(ct Conntrack, p *Pinhole, why string) {
	t.undo(ct, p)
	t.events.PinholeEnded(p, why)
}

// undo takes a pinhole out of the kernel.
func (t *Table) undo(ct Conntrack, p *Pinhole) {
	if !p.Claim {
		if err := ct.DeleteExpectation(p.Owner.Original(), p.expected()); err != nil && !errors.Is(err, unix.ENOENT) {
			t.log.Warn("cannot delete an expectation", "tuple", p.expected(), "err", err)
		}
	}
	t.CloseRule(p)
}

// CloseRule takes a pinhole out of the sets of nftables; nil is nothing. For one
// that was used that is due when the other end has answered, and not before: the
// SYN may have to be repeated.
func (t *Table) CloseRule(p *Pinhole) {
	if p == nil {
		return
	}
	e := t.halves.release(p)
	if halvesOf(&e) == [2]half{} {
		return
	}
	if err := t.Firewall.ClosePinhole(e); err != nil {
		t.log.Warn("cannot delete a set element", "tuple", p.expected(), "err", err)
	}
	t.halves.done(&e)
}

// openRule puts a pinhole into the sets of nftables.
func (t *Table) openRule(p *Pinhole) error {
	t.halves.hold(p)
	return t.Firewall.OpenPinhole(p.element)
}
