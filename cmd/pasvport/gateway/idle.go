// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"log/slog"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
)

// idle watches silent sessions.
type idle struct {
	*services
	registry *registry
	sender   *keepalive.Sender // nil: nothing is sent to them
}

// watch probes and ends silent sessions until ctx ends.
func (i *idle) watch(ctx context.Context) error {
	if i.sender == nil {
		return nil
	}
	w := keepalive.Watch[*session.Session]{
		Every: i.cfg.Keepalive, Idle: i.cfg.SessionIdle, Sender: i.sender,
		Sessions: i.registry.met, Ended: i.ended, Failed: i.notSent,
	}
	return w.Run(ctx)
}

// notSent reports that a segment could not be sent.
func (i *idle) notSent(s *session.Session, reset bool, err error) {
	if reset {
		i.warn(s.Subject(), "reset not sent", "err", err)
		return
	}
	i.report.Report(slog.LevelDebug, s.Subject(), "keep-alive not sent", "err", err)
}

// ended reports that a session was ended because it is idle, or because one of
// its ends does not answer.
func (i *idle) ended(s *session.Session, c keepalive.Cause, unused time.Duration) {
	s.SetCause(c)
	switch c {
	case keepalive.CauseIdle:
		i.report.Report(slog.LevelInfo, s.Subject(), "idle control connection reset", "idle", unused.Round(time.Second))
	case keepalive.CauseClientGone:
		i.report.Report(slog.LevelInfo, s.Subject(), "control connection reset, one end is gone", "gone", "client")
	case keepalive.CauseServerGone:
		i.report.Report(slog.LevelInfo, s.Subject(), "control connection reset, one end is gone", "gone", "server")
	}
}

// refresh keeps the entries of sessions with data connections from timing out,
// until ctx ends.
func (i *idle) refresh(ctx context.Context) error {
	ct, err := i.dial()
	if err != nil {
		return err
	}
	defer ct.Close()
	r := keepalive.Refresher[*pinhole.Owner]{Conntrack: ownEntries{ct, i.services, i.registry}, Transfers: kept{&i.pinholes.Data}, Failed: i.notRefreshed}
	return r.Run(ctx)
}

func (i *idle) notRefreshed(o *pinhole.Owner, err error) {
	i.warn(o.Subject(), "cannot refresh a control connection's timeout", "err", err)
}

// ownEntries is a conntrack connection that refreshes no entry of a session that
// the other firewall has.
type ownEntries struct {
	conntrack
	*services
	registry *registry
}

// UpdateTimeout overrides that of the connection.
func (o ownEntries) UpdateTimeout(t expect.Tuple, d time.Duration) error {
	if s := o.registry.session(t); s != nil && s.Pair.Standby() && !o.peer.Alone() {
		return nil
	}
	return o.conntrack.UpdateTimeout(t, d)
}

// kept are the data connections whose control connections must not time out: not
// those of sessions that are only monitored.
type kept struct{ *pinhole.Data }

// Due implements keepalive.Transfers.
func (k kept) Due() (list []*pinhole.Owner) {
	for _, o := range k.Data.Due() {
		if !o.Monitored {
			list = append(list, o)
		}
	}
	return list
}
