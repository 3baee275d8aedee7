// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// maxPortTries is how many ports are tried when the announced one is taken.
const maxPortTries = 64

// pinholeKey is what the SYN of a data connection shows before any
// translation. Two pinholes with the same key cannot be told apart.
type pinholeKey struct {
	source netip.Addr
	public netip.AddrPort
}

// pinhole is the permission for one data connection.
type pinhole struct {
	session *session
	key     pinholeKey
	target  netip.AddrPort
	mode    ftpalg.Mode
	nat     bool
	claim   bool   // by claim, not by expectation
	port    uint16 // the source port that the data connection must have; 0 for any
	timeout time.Duration
	element rules.Pinhole
	expires time.Time
}

// pinholes are those that are open, by key. Taking one out of it is the right
// to close or to use it; what is done to the kernel is done by who took it.
type pinholes struct {
	mu   sync.Mutex
	open map[pinholeKey]*pinhole
	of   map[netip.Addr]int // how many, by the client of the session
}

func (ps *pinholes) find(k pinholeKey) *pinhole {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.open[k]
}

// reserve enters p, unless its key is taken: then it returns who has it. Beyond
// most pinholes in all, or mostOf of one client, it enters nothing.
func (ps *pinholes) reserve(p *pinhole, most, mostOf int) (other *pinhole, err error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	client := p.session.ep.Client.Addr()
	switch other := ps.open[p.key]; {
	case other != nil:
		return other, nil
	case len(ps.open) >= most:
		return nil, errPinholes
	case ps.of[client] >= mostOf:
		return nil, errClientPinholes
	}
	ps.open[p.key] = p
	ps.of[client]++
	return nil, nil
}

// What reserve says at a limit.
var (
	errPinholes       = errors.New("too many pinholes")
	errClientPinholes = errors.New("too many pinholes of one client")
)

// take takes p out and reports whether it was there.
func (ps *pinholes) take(p *pinhole) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p == nil || ps.open[p.key] != p {
		return false
	}
	delete(ps.open, p.key)
	client := p.session.ep.Client.Addr()
	if ps.of[client]--; ps.of[client] == 0 {
		delete(ps.of, client)
	}
	return true
}

func (ps *pinholes) all() []*pinhole {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	list := make([]*pinhole, 0, len(ps.open))
	for _, p := range ps.open {
		list = append(list, p)
	}
	return list
}

// offer opens the way for an offer and has the engine announce it.
func (w *worker) offer(s *session, o *ftpalg.Offer) {
	w.settle(s)
	before := w.g.takePinhole(s)
	w.g.closePinhole(w.ct, before, ftpalg.ReasonPlain)
	p, reason, err := w.open(s, o, before)
	if reason == ftpalg.ReasonPlain {
		if reason = w.announce(s, o, p.key.public.Port()); reason != ftpalg.ReasonPlain {
			w.g.pinholes.take(p)
			w.g.undoPinhole(w.ct, p)
		}
	}
	if reason != ftpalg.ReasonPlain {
		w.refuse(s, o, reason, err)
		return
	}
	w.g.opened(s, p, o)
}

// settle hears what the tracker has said before a pinhole that seems open is
// closed: its data connection may have come.
func (w *worker) settle(s *session) {
	s.mu.Lock()
	open := s.pinhole != nil
	s.mu.Unlock()
	if open {
		w.g.events.Drain(w.heard)
	}
}

// announce has the engine change the text, if need be with the session's
// sequence numbers adjusted here.
func (w *worker) announce(s *session, o *ftpalg.Offer, port uint16) ftpalg.Reason {
	r := s.alg.Announce(o, port)
	if r == ftpalg.ReasonNoAdjust && w.adjustHere(s) {
		r = s.alg.Announce(o, port)
	}
	return r
}

