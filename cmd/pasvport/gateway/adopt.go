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
	work  ftpalg.Workspace // of the engines of its sessions
	// older are the connections that began before our rules; nil: all did.
	older *olderConnections
}

// adopt makes a session of a conntrack entry. One that another table still has
// for the same addresses and ports is over.
// It has the engine of the connection that it continues, if that is given or
// conntrack has lost it, and else a new one. The caller is its reader.
func (a *adopter) adopt(e *expect.Entry, alg *ftpalg.Conn, now time.Time) *session.Reader {
	a.zones.note(e)
	if table, old := a.registry.find(e.Original); old != nil {
		a.end(a.ct, table, old)
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

// started reports whether a connection that is met now is seen from its first
// byte on. What earlier daemons have seen is taken back before; a connection
// that conntrack picked up in the middle, or that was restored, shows it.
func (a *adopter) started(e *expect.Entry) bool {
	return a.older != nil && !e.Liberal && !a.older.has(e.ID)
}

// recall gives a session that continues with another entry the engine that it had
// before, and returns why it was not read. A connection that is not picked up is a
// new one, which has nothing to do with what is remembered.
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

// turnAway makes a session of an entry beyond a limit that is not kept. It is
// treated as if there was no daemon: it passes unread and leaves the queue, or,
// with --fail closed, waits until there is room.
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
