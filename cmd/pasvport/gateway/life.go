// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"net/netip"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/account"
	"github.com/pasvport/pasvport/cmd/pasvport/limit"
	"github.com/pasvport/pasvport/cmd/pasvport/lost"
	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// life is how sessions begin and end.
type life struct {
	*services
	registry *registry
	accounts *account.Accounts
	bypass   *bypass
	adjust   *adjuster
	unread   *unread
	lost     lost.Memory                      // sessions that conntrack has lost
	present  limit.Sessions[*session.Session] // for the limits
	turned   limit.Seldom                     // sessions that were turned away
}

// newLife returns the life of sessions, none of which has begun.
func newLife(s *services) *life {
	return &life{
		services: s, registry: &registry{}, bypass: &bypass{services: s}, adjust: &adjuster{s}, unread: &unread{s},
		accounts: &account.Accounts{
			Report: &s.report, Metrics: s.metrics, Data: &s.pinholes.Data,
			Wanted: func() (sessions, transfers bool) { return s.settings().LogSessions, s.settings().LogTransfers },
		},
	}
}

// client is the client to whose limits a session counts.
func (l *life) client(s *session.Session) netip.Addr { return l.clientOf(s.Ends().Client.Addr()) }

// room returns why another session of a client must not be read, or ReasonPlain.
func (l *life) room(client netip.Addr) report.Reason {
	set := l.settings()
	switch err := l.present.Room(l.clientOf(client), set.MaxSessions, set.MaxClientSessions); {
	case errors.Is(err, limit.ErrSessions):
		return report.ReasonSessions
	case errors.Is(err, limit.ErrClientSessions):
		return report.ReasonClientSessions
	}
	return report.ReasonPlain
}

// begin enters a session in a table, and counts it in the limits.
func (l *life) begin(table *session.Table, s *session.Session) {
	if l.peer != nil && s.Pair == nil {
		s.Pair = new(pair.Session)
	}
	table.Add(s)
	l.present.Enter(&s.Member, l.client(s))
}

// began counts and reports a session that has begun.
func (l *life) began(s *session.Session, helper string) {
	l.metrics.Sessions.Add(1)
	l.metrics.SessionsTotal.Add(1)
	s.SetCounted(true)
	l.balancer.Began(s.Ends().Dialled, s.Ends().Server)
	l.accounts.Began(s, helper)
}

// ending closes the pinhole of a session whose connection is being closed.
func (l *life) ending(ct conntrack, s *session.Session, state uint8) {
	l.peer.Ended(s.Pair, s.Original(), s.Reply(), false)
	s.BeginClosing()
	s.SetState(state)
	if s.SetCounted(false) {
		l.balancer.Ended(s.Ends().Dialled, s.Ends().Server)
	}
	l.pinholes.CloseOf(ct, &s.Owner, "")
	l.pinholes.Ways.NoneFollow(&s.Owner)
	l.bypass.closeRange(s)
	if state < expect.TCPStateTimeWait {
		return
	}
	l.accounts.Ended(ct, s, state, time.Now())
	if surplus, ok := l.present.Close(&s.Member, l.client(s), s, l.settings().MaxSessions); ok {
		if l.registry.session(surplus.Original()) != surplus {
			l.present.Forget(&surplus.Member, l.client(surplus))
			return
		}
		l.end(ct, surplus)
	}
}

// end ends a session after conntrack has deleted its entry.
func (l *life) end(ct conntrack, s *session.Session) {
	l.unread.end(s) // while it is in the table, so that its successor's state does not replace its own
	l.keep(s)
	l.remember(s)
	l.peer.Ended(s.Pair, s.Original(), s.Reply(), !s.Closing())
	l.accounts.Ended(ct, s, expect.TCPStateNone, time.Now()) // if conntrack reported no other end
	l.ending(ct, s, expect.TCPStateClose)
	l.present.Forget(&s.Member, l.client(s))
	l.bypass.takeUp(s.ID())
	if l.registry.remove(s) {
		l.adjust.forget(s)
		l.metrics.Sessions.Add(-1)
	}
}

// keep records the state of a session of ours whose entry is gone and may come back: lines
// have passed unread since it was recorded, or what was open was used.
func (l *life) keep(s *session.Session) {
	if s.Pair == nil || s.Pair.GoesOn() || s.Closing() || s.Owner.Monitored {
		return
	}
	if r := s.Acquire(new(ftpalg.Workspace)); r != nil {
		l.unread.catchUp(r)
		rec := new(draft).of(r, l.pinholes, time.Now())
		l.peer.Keep(r.Pair, &rec)
		r.Release()
	}
}

// remember remembers a session whose entry is gone although neither end has begun
// to close the connection.
func (l *life) remember(s *session.Session) {
	if s.Established() {
		l.lost.Add(s.Lost(), time.Now())
	}
}

// lostAdjusted reports whether conntrack has lost a connection whose sequence
// numbers were adjusted: a recreated entry cannot continue it.
func (l *life) lostAdjusted(t expect.Tuple, now time.Time) bool {
	c := l.lost.Find(t, now)
	return c != nil && c.Adjusted
}

// dataBegins records a data connection. If the other firewall has its session,
// conntrackd may have brought it.
func (l *life) dataBegins(ct conntrack, e *expect.Entry, s *session.Session) {
	if s.Pair.Standby() {
		l.pinholes.BeginsElsewhere(ct, e, &s.Owner)
		return
	}
	l.pinholes.Begins(e, &s.Owner)
}