// open makes the pinhole of an offer, at the announced port or, where the
// connection is translated and that port is taken, at another. before is the
// session's pinhole that the offer replaces, if there is one.
func (w *worker) open(s *session, o *ftpalg.Offer, before *pinhole) (*pinhole, ftpalg.Reason, error) {
	set := w.g.settings()
	p := &pinhole{
		session: s, target: o.Target, mode: o.Mode, nat: o.NAT, claim: !s.carrier,
		key:     pinholeKey{o.Source, o.Public},
		timeout: set.PinholeTimeout, expires: w.now.Add(set.PinholeTimeout),
	}
	if p.claim && !w.g.claims {
		return nil, ftpalg.ReasonNoCarrier, nil
	}
	if o.Mode == ftpalg.Active && set.StrictActivePort {
		p.port = s.ep.Server.Port() - 1
	}
	if before != nil && before.nat && before.target == p.target && before.key.source == p.key.source {
		// A segment that an earlier daemon has edited comes again: it must
		// look as before, whatever port was free then.
		p.key.public = before.key.public
	}
	w.freeSource(p)
	for range maxPortTries {
		err := w.tryOpen(p)
		switch {
		case err == nil:
			return p, ftpalg.ReasonPlain, nil
		case errors.Is(err, errPinholes):
			return nil, ftpalg.ReasonPinholes, nil
		case errors.Is(err, errClientPinholes):
			return nil, ftpalg.ReasonClientPinholes, nil
		case errors.Is(err, unix.ENOENT):
			return nil, ftpalg.ReasonNotTracked, err
		case !taken(err):
			return nil, ftpalg.ReasonKernel, err
		case !o.NAT:
			return nil, ftpalg.ReasonPortsExhausted, err
		}
		p.key.public = netip.AddrPortFrom(o.Public.Addr(), randomPort())
	}
	return nil, ftpalg.ReasonPortsExhausted, nil
}

// freeSource forgets a data connection of active mode that has ended and
// lingers, from the same translated port to the same port of the client: of
// several servers with one address, another may have had it. Else the new one
// would leave from another port than control port - 1.
func (w *worker) freeSource(p *pinhole) {
	e := p.session.ep
	if p.mode != ftpalg.Active || e.Dialled.Addr() == e.Server.Addr() {
		return
	}
	from := netip.AddrPortFrom(e.Dialled.Addr(), e.Server.Port()-1)
	old, err := w.ct.Get(expect.Tuple{Src: p.target, Dst: from, Zone: p.session.zone[expect.Original]})
	if err == nil && old.Master != (expect.Tuple{}) && old.TCPState >= expect.TCPStateTimeWait {
		err = w.ct.Delete(old.Original)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		w.g.log.Warn("cannot forget an old data connection", "from", from, "to", p.target, "err", err)
	}
}

// randomPort draws from the unprivileged ports.
func randomPort() uint16 { return uint16(1024 + rand.IntN(65536-1024)) }

// errTaken says that another pinhole has the key.
var errTaken = errors.New("another pinhole has the port")

// taken reports whether a pinhole failed because its port is in use.
func taken(err error) bool {
	return errors.Is(err, errTaken) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY)
}

// tryOpen makes the pinhole at the port that its key names.
func (w *worker) tryOpen(p *pinhole) error {
	set := w.g.settings()
	for settled := false; ; {
		other, err := w.g.pinholes.reserve(p, set.MaxPinholes, set.MaxClientPinholes)
		if err == nil && other == nil {
			break
		}
		if !settled { // those in the way may have been used
			w.g.events.Drain(w.heard)
			settled = true
			continue
		}
		if err != nil {
			return err
		}
		// The same end has announced the same port before, on another
		// connection: only the newer can be meant.
		if other.target != p.target || other.session.zone[expect.Original] != p.session.zone[expect.Original] {
			return errTaken
		}
		w.g.closePinhole(w.ct, w.g.takeOpen(other), ftpalg.ReasonPlain)
	}
	err := w.g.program(w.ct, p)
	if err != nil && !w.g.pinholes.take(p) {
		return errTaken // by a newer one, meanwhile
	}
	return err
}

// program puts the pinhole into the kernel.
func (g *Gateway) program(ct *expect.Conn, p *pinhole) error {
	p.element = p.elements()
	if !p.claim {
		err := ct.CreateExpectation(p.expectation())
		if taken(err) && !p.nat && g.deleteStale(ct, p.expected()) {
			err = ct.CreateExpectation(p.expectation())
		}
		if err != nil {
			return err
		}
	}
	if err := g.firewall.OpenPinhole(p.element); err != nil {
		g.undoPinhole(ct, p)
		return err
	}
	return nil
}

