// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

// open opens the pinholes that an earlier daemon closed when it was stopped. Its
// sessions were taken back before; a pinhole that belongs to none of them, or
// that none could ask for now, is not opened.
func (h *heir) open(l legacy) {
	for _, r := range l {
		s := h.registry.session(expect.Tuple(r.Original))
		if s == nil || s.Owner.Monitored || !r.Is(s.ID(), s.Original(), s.Reply()) || s.Left() != succession.LeftNot {
			continue
		}
		for _, p := range r.Pinholes {
			if err := h.reopen(s, p); err != nil {
				h.warn(s.Subject(), "cannot take back all of an earlier daemon's sessions", "from", p.Source, "to", p.Public, "err", err)
			}
		}
	}
}

// tell records what to tell the other firewall of a pair about the sessions that
// were taken back. If there was a crash in between, it may know more than the
// kernel.
func (h *heir) tell(peer *pair.Pair, l legacy) {
	now := time.Now()
	for _, s := range h.table.All() {
		r := s.Acquire(&h.work)
		if r == nil {
			continue
		}
		if !s.Owner.Monitored && !s.Closing() {
			rec := h.left(r, l, now)
			peer.Inherit(s.Pair, &rec)
		}
		r.Release()
	}
}

// left is what an earlier daemon has left of a session.
func (h *heir) left(r *session.Reader, l legacy, now time.Time) succession.Record {
	rec := new(draft).of(r, h.pinholes, now)
	if before := l[r.Original()]; before != nil && before.Is(r.ID(), r.Original(), r.Reply()) {
		rec.Told, rec.Engine = before.Told, before.Engine // its own engine knows less before the first packet
	} else {
		rec.Engine = nil // it has read nothing yet
	}
	return rec
}

// reopen opens a pinhole again or, if its data connection has begun, only the way
// for that one's SYN.
func (h *heir) reopen(s *session.Session, p succession.Pinhole) error {
	set := h.settings()
	terms := succession.Terms{
		Ends: s.Ends(), Zone: s.Owner.Zone, Policy: set.policyFor(&expect.Entry{Original: s.Original(), Reply: s.Reply()}),
		StrictActivePort: set.StrictActivePort, Timeout: set.PinholeTimeout,
	}
	p, err := terms.Judge(p)
	if err != nil {
		return err
	}
	spec := pinhole.Spec{
		Key: pinhole.Key{Source: p.Source, Public: p.Public}, Target: p.Target, Mode: p.Mode(), NAT: p.NAT,
		Claim: h.byClaim(&s.Owner), Port: p.Port, Timeout: p.Left,
	}
	hole := &pinhole.Pinhole{Spec: spec, Owner: &s.Owner, Expires: time.Now().Add(p.Left)}
	hole.SetWay(p.Way)
	switch {
	case p.Data != nil:
		err := h.pinholes.ReopenRule(hole, expect.Tuple(*p.Data))
		h.pinholes.Ways.Resumed(hole)
		h.pinholes.CatchUp(h.ct, expect.Tuple(*p.Data))
		return err
	case h.pinholes.Of(&s.Owner) != nil:
		return nil // there was a crash in between, and the kernel had it
	case spec.Claim && !h.claims():
		return errNoClaims
	}
	opened, err := h.pinholes.Reopen(h.ct, hole)
	if opened {
		h.holes.takenBack(hole)
	}
	return err
}

// errNoClaims says that a pinhole needs a claim, which this daemon does not make.
var errNoClaims = errors.New("by claim, which this daemon does not make")
