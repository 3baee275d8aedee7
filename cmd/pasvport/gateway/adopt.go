// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// adopter makes sessions of conntrack entries, for the table of one goroutine.
type adopter struct {
	*life
	ct    conntrack
	table *session.Table
	work  ftpalg.Workspace // for the engines of its sessions
	// older are the connections that began before our rules; nil: all did.
	older *olderConnections
}

// adopt makes a session from a conntrack entry. A session that another table
// still has for the same addresses and ports is over. It gets the engine of the
// connection that it continues, if that is given or conntrack has lost it,
// otherwise a new one. The caller is its reader.
func (a *adopter) adopt(e *expect.Entry, alg *ftpalg.Conn, now time.Time) *session.Reader {
	a.zones.note(e)
	if old := a.registry.session(e.Original); old != nil {
		a.end(a.ct, old)
	}
	if reason := a.room(e.Original.Src.Addr()); reason != report.ReasonPlain {
		return a.turnAway(e, reason, now)
	}
	r := session.New(e, a.settings().policyFor(e), now, a.started(e), &a.work)
	r.Owner.Mark = a.settings().markFor(e)
	before := a.recall(r, e, alg, now)
	switch {
	case e.Helper != "" && e.Helper != session.CarrierName && !r.Owner.Monitored:
		a.bypass.standAside(r, report.ReasonHelper, "left to the in-kernel helper "+e.Helper)
	case e.Original.Zone != e.Reply.Zone:
		a.bypass.standAside(r, report.ReasonZone, "left alone: in a conntrack zone in one direction only")
	case a.settings().EncryptedPort(e.Original.Dst.Port()):
		r.Aside = true
		a.bypass.encrypted(r)
	}
	a.begin(a.table, r.Session)
	if !r.Aside {
		a.bypass.leaveAgain(r, before)
	}
	a.began(r.Session, e.Helper)
	return r
}

// started reports whether a new connection is seen from its first byte on.
// Sessions of earlier daemons were taken back before; an entry shows it if
// conntrack picked its connection up midstream, if it was restored, or if an earlier
// connection had it.
func (a *adopter) started(e *expect.Entry) bool {
	return a.older != nil && !e.Liberal && e.Adj == [2]expect.SeqAdj{} && !a.older.has(e.ID)
}

// recall gives a session that continues with another entry its previous engine,
// and returns why it was not read. A connection that is not picked up is a new
// one, unrelated to what is remembered.
func (a *adopter) recall(r *session.Reader, e *expect.Entry, alg *ftpalg.Conn, now time.Time) succession.Left {
	c := a.lost.Take(r.Original(), r.Reply(), now)
	if !e.Liberal {
		return succession.LeftNot
	}
	if c != nil && alg == nil && c.Engine != nil {
		alg = c.Engine.Acquire(&a.work) // for good
	}
	if !r.Continues(alg) {
		r.Engine.Continue(nil, true)
	}
	if c == nil {
		return succession.LeftNot
	}
	return c.Left
}

// turnAway makes a session above a limit from an entry, and does not keep it. It
// is treated as if there was no daemon: it passes unread and leaves the queue,
// or, with --fail closed, waits until there is room.
func (a *adopter) turnAway(e *expect.Entry, reason report.Reason, now time.Time) *session.Reader {
	r := session.New(e, a.settings().policyFor(e), now, false, &a.work)
	r.Aside, r.Waits = true, a.cfg.FailClosed && !r.Owner.Monitored
	a.count(reason)
	if more, ok := a.turned.May(now); ok {
		a.warn(r.Subject(), "control connection not read", "reason", reason, "more", more, "hint", reason.Hint())
	}
	if !r.Waits {
		a.bypass.leave(r, succession.LeftAlone)
	}
	return r
}
