// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// partner makes sessions from the records of the other firewall's daemon. Like
// the heir of an earlier daemon, it puts them with the orphans, and judges what
// was open. It implements pair.Host.
type partner struct {
	heir
	// mark marks the queue that gets the packets of an entry: see nfq.Queue.
	mark func(id uint32) uint32
}

// Entry implements pair.Host.
func (p *partner) Entry(original expect.Tuple) *expect.Entry {
	e, err := p.ct.Get(original)
	if err != nil || e.Original != original {
		return nil
	}
	return &e
}

// Adopt implements pair.Host: it makes a session from a record of the other
// daemon, or updates the existing one. It does not touch the entry: while the
// other firewall has the session, conntrackd would report a change to it, and
// recreate the entry there.
func (p *partner) Adopt(k *pair.Known, e *expect.Entry) bool {
	if e.Original != expect.Tuple(k.Original) || e.Reply != expect.Tuple(k.Reply) || e.TCPState != expect.TCPStateEstablished {
		return false
	}
	s := p.registry.session(e.Original)
	switch {
	case s == nil && (e.Helper != "" && e.Helper != session.CarrierName || e.Original.Zone != e.Reply.Zone || p.room(e.Original.Src.Addr()) != report.ReasonPlain):
		return false // as for one that is met by a packet
	case s == nil:
		s = p.begins(k, e)
	case s.ID() != e.ID: // its end is in the events, and then this entry's beginning
		return false
	case !s.Pair.Learn(k):
		return true
	case k.Left != succession.LeftNot && s.Left() == succession.LeftNot:
		if r := s.Acquire(&p.work); r != nil { // a packet of it is being handled; it is judged here, too
			p.leavesAgain(r, k, e)
			r.Release()
		}
	}
	if s.Pair.Standby() {
		s.Fast.Disarm() // its next line is queued here, and makes it ours
	}
	if s.Pair.Standby() && !s.Owner.Monitored { // the kernel knows better what is open of our own
		p.opens(s, k)
	}
	if s.Closing() { // its end, which another goroutine acts on, has closed what was open before
		p.pinholes.CloseOf(p.ct, &s.Owner, "")
	}
	return true
}

// begins makes a session of what is known. Its engine is made when its first
// packet arrives.
func (p *partner) begins(k *pair.Known, e *expect.Entry) *session.Session {
	p.zones.note(e)
	r := session.New(e, p.settings().policyFor(e), time.Now(), false, &p.work)
	r.Owner.Mark = p.settings().markFor(e)
	r.Pair = new(pair.Session)
	r.Pair.Begin(k)
	if isAdjusted(e, k.Engine) { // the entry is there already
		r.Pair.Mark = p.mark(e.ID)
	}
	if k.Adjusted != nil { // every packet of it has to be queued, including the first
		p.failed(r.Subject(), "cannot queue all packets of a session", p.firewall.Renumber(e.ID, session.Adjustments(*k.Adjusted).Note()))
	}
	switch {
	case p.settings().EncryptedPort(e.Original.Dst.Port()):
		r.Aside = true
		p.bypass.encrypted(r)
	default:
		p.leavesAgain(r, k, e)
	}
	r.Release()
	p.begin(p.table, r.Session)
	p.began(r.Session, e.Helper)
	if p.peer.Alone() {
		p.peer.Later(func() { p.entries.refresh(p.ct, e) })
	}
	return r.Session
}

// isAdjusted reports whether an entry adjusts sequence numbers, or is to.
func isAdjusted(e *expect.Entry, from *ftpalg.State) bool {
	for d := range ftpalg.Direction(2) {
		if _, differs := adjustsOtherwise(e, d, from); differs || e.Adj[d] != (expect.SeqAdj{}) {
			return true
		}
	}
	return false
}

// leavesAgain leaves a session alone that the other firewall does not read. Its first
// packet has to be queued if the adjustments of its entry are not its own: see readjust.
func (p *partner) leavesAgain(r *session.Reader, k *pair.Known, e *expect.Entry) {
	p.bypass.leaveAgain(r, k.Left)
	if k.Left == succession.LeftNot {
		return
	}
	for d := range ftpalg.Direction(2) {
		if _, differs := adjustsOtherwise(e, d, k.Engine); differs {
			p.bypass.takeUp(e.ID)
			return
		}
	}
}

