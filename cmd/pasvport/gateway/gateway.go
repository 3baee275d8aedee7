// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/cmd/pasvport/metrics"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/cmd/pasvport/tablelock"
)

// Gateway is the running daemon. It joins the parts.
type Gateway struct {
	*life
	started   time.Time
	older     *olderConnections
	offers    *offers
	blocker   *blocker
	testament *testament
	lanes     lanes
	beatEvery time.Duration // see heartbeat.go

	// What is open in the kernel.
	nft       ruleset
	ct        conntrack // of the sweeper, and of what is done before and after it
	sender    *keepalive.Sender
	partnerCT conntrack // for adopting sessions of the other firewall
	noSender  error     // why there is no sender, if one was needed

	inherited  succession.Queues                             // of the previous daemon
	unseen     bool                                          // packets may have passed between that daemon and this one
	handOver   func(q succession.Queues, waits func()) error // passes the queues to the next one; see Restart
	restarting atomic.Bool
}

// New returns a gateway for a configuration. It does not touch the kernel.
func New(cfg config.Config, log *slog.Logger, m *metrics.Metrics) *Gateway {
	l := newLife(newServices(cfg, log, m))
	m.AddServers(l.balancer.Servers)
	m.AddExpectations(func() (n, most int) { return expectations(l.dial) })
	m.AddHeld(l.registry.held)
	b := &blocker{services: l.services}
	l.accounts.LoginFailed = b.loginFailed
	return &Gateway{
		life: l, blocker: b, started: time.Now(), older: newOlderConnections(), offers: &offers{l.services, l.adjust},
		testament: &testament{l.services, l.registry},
	}
}

// Run serves until ctx ends, and then removes everything of ours from the kernel.
// It calls ready when queues are bound and rules installed.
func (g *Gateway) Run(ctx context.Context, ready func()) error {
	lock, err := tablelock.Take(g.cfg.Table, g.cfg.QueueNum, g.cfg.Queues)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := g.open(); err != nil {
		g.close()
		return err
	}
	defer g.close()
	return g.serve(ctx, ready)
}

// Inherit gives the gateway the queues that the previous daemon handed on. It
// must be called before Run.
func (g *Gateway) Inherit(q succession.Queues) { g.inherited = q }

// Restart makes the stop that follows a restart: our rules stay, and pass passes
// the queues, which the kernel fills meanwhile, to the next daemon. It calls waits
// when that one finds them, and returns an error if none has them, and then the stop
// is a stop.
func (g *Gateway) Restart(pass func(q succession.Queues, waits func()) error) {
	g.handOver = pass
	g.restarting.Store(true)
}

// Beat makes every worker give a sign of life that often, for Alive. It must be
// called before Run.
func (g *Gateway) Beat(every time.Duration) { g.beatEvery = every }

// Alive reports whether each worker has given a sign of life within that time. It
// is valid after ready was called, and false without Beat.
func (g *Gateway) Alive(within time.Duration) bool { return g.lanes.alive(time.Now(), within) }

// Settings are the current settings.
func (g *Gateway) Settings() config.Config { return g.settings().Config }

// Events returns the stream of events.
func (g *Gateway) Events() *report.Stream { return &g.report.Stream }
