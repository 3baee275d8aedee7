// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"cmp"
	"errors"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// claimTimeout is the initial timeout of a claimed entry; conntrack sets its own
// with the first packet.
const claimTimeout = 2 * time.Minute

// Begins records a data connection that conntrack reports, and that it used an
// expectation. o is the owner of its control connection.
func (t *Table) Begins(e *expect.Entry, o *Owner) {
	p := t.find(Key{e.Original.Src.Addr(), e.Original.Dst})
	if p == nil || p.Claim || p.Owner != o || !t.take(p, Used) {
		p = nil
	} else {
		t.events.PinholeUsed(p)
	}
	t.begins(e, o, p)
}

// BeginsElsewhere is Begins for a data connection whose entry may have been
// brought into this kernel by another machine, not by a packet: then nothing has
// used up what is open for it here.
func (t *Table) BeginsElsewhere(ct Conntrack, e *expect.Entry, o *Owner) {
	p := t.find(Key{e.Original.Src.Addr(), e.Original.Dst})
	if p != nil && p.Owner == o && t.take(p, Used) {
		t.deleteExpectation(ct, p)
		t.events.PinholeUsed(p)
	} else {
		p = nil
	}
	t.begins(e, o, p)
	if p != nil && e.TCPState >= expect.TCPStateSynRecv {
		t.Answered(e)
	}
}

// begins records a data connection that came through p; nil: not for the first time, or
// through none. Its SYN passes again if its entry was lost and exists again.
func (t *Table) begins(e *expect.Entry, o *Owner, p *Pinhole) {
	if data, lost := t.Data.Lost(o); p == nil && lost != nil && data == e.Original && e.TCPState < expect.TCPStateSynRecv {
		p = lost
		p.element.Source, p.element.Dest, p.element.Note = netip.Addr{}, netip.AddrPort{}, "" // its SYN has come
		p.element.Timeout, p.element.Way = max(time.Until(p.Until()), keepBefore), p.Way()
		if err := t.openRule(p); err != nil {
			t.warn(o, "cannot let a SYN pass again", "tuple", p.expected(), "err", err)
		}
	}
	t.CloseRule(t.Data.begins(e.Original, o, p))
}

// Ends handles the end of an entry, and reports whether it was that of a data
// connection.
func (t *Table) Ends(e *expect.Entry) bool {
	known, rule := t.Data.ends(e)
	t.CloseRule(rule)
	t.Ways.forget(e.ID)
	return known
}

// Answered records that the other end of a data connection has answered: its
// pinhole's rule is not needed any more. It returns the pinhole, or nil.
func (t *Table) Answered(e *expect.Entry) *Pinhole {
	p := t.Data.TakeRule(e.Original)
	t.CloseRule(p)
	t.Ways.met(e, p)
	return p
}

// CatchUp acts on what became of a data connection that was entered late: its events
// may have been handled before that, and found nothing. It returns the entry, or nil.
func (t *Table) CatchUp(ct Conntrack, data expect.Tuple) *expect.Entry {
	e, err := ct.Get(data)
	switch {
	case errors.Is(err, unix.ENOENT):
		t.Ends(&expect.Entry{Original: data})
		return nil
	case err != nil:
		return nil
	case e.TCPState >= expect.TCPStateSynRecv:
		t.Answered(&e)
	}
	return &e
}

// Claim makes the conntrack entry for the SYN of a data connection, seen before
// conntrack, if there is a claimed pinhole for it. It reports whether there is.
func (t *Table) Claim(ct Conntrack, from, to netip.AddrPort, mark uint32) bool {
	p := t.find(Key{from.Addr(), to})
	if p == nil || !p.Claim {
		return false
	}
	if (p.Port == 0 || p.Port == from.Port()) && t.take(p, Used) {
		t.enter(ct, p, from, to, mark)
	}
	return true
}

