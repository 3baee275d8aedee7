// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

// partner makes sessions of what the daemon of the other firewall has told. As the
// heir of an earlier daemon does, it puts them with the orphans, and judges what was
// open. It implements pair.Host.
type partner struct{ heir }

// openPair listens for the other daemon, if this is one firewall of a pair.
func (g *Gateway) openPair() error {
	is, err := g.cfg.Paired()
	if !is || err != nil {
		return err
	}
	key, err := pair.ReadKey(g.cfg.PeerKey)
	if err != nil {
		return fmt.Errorf("--peer-key: %w", err)
	}
	if g.partnerCT, err = expect.Dial(); err != nil {
		return fmt.Errorf("conntrack netlink: %w", err)
	}
	g.entries.established = establishedTimeout()
	p := &partner{heir{
		adopter: adopter{life: g.life, ct: g.partnerCT, table: &g.registry.orphans},
		ports:   &g.ports, reports: &pinholeEvents{g.services},
	}}
	g.peer, err = pair.Open(pair.Config{Peer: g.cfg.Peer, Listen: g.cfg.PeerListen, Key: key}, p, g.log)
	if err != nil {
		return fmt.Errorf("--peer-listen %q: %w", g.cfg.PeerListen, err)
	}
	return nil
}

// closePair closes what openPair opened.
func (g *Gateway) closePair() {
	g.peer.Close()
	if g.partnerCT != nil {
		g.partnerCT.Close()
	}
}

// Adopt implements pair.Host: it makes a session of what the other daemon told, or
// brings the one that there is up to date. The entry is not touched. While the
// other firewall has the session, conntrackd would tell it of a change, and it
// would make its own entry anew.
func (p *partner) Adopt(k *pair.Known, e *expect.Entry) bool {
	if e == nil {
		own, err := p.ct.Get(expect.Tuple(k.Original))
		if err != nil {
			return false
		}
		e = &own
	}
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
		if r := s.Acquire(&p.work); r != nil { // a packet of it comes just now; it is judged here, too
			p.bypass.leaveAgain(r, k.Left)
			r.Release()
		}
	}
	if !s.Owner.Monitored {
		p.opens(s, k)
	}
	return true
}

// begins makes a session of what is known. Its engine is made when its first packet
// comes.
func (p *partner) begins(k *pair.Known, e *expect.Entry) *session.Session {
	p.zones.note(e)
	r := session.New(e, p.settings().policyFor(e), time.Now(), false, &p.work)
	r.Pair = new(pair.Session)
	r.Pair.Learn(k)
	if k.Adjusted != nil { // every packet of it has to come here, also the first
		p.failed(r.Subject(), "cannot queue all packets of a session", p.firewall.Renumber(e.ID, session.Adjustments(*k.Adjusted).Note()))
	}
	switch {
	case p.settings().EncryptedPort(e.Original.Dst.Port()):
		r.Aside = true
		p.bypass.encrypted(r)
	default:
		p.bypass.leaveAgain(r, k.Left)
	}
	r.Release()
	p.begin(p.table, r.Session)
	p.began(r.Session, e.Helper)
	if p.peer.Alone() {
		p.peer.Later(func() { p.entries.refresh(p.ct, e) })
	}
	return r.Session
}

// opens opens and closes what is open at the other firewall, as far as it may be
// open here.
func (p *partner) opens(s *session.Session, k *pair.Known) {
	var want *succession.Pinhole
	for i := range k.Pinholes {
		if k.Pinholes[i].Data == nil {
			want = &k.Pinholes[i]
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

// isKnown reports whether an open pinhole is what a record has.
func isKnown(p *pinhole.Pinhole, r *succession.Pinhole) bool {
	const differ = time.Second
	return r != nil && p.Source == r.Source && p.Public == r.Public && p.Target == r.Target && p.Port == r.Port &&
		time.Until(p.Until())-r.Left < differ && r.Left-time.Until(p.Until()) < differ
}

// Data implements pair.Host.
func (p *partner) Data(e *expect.Entry) {
	if s := p.registry.session(e.Master); s != nil {
		p.dataBegins(p.ct, e, s)
	}
}

// Over implements pair.Host. The entry is conntrackd's to delete.
func (p *partner) Over(t expect.Tuple) {
	if s := p.registry.session(t); s != nil && s.Pair.Standby() {
		p.pinholes.CloseOf(p.ct, &s.Owner, "")
	}
}

// Alone implements pair.Host: the entries that the other firewall has looked after
// are looked after here.
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

// dataBegins notes a data connection. That of a session that the other firewall has
// may be one that conntrackd has brought.
func (l *life) dataBegins(ct conntrack, e *expect.Entry, s *session.Session) {
	if s.Pair.Standby() {
		l.pinholes.BeginsElsewhere(ct, e, &s.Owner)
		return
	}
	l.pinholes.Begins(e, &s.Owner)
}

// entries keeps the timeouts of entries that conntrackd has made or is to make.
type entries struct {
	established time.Duration // that of an established connection; zero: not known
}

// timeouts is what it needs of conntrack.
type timeouts interface {
	UpdateTimeout(expect.Tuple, time.Duration) error
}

// refresh gives an entry the timeout of one that was always here and has just seen
// a packet. conntrackd makes it with that of the last event, less what has passed
// since.
func (n entries) refresh(ct timeouts, e *expect.Entry) {
	if e.TCPState == expect.TCPStateEstablished && e.Timeout < n.established {
		_ = ct.UpdateTimeout(e.Original, n.established) // it may be gone
	}
}

// establishedTimeout is what conntrack gives an established connection; zero if that
// is not known.
func establishedTimeout() time.Duration {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return time.Duration(n) * time.Second
}

// ownEntries is a connection to conntrack that refreshes no entry of a session that
// the other firewall has.
type ownEntries struct {
	*expect.Conn
	*services
	registry *registry
}

// UpdateTimeout hides that of expect.Conn.
func (o ownEntries) UpdateTimeout(t expect.Tuple, d time.Duration) error {
	if s := o.registry.session(t); s != nil && s.Pair.Standby() && !o.peer.Alone() {
		return nil
	}
	return o.Conn.UpdateTimeout(t, d)
}