// opens opens and closes what is open at the other firewall, as far as it may be
// open here.
func (p *partner) opens(s *session.Session, k *pair.Known) {
	if len(k.Pinholes) == 0 { // its data connections were answered, here or there
		p.pinholes.CloseRules(&s.Owner)
	}
	var want *succession.Pinhole
	for i := range k.Pinholes {
		h := &k.Pinholes[i]
		if h.Data != nil { // for its data connection alone, until conntrackd brings that
			if p.pinholes.Data.Knows(expect.Tuple(*h.Data)) {
				p.passes(s, *h)
				continue
			}
			h.Port, h.Data = h.Data.Src.Port(), nil
		}
		if h.Left > 0 {
			want = h
		}
	}
	if open := p.pinholes.Of(&s.Owner); open != nil && !isKnown(open, want) {
		p.pinholes.Close(p.ct, open, pinhole.Closed, "the other firewall has closed it")
	}
	if want == nil || s.Left() != succession.LeftNot {
		return
	}
	if err := p.reopen(s, *want); err != nil {
		p.warn(s.Subject(), "cannot open what is open at the other firewall", "from", want.Source, "to", want.Public, "err", err)
	}
}

// passes lets the SYN of a data connection pass again that conntrackd has brought, and
// that may be retransmitted: its pinhole was used up at the other firewall before
// anything was known of it here, or it belongs to the session that the control
// connection was before conntrackd made its entry anew.
func (p *partner) passes(s *session.Session, h succession.Pinhole) {
	data := expect.Tuple(*h.Data)
	last, rule := p.pinholes.Data.Waiting(&s.Owner)
	before := p.pinholes.Data.OwnerOf(data)
	if last == data && rule == nil || before != nil && before != &s.Owner && before.Original() == s.Original() {
		p.failed(s.Subject(), "cannot let a SYN pass again", p.reopen(s, h))
	}
}

// isKnown reports whether an open pinhole matches a record.
func isKnown(p *pinhole.Pinhole, r *succession.Pinhole) bool {
	const differ = time.Second / 2 // Keep adds at least a second
	return r != nil && p.Source == r.Source && p.Public == r.Public && p.Target == r.Target && p.Port == r.Port &&
		time.Until(p.Until())-r.Left < differ && r.Left-time.Until(p.Until()) < differ
}

// Data implements pair.Host.
func (p *partner) Data(e *expect.Entry, k *pair.Known) {
	s := p.registry.session(e.Master)
	if s == nil {
		return
	}
	p.dataBegins(p.ct, e, s)
	for _, h := range k.Pinholes {
		if h.Data != nil && expect.Tuple(*h.Data) == e.Original && e.TCPState < expect.TCPStateSynRecv {
			p.passes(s, h)
		}
	}
	if now := p.pinholes.CatchUp(p.ct, e.Original); now != nil {
		e = now
	}
	p.peer.Used(s.Original(), e)
	p.peer.Retell(s.Pair, s.Original())
}

// Gone implements pair.Host.
func (p *partner) Gone(e *expect.Entry) {
	if s := p.registry.session(e.Original); s != nil && s.ID() == e.ID {
		p.end(p.ct, s)
	}
}

// Over implements pair.Host. conntrackd deletes the entry.
func (p *partner) Over(t expect.Tuple) {
	if s := p.registry.session(t); s != nil && s.Pair.Standby() {
		p.pinholes.CloseOf(p.ct, &s.Owner, "")
		p.pinholes.CloseRules(&s.Owner)
	}
}

// Alone implements pair.Host: the entries that the other firewall has maintained
// are maintained here.
func (p *partner) Alone() {
	for _, s := range p.registry.all() {
		if !s.Pair.Standby() {
			continue
		}
		if e, err := p.ct.Get(s.Original()); err == nil {
			p.entries.refresh(p.ct, &e)
		}
		if s.Owner.Transferring() {
			p.pinholes.Data.Spoke(&s.Owner)
		}
	}
}