// ClaimRange makes the entry for the SYN of a data connection that needs no
// announcement: spec is opened and used at once.
func (t *Table) ClaimRange(ct Conntrack, o *Owner, spec Spec, from netip.AddrPort, mark uint32) error {
	p := newPinhole(o, spec, time.Time{})
	p.state.Store(uint32(Used))
	p.element.Source, p.element.Note = netip.Addr{}, "" // its SYN is here
	if err := t.openRule(p); err != nil {
		t.CloseRule(p)
		return err
	}
	t.events.PinholeOpened(p)
	t.enter(ct, p, from, spec.Public, mark)
	return nil
}

// enter makes the conntrack entry for the SYN of a pinhole that was taken.
func (t *Table) enter(ct Conntrack, p *Pinhole, from, to netip.AddrPort, mark uint32) {
	// The SYN has not traversed the rule that gives it a zone: use its master's.
	c := p.entry(expect.Tuple{Src: from, Dst: to, Zone: p.Owner.Zone}, mark|p.Owner.Mark|masterMark(ct, p))
	t.CloseRule(t.Data.Add(c.Original, p.Owner, p)) // before the event reports it
	err := ct.Claim(c)
	if errors.Is(err, unix.EEXIST) {
		err = t.Data.claimAgain(ct, &c)
	}
	if err != nil {
		t.warn(p.Owner, "cannot claim a data connection", "tuple", c.Original, "master", c.Master, "err", err)
		t.Data.drop(c.Original)
		p.state.Store(uint32(Closed))
		t.end(ct, p, report.ReasonKernel.String())
		return
	}
	t.events.PinholeUsed(p)
}

// masterMark is the ct mark of a pinhole's control connection, which an expected
// data connection has, too (init_conntrack in net/netfilter/nf_conntrack_core.c).
func masterMark(ct Conntrack, p *Pinhole) uint32 {
	master, err := ct.Get(p.Owner.Original())
	if err != nil { // then there will be no claim either
		return 0
	}
	return master.Mark
}

// claimAgain makes an entry although another one is in the way: that of an older
// connection between the same two ports, as seen from either side of the
// translation, which has ended and lingers.
func (d *Data) claimAgain(ct Conntrack, c *expect.Claim) error {
	old, err := ct.Get(c.Original)
	switch {
	case err == nil && old.TCPState < expect.TCPStateEstablished:
		return nil // the SYN's own entry
	case err == nil:
		d.replaces(c.Original, old.ID)
		err = ct.Delete(old.Original)
	}
	if old, e := ct.Get(replyOf(c)); err == nil && e == nil && old.TCPState >= expect.TCPStateTimeWait {
		err = ct.Delete(old.Original)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	err = ct.Claim(*c)
	if errors.Is(err, unix.EEXIST) { // a living connection has the translated port
		c.SNAT = netip.AddrPortFrom(c.SNAT.Addr(), 0)
		err = ct.Claim(*c)
	}
	return err
}

// replyOf is the tuple of the replies of a claimed connection.
func replyOf(c *expect.Claim) expect.Tuple {
	t := c.Original.Reverse()
	if c.DNAT.IsValid() {
		t.Src = c.DNAT
	}
	if c.SNAT.IsValid() {
		t.Dst = netip.AddrPortFrom(c.SNAT.Addr(), cmp.Or(c.SNAT.Port(), t.Dst.Port()))
	}
	return t
}

// entry is the conntrack entry for a data connection that begins with SYN syn. It
// is translated like its master.
func (p *Pinhole) entry(syn expect.Tuple, mark uint32) expect.Claim {
	c := expect.Claim{Original: syn, Master: p.Owner.Original(), Mark: mark, Timeout: claimTimeout}
	if !p.NAT {
		return c
	}
	// Set both, even if one changes nothing: a missing one would become a null
	// binding.
	c.DNAT = p.Target
	from, port := p.Owner.Ends.SeenAs.Addr(), uint16(0) // passive: the server sees its client
	if p.Mode == ftpalg.Active {
		// Active: the client sees its server, and the port that it sends from.
		// Without one, the kernel uses the port that this server's port was last
		// translated to, whatever that was.
		from, port = p.Owner.Ends.Dialled.Addr(), syn.Src.Port()
	}
	c.SNAT = netip.AddrPortFrom(from, port)
	return c
}
