// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// handover is what a daemon that was stopped leaves to the next one. Of all of
// it nothing is in the kernel any more: it takes effect when a daemon that
// starts in time finds the control connections as they were.
type handover struct {
	Pinholes []handedPinhole
	Adjusted []handedAdjustments
}

func (h *handover) empty() bool { return len(h.Pinholes)+len(h.Adjusted) == 0 }

// identity is a control connection: no other one has both the tuples and the
// id of its conntrack entry.
type identity struct {
	ID              uint32
	Original, Reply expect.Tuple
}

func (s *session) identity() identity { return identity{s.id, s.original(), s.reply()} }

// identityOf is the same of the owner of a pinhole, which is in one zone.
func identityOf(o *pinhole.Owner) identity {
	return identity{o.ID, o.Original(), expect.Tuple{Src: o.Ends.Server, Dst: o.Ends.SeenAs, Zone: o.Zone}}
}

// handedPinhole is a pinhole that was open.
type handedPinhole struct {
	Session identity
	Source  netip.Addr
	Public  netip.AddrPort
	Note    string // as of pinhole.Pinhole.Note
	Claim   bool
	Expires time.Time
	// Data is the data connection that came through it and was not answered
	// yet: its SYN may be repeated.
	Data *expect.Tuple `json:",omitempty"`
}

// handedAdjustments are those of a session that was adjusted here.
type handedAdjustments struct {
	Session identity
	Note    string     // as of adjustments.note
	Next    [2]*uint32 // what each end would send next, by direction, if that is known
}

// handOver returns what there is to hand over. The workers have ended.
func (g *Gateway) handOver() handover {
	var h handover
	for _, p := range g.pinholes.All() {
		h.Pinholes = append(h.Pinholes, g.handed(p, nil))
	}
	g.pinholes.Data.EachRule(func(t expect.Tuple, p *pinhole.Pinhole) { h.Pinholes = append(h.Pinholes, g.handed(p, &t)) })
	for _, w := range g.holders() {
		for _, s := range w.table.all() {
			if s.here {
				h.Adjusted = append(h.Adjusted, s.handed())
			}
		}
	}
	return h
}

func (g *Gateway) handed(p *pinhole.Pinhole, data *expect.Tuple) handedPinhole {
	return handedPinhole{Session: identityOf(p.Owner), Source: p.Source, Public: p.Public,
		Note: p.Note(), Claim: p.Claim, Expires: p.Expires, Data: data}
}

func (s *session) handed() handedAdjustments {
	a := handedAdjustments{Session: s.identity(), Note: s.adjustments().note()}
	for d := range a.Next {
		if seq, known := s.alg.Next(ftpalg.Direction(d)); known {
			a.Next[d] = &seq
		}
	}
	return a
}

// adjustments returns what was handed over of an entry's session, nil if that
// is nothing.
func (h *handover) adjustments(e *expect.Entry) *handedAdjustments {
	for i := range h.Adjusted {
		if a := &h.Adjusted[i]; a.Session == (identity{e.ID, e.Original, e.Reply}) {
			return a
		}
	}
	return nil
}

// takeHandedOver opens the pinholes that an earlier daemon closed when it was
// stopped. Its sessions were taken back before; what belongs to none is not
// opened.
func (g *Gateway) takeHandedOver(h *handover) error {
	var err error
	for i := range h.Pinholes {
		x := &h.Pinholes[i]
		_, s := g.session(x.Session.Original)
		if s == nil || s.identity() != x.Session || s.aside {
			continue
		}
		p, ok := x.pinhole(s, g.settings().PinholeTimeout)
		if ok && p.Claim && !g.claims {
			err = errors.Join(err, fmt.Errorf("pinhole from %v to %v: by claim, which this daemon does not make", x.Source, x.Public))
		} else if ok {
			err = errors.Join(err, g.reopen(p, x.Data))
		}
	}
	return err
}

// pinhole returns the pinhole of a session for the time that is left to it, at
// the most as long as a new one.
func (x *handedPinhole) pinhole(s *session, most time.Duration) (*pinhole.Pinhole, bool) {
	spec, id, ok := pinhole.ParseNote(x.Note)
	left := min(time.Until(x.Expires), most)
	if !ok || id != s.id || left <= 0 || !x.Source.IsValid() || x.Public.Port() == 0 || spec.Target.Port() == 0 ||
		x.Source.Is4() != x.Public.Addr().Is4() || x.Source.Is4() != spec.Target.Addr().Is4() {
		return nil, false
	}
	spec.Key, spec.Claim, spec.Timeout = pinhole.Key{Source: x.Source, Public: x.Public}, x.Claim, left
	return &pinhole.Pinhole{Spec: spec, Owner: &s.owner, Expires: time.Now().Add(left)}, true
}

// reopen opens a pinhole again or, if its data connection has come, only the
// way for that one's SYN.
func (g *Gateway) reopen(p *pinhole.Pinhole, data *expect.Tuple) error {
	if data != nil {
		return g.pinholes.ReopenRule(p, *data)
	}
	opened, err := g.pinholes.Reopen(g.ct, p) // not if a crash was in between, and the kernel had it
	if opened {
		g.reopened(p)
	}
	return err
}

// handoverPath is where a daemon leaves its handover: beside its control
// socket, and no other's of the table's name.
func (g *Gateway) handoverPath() (string, error) {
	ns, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return "", err
	}
	inode := ns.Sys().(*syscall.Stat_t).Ino
	dir := filepath.Dir(cmp.Or(g.cfg.ControlSocket, config.DefaultControlSocket))
	return filepath.Join(dir, fmt.Sprintf("%s.%d.handover", g.cfg.Table, inode)), nil
}
