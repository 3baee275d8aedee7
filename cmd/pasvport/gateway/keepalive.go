// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"log/slog"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// openKeepalive gets what --keepalive and --session-idle need. Without the
// capability the daemon does without them.
func (g *Gateway) openKeepalive() {
	if g.cfg.Keepalive == 0 && g.cfg.SessionIdle == 0 {
		return
	}
	s, err := keepalive.OpenSender()
	if err != nil {
		g.log.Warn("no keep-alive and no end of idle sessions", "keepalive", g.cfg.Keepalive,
			"session_idle", g.cfg.SessionIdle, "err", err)
		g.plan.rules.Bare, g.noSender = false, err
		return
	}
	g.sender = s
}

// watchIdle probes and ends silent sessions until ctx ends.
func (g *Gateway) watchIdle(ctx context.Context) error {
	if g.sender == nil {
		return nil
	}
	w := keepalive.Watch[*session]{
		Every: g.cfg.Keepalive, Idle: g.cfg.SessionIdle, Sender: g.sender,
		Sessions: func() (list []*session) {
			for _, w := range g.workers {
				list = append(list, w.table.all()...)
			}
			return list
		},
		Ended: g.endedSilent,
		Failed: func(s *session, reset bool, err error) {
			if reset {
				g.report.Report(slog.LevelWarn, s.subject(), "reset not sent", "err", err)
				return
			}
			g.report.Report(slog.LevelDebug, s.subject(), "keep-alive not sent", "err", err)
		},
	}
	return w.Run(ctx)
}

// endedSilent notes that a session was ended because it is idle, or because one
// of its ends does not answer.
func (g *Gateway) endedSilent(s *session, c keepalive.Cause, unused time.Duration) {
	s.mu.Lock()
	s.cause = c
	s.mu.Unlock()
	switch c {
	case keepalive.CauseIdle:
		g.report.Report(slog.LevelInfo, s.subject(), "idle control connection reset", "idle", unused.Round(time.Second))
	case keepalive.CauseClientGone:
		g.report.Report(slog.LevelInfo, s.subject(), "control connection reset, one end is gone", "gone", "client")
	case keepalive.CauseServerGone:
		g.report.Report(slog.LevelInfo, s.subject(), "control connection reset, one end is gone", "gone", "server")
	}
}

// refresh keeps the entries of sessions with data connections from timing out,
// until ctx ends.
func (g *Gateway) refresh(ctx context.Context) error {
	ct, err := expect.Dial()
	if err != nil {
		return err
	}
	defer ct.Close()
	r := keepalive.Refresher[*pinhole.Owner]{Conntrack: ct, Transfers: &g.pinholes.Data, Failed: func(o *pinhole.Owner, err error) {
		g.report.Report(slog.LevelWarn, o.Subject(), "cannot refresh a control connection's timeout", "err", err)
	}}
	return r.Run(ctx)
}

// noteSegment notes what a packet shows of the two ends, for the keep-alive.
func (s *session) noteSegment(d ftpalg.Direction, p *nfq.Packet, now time.Time) {
	c := s.alive.Load()
	if c == nil {
		c = new(keepalive.Conn)
		s.alive.Store(c)
	}
	c.Note(d, p, now)
}

// Keepalive implements keepalive.Session.
func (s *session) Keepalive() keepalive.State {
	s.mu.Lock()
	established := s.state == expect.TCPStateEstablished
	s.mu.Unlock()
	return keepalive.State{
		Conn: s.alive.Load(), Tuples: [2]expect.Tuple{s.original(), s.reply()},
		Established: established && s.zone == [2]uint16{},
		Adjusted:    s.adjusted.Load(), Transferring: s.owner.Transferring(),
	}
}

// SetClosed implements keepalive.Session.
func (s *session) SetClosed() {
	s.mu.Lock()
	s.state = expect.TCPStateClose
	s.mu.Unlock()
}
