// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
)

// Status returns the state of the daemon, for `pasvport status`.
func (g *Gateway) Status() control.Status {
	set := g.settings()
	st := control.Status{
		PID: os.Getpid(), Started: g.started, Table: g.cfg.Table, Ports: set.PortList(),
		Allow: set.AllowText(), Fail: failText(g.cfg), Strategy: string(g.plan.Strategy),
		Carrier: g.carrier(), QueueKind: g.plan.Queue.String(),
		Features: g.plan.found.Names(), Sessions: g.present.Living(),
		PinholesOpen: int(g.metrics.Pinholes.Open.Load()), Decisions: g.metrics.Decisions(),
	}
	st.Monitor, st.Settings = set.Monitor, config.Given(set.Config)
	st.TLS, st.TLSPorts, st.Checks, st.Repair = set.TLSText(), set.TLSPortList(), set.Checks.String(), set.Repair.String()
	st.Advertise, st.CTMark, st.Limits = set.AdvertiseList(), set.MarkText(), g.limits()
	for _, s := range g.outside.States() {
		o := control.Outside{Of: s.Of, Found: s.Found, Next: s.Next}
		if s.Address.IsValid() {
			o.Address = s.Address.String()
		}
		if s.Err != nil {
			o.Error = s.Err.Error()
		}
		st.Outside = append(st.Outside, o)
	}
	st.LoginFailures, st.Blocked = set.LoginFailures.String(), g.blocker.blocked()
	st.Keepalive, st.SessionIdle, st.Heals = config.IdleText(set.Keepalive), config.IdleText(set.SessionIdle), g.metrics.Heals.Load()
	if g.noSender != nil {
		st.KeepaliveError = g.noSender.Error()
	}
	st.Queues = g.lanes.numbers()
	if g.zones.seen.Load() && g.zones.leftAlone {
		st.Notes = append(st.Notes, "control connections in conntrack zones are left alone: "+noZones)
	}
	st.Expectations, st.ExpectationsMax = expectations(g.dial)
	st.Peer = g.peerStatus()
	if g.fast != nil {
		st.LinesUnread = g.fast.Lines()
	}
	return st
}

// peerStatus returns the status of the other firewall of a pair; nil without one.
func (l *life) peerStatus() *control.Peer {
	if l.peer == nil {
		return nil
	}
	s := l.peer.Stats()
	p := &control.Peer{
		Address: l.cfg.Peer, Wait: string(l.cfg.PeerWait), Link: control.PeerDown, Since: s.Since, Skew: s.Skew.Seconds(),
		Lag: s.Lag.Seconds(), Told: s.Records, Held: s.Held, Waits: s.Waits, Adopted: s.Adopted,
	}
	switch {
	case s.Up():
		p.Link = control.PeerUp
	case s.Tells:
		p.Link = control.PeerMute
	case s.Hears:
		p.Link = control.PeerDeaf
	}
	if s.Err != nil {
		p.Reason, p.Hint = s.Err.Error(), pair.Hint(s.Err)
	}
	if x := s.TakeOver; x.Sessions > 0 {
		p.TakeOver = &control.TakeOver{At: x.At, Sessions: x.Sessions, Seconds: x.Lasted.Seconds()}
	}
	return p
}

// limits are the configured limits and their usage.
func (l *life) limits() control.Limits {
	set := l.settings()
	return control.Limits{
		Sessions:       control.Limit{Now: l.present.Living(), Max: set.MaxSessions},
		ClientSessions: control.Limit{Now: l.present.Fullest(), Max: set.MaxClientSessions},
		Pinholes:       control.Limit{Now: len(l.pinholes.All()), Max: set.MaxPinholes},
		ClientPinholes: control.Limit{Now: l.pinholes.Fullest(), Max: l.clientPinholes()},
	}
}

// Sessions returns the control connections, for `pasvport sessions`.
func (g *Gateway) Sessions() []control.Session {
	if ct, err := g.dial(); err == nil {
		g.accounts.CountAll(ct)
		ct.Close()
	}
	return g.list(time.Now())
}

// list returns the open sessions, the oldest first.
func (l *life) list(now time.Time) []control.Session {
	list := []control.Session{}
	seen := map[*session.Session]bool{} // one that is being moved may come twice
	for _, s := range l.registry.all() {
		if seen[s] {
			continue
		}
		seen[s] = true
		c := s.Snapshot(l.pinholes.Data.Traffic(&s.Owner), now)
		if c.State != session.StateClosed {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b control.Session) int { return a.Started.Compare(b.Started) })
	return list
}

// Servers returns the servers of virtual servers, for `pasvport servers`.
func (g *Gateway) Servers() []control.Server { return g.balancer.Servers() }

// Drain drains a server of virtual servers, or puts it back.
func (g *Gateway) Drain(name string, drain bool) error { return g.balancer.Drain(name, drain) }

// End resets both ends of a session, by the id that Sessions shows. Its error is
// for the user.
func (g *Gateway) End(id uint64) error {
	for table, s := range g.registry.all() {
		if uint64(s.ID()) != id {
			continue
		}
		if s.Owner.Monitored {
			return errors.New("it is only monitored")
		}
		if table == &g.registry.orphans {
			return errors.New("nothing was heard of it since the daemon started, so it cannot be reset yet")
		}
		if w := g.lanes.workerOf(s); w != nil {
			return w.calls.do(w.queue.Interrupt, func() error { return w.ender.endByHand(s, &w.work) })
		}
	}
	return errNoSession
}

// Unblock lets a client's packets pass again.
func (g *Gateway) Unblock(client netip.Addr) error { return g.blocker.unblock(client) }

func failText(cfg config.Config) string {
	if cfg.FailClosed {
		return "closed"
	}
	return "open"
}
