// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// claimTimeout is what a claimed entry starts with; the tracker sets its own
// with the first packet.
const claimTimeout = 2 * time.Minute

// claim handles the SYN of a data connection, seen before the tracker: it
// makes the conntrack entry that the SYN then finds. Whatever happens the SYN
// goes on; without an entry of ours it is nothing special to the
// administrator's rules.
func (w *worker) claim(p *nfq.Packet) {
	key := pinholeKey{p.Src.Addr(), p.Dst}
	h := w.g.pinholes.find(key)
	switch {
	case h == nil || !h.claim:
		w.claimInRange(p)
	case (h.port == 0 || h.port == p.Src.Port()) && w.g.takeOpen(h) != nil:
		w.take(h, p)
	}
	w.verdict(w.queue.Accept(p.ID))
}

// take makes the conntrack entry for the SYN of a pinhole that was taken.
func (w *worker) take(h *pinhole, p *nfq.Packet) {
	// Its SYN has not come to the rule that gives it a zone: its master's.
	c := h.entry(expect.Tuple{Src: p.Src, Dst: p.Dst, Zone: h.session.zone[expect.Original]}, w.g.cfg.Control())
	w.g.data.add(c.Original, h.session, h) // before the event tells of it
	err := w.ct.Claim(c)
	if errors.Is(err, unix.EEXIST) {
		err = w.claimAgain(c)
	}
	if errors.Is(err, unix.EEXIST) { // somebody else's connection has the translated port
		c.SNAT = netip.AddrPortFrom(c.SNAT.Addr(), 0)
		err = w.ct.Claim(c)
	}
	if err != nil {
		w.g.log.Warn("cannot claim a data connection", "tuple", c.Original, "master", c.Master, "err", err)
		w.g.data.take(c.Original)
		w.g.closePinhole(w.ct, h, ftpalg.ReasonKernel)
		return
	}
	w.g.used(h)
}

// claimAgain replaces the entry of an older connection between the same two
// ports, which has ended and lingers.
func (w *worker) claimAgain(c expect.Claim) error {
	old, err := w.ct.Get(c.Original)
	if err == nil {
		if old.TCPState < expect.TCPStateFinWait {
			return nil // the SYN's own entry
		}
		err = w.ct.Delete(old.Original)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return w.ct.Claim(c)
}

// entry is the conntrack entry for a data connection that begins with SYN t.
// It is translated as its master is.
func (h *pinhole) entry(t expect.Tuple, mark uint32) expect.Claim {
	c := expect.Claim{Original: t, Master: h.session.original(), Mark: mark, Timeout: claimTimeout}
	if !h.nat {
		return c
	}
	// Both, also where one changes nothing: what is missing would become a
	// null binding all the same.
	c.DNAT = h.target
	from, port := h.session.ep.SeenAs.Addr(), uint16(0) // passive: the server sees its client
	if h.mode == ftpalg.Active {
		// Active: the client sees its server, and the port that it sends from.
		// If none is named, the kernel takes the one that this server's port
		// was last translated to, whatever that was.
		from, port = h.session.ep.Dialled.Addr(), t.Src.Port()
	}
	c.SNAT = netip.AddrPortFrom(from, port)
	return c
}