// deleteStale deletes an expectation that is not ours, although its two ends
// are those of one that is to be made: an earlier daemon left it.
func (g *Gateway) deleteStale(ct *expect.Conn, expected expect.Tuple) bool {
	var masters []expect.Tuple
	err := ct.DumpExpectations(func(x *expect.ExpectationInfo) {
		if x.Expected.Dst == expected.Dst && x.Expected.Src.Addr() == expected.Src.Addr() {
			master := x.Master
			master.Zone = expected.Zone
			masters = append(masters, master)
		}
	})
	for _, m := range masters {
		err = errors.Join(err, ct.DeleteExpectation(m, expected))
	}
	return err == nil && len(masters) > 0
}

// elements are the entries of the pinhole in the sets of nftables.
func (p *pinhole) elements() rules.Pinhole {
	e := rules.Pinhole{Timeout: p.timeout}
	if p.claim {
		e.Source, e.Dest, e.Note = p.key.source, p.key.public, p.note()
	}
	// The filter sees the destination translated, the source not yet.
	e.Forward.Src, e.Forward.Dst = p.key.source, p.target
	return e
}

// expected is the tuple of the pinhole's expectation.
func (p *pinhole) expected() expect.Tuple {
	return expect.Tuple{Src: netip.AddrPortFrom(p.key.source, p.port), Dst: p.key.public, Zone: p.session.zone[expect.Original]}
}

func (p *pinhole) expectation() expect.Expectation {
	e := expect.Expectation{
		Master: p.session.original(), Source: p.key.source, SourcePort: p.port,
		Dest: p.key.public, Timeout: p.timeout,
	}
	if p.nat {
		e.NAT, e.ToAddr, e.ToPort = true, p.target.Addr(), p.target.Port()
		e.Direction = expect.Original
		if p.mode == ftpalg.Active {
			e.Direction = expect.Reply
		}
	}
	return e
}

// takePinhole takes the session's open pinhole, nil if it has none.
func (g *Gateway) takePinhole(s *session) *pinhole {
	s.mu.Lock()
	p := s.pinhole
	s.mu.Unlock()
	return g.takeOpen(p)
}

// takeOpen takes a pinhole if it is still open.
func (g *Gateway) takeOpen(p *pinhole) *pinhole {
	if p == nil || !g.pinholes.take(p) {
		return nil
	}
	p.session.mu.Lock()
	if p.session.pinhole == p {
		p.session.pinhole = nil
	}
	p.session.mu.Unlock()
	return p
}

// closePinhole closes a pinhole that was taken; nil is none. reason is
// ReasonPlain when another offer or the session's end closed it.
func (g *Gateway) closePinhole(ct *expect.Conn, p *pinhole, reason ftpalg.Reason) {
	if p == nil {
		return
	}
	g.undoPinhole(ct, p)
	g.metrics.Pinholes.Open.Add(-1)
	g.metrics.Pinholes.Closed.Add(1)
	g.logPinhole("pinhole closed", p, reason)
	p.setState(control.PinholeClosed)
}

// undoPinhole takes a pinhole out of the kernel.
func (g *Gateway) undoPinhole(ct *expect.Conn, p *pinhole) {
	if !p.claim {
		if err := ct.DeleteExpectation(p.session.original(), p.expected()); err != nil && !errors.Is(err, unix.ENOENT) {
			g.log.Warn("cannot delete an expectation", "tuple", p.expected(), "err", err)
		}
	}
	if err := g.firewall.ClosePinhole(p.element); err != nil {
		g.log.Warn("cannot delete a set element", "tuple", p.expected(), "err", err)
	}
}

// setState notes the state of the pinhole with the session's offer, if that
// is still the pinhole's.
func (p *pinhole) setState(state control.Pinhole) {
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offer != nil && s.offer.Target == p.target && s.offer.Pinhole == control.PinholeOpen {
		s.offer.Pinhole = state
	}
}
