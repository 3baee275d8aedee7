// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"log/slog"
	"net/netip"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/limit"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

// client is for whom a session counts in the limits.
func (s *session) client(g *Gateway) netip.Addr { return g.clientOf(s.ep.Client.Addr()) }

// clientOf returns what stands for the client that has an address.
func (g *Gateway) clientOf(a netip.Addr) netip.Addr { return limit.Client(a, g.cfg.ClientPrefix) }

// room returns why another session of a client is not to be read, ReasonPlain
// if it is.
func (g *Gateway) room(client netip.Addr) report.Reason {
	set := g.settings()
	switch err := g.present.Room(g.clientOf(client), set.MaxSessions, set.MaxClientSessions); {
	case errors.Is(err, limit.ErrSessions):
		return report.ReasonSessions
	case errors.Is(err, limit.ErrClientSessions):
		return report.ReasonClientSessions
	}
	return report.ReasonPlain
}

// limits are those of the settings, and how full they are.
func (g *Gateway) limits() control.Limits {
	set := g.settings()
	return control.Limits{
		Sessions:       control.Limit{Now: g.present.Living(), Max: set.MaxSessions},
		ClientSessions: control.Limit{Now: g.present.Fullest(), Max: set.MaxClientSessions},
		Pinholes:       control.Limit{Now: len(g.pinholes.All()), Max: set.MaxPinholes},
		ClientPinholes: control.Limit{Now: g.pinholes.Fullest(), Max: g.clientPinholes()},
	}
}

// mostOfClient is how many pinholes the sessions of one client may have open where
// the configuration does not say.
const mostOfClient = 1024

// clientPinholes returns how many pinholes the sessions of one client may have
// open: unless the configuration says it, no more than a part of what the kernel
// has room for.
func (g *Gateway) clientPinholes() int {
	if n := g.settings().MaxClientPinholes; n > 0 {
		return n
	}
	if g.expectMax == 0 {
		return mostOfClient
	}
	return min(max(g.expectMax/4, 1), mostOfClient)
}

// turnAway makes a session of an entry beyond a limit that is not kept. It is
// treated as if there was no daemon: it passes unread and leaves the queue, or,
// with --fail closed, waits until there is room.
func (w *worker) turnAway(e *expect.Entry, r report.Reason) *session {
	s := newSession(e, w.g.settings().policyFor(e), w.now, false, &w.work)
	s.aside, s.waits = true, w.g.cfg.FailClosed
	w.g.count(r)
	if more, ok := w.g.turned.May(w.now); ok {
		w.g.report.Report(slog.LevelWarn, s.subject(), "control connection not read", "reason", r, "more", more, "hint", r.Hint())
	}
	if !s.waits {
		w.g.leaveQueue(s, succession.LeftAlone)
	}
	return s
}

// warn reports what a session did wrong.
func (g *Gateway) warn(s *session, msg string, args ...any) {
	g.report.Report(slog.LevelWarn, s.subject(), msg, args...)
}

// sayLeft says how many lines the log's limit has left out, where no later line
// does.
func (g *Gateway) sayLeft() {
	if n := g.lines.Left(); n > 0 {
		g.log.Warn("lines were left out of the log", "lines", n,
			"hint", "sessions caused more than the log takes; see pasvport status for what they did")
	}
}

// expectations returns how many expectations the kernel has and how many it has
// room for, 0 where that is not known.
func expectations() (n, most int) {
	ct, err := expect.Dial()
	if err != nil {
		return 0, 0
	}
	defer ct.Close()
	n, err = ct.CountExpectations()
	if err != nil {
		return 0, 0
	}
	return n, expect.MostExpectations()
}
