// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/balance"
	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/fastpath"
	"github.com/pasvport/pasvport/cmd/pasvport/limit"
	"github.com/pasvport/pasvport/cmd/pasvport/metrics"
	"github.com/pasvport/pasvport/cmd/pasvport/outside"
	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
)

// services are what every part of the gateway may use. They know no session and
// no worker. What is not synchronised is set before the first packet.
type services struct {
	cfg      config.Config            // with which the daemon was started
	current  atomic.Pointer[settings] // the part of cfg that may change
	log      *slog.Logger
	report   report.Reporter
	metrics  *metrics.Metrics
	pinholes *pinhole.Table
	holes    pinholeEvents // what happens to pinholes
	balancer *balance.Balancer
	outside  *outside.Book // addresses to announce
	lines    *limit.Lines  // of the log
	zones    zones
	ports    controlPorts

	plan       plan
	expectMax  int // expectations that the kernel has room for; 0: unknown, or none are made
	dial       func() (conntrack, error)
	firewall   firewall
	directions directions
	events     events
	peer       *pair.Pair // nil: this is not one firewall of a pair
	entries    entries
	fast       *fastpath.Table // nil: every line is read
	notes      bool            // what segments show of the two ends is recorded, for the keep-alive
}

// newServices returns services that touch no kernel yet.
func newServices(cfg config.Config, log *slog.Logger, m *metrics.Metrics) *services {
	s := &services{cfg: cfg, metrics: m, dial: dial}
	s.lines = limit.NewLines(s.clientOf, time.Now)
	s.log = slog.New(report.Monitoring(s.lines.Handler(log.Handler()), func() bool { return s.settings().Monitor }))
	s.report.Log = s.log
	s.outside = outside.New(s.log, outside.System())
	s.current.Store(newSettings(cfg, s.outside))
	s.zones.log = s.log
	s.holes = pinholeEvents{m, &s.report}
	s.pinholes = pinhole.NewTable(&s.holes, &s.report)
	s.pinholes.Client = s.clientOf
	s.balancer = balance.New(cfg.VirtualServers, func(port uint16) bool { return s.settings().EncryptedPort(port) }, s.log)
	return s
}

// settings are the current settings.
func (s *services) settings() *settings { return s.current.Load() }

// count counts a decision.
func (s *services) count(r report.Reason) { s.metrics.Decision(int(r)) }

// warn reports what a session did wrong, or what could not be done for it.
func (s *services) warn(of report.Subject, msg string, args ...any) {
	s.report.Report(slog.LevelWarn, of, msg, args...)
}

// failed is warn for an error, and does nothing for nil.
func (s *services) failed(of report.Subject, msg string, err error) {
	if err != nil {
		s.warn(of, msg, "err", err)
	}
}

// clientOf returns what identifies the client with an address.
func (s *services) clientOf(a netip.Addr) netip.Addr { return limit.Client(a, s.cfg.ClientPrefix) }

// syncBound is how long a packet waits until pending conntrack events are
// handled. Some ten thousand events are handled per second.
const syncBound = 100 * time.Millisecond

// sync handles pending conntrack events, and reports whether all are handled.
func (s *services) sync() bool { return s.events.Sync(syncBound) && s.peer.Settle(syncBound) }

// carrier is the carrier of control connections.
func (s *services) carrier() string {
	if s.settings().Monitor {
		return "none"
	}
	return s.plan.Carrier.String()
}

// claims reports whether sessions without a carrier are served by claims.
func (s *services) claims() bool { return s.plan.rules.Claim }

// byClaim reports whether the data connections of a session are claimed: it has
// no carrier, or they get a mark, since an expected one has its master's.
func (s *services) byClaim(o *pinhole.Owner) bool {
	return !o.Carrier || o.Mark != 0 && s.claims()
}

// opensRange reports whether encrypted sessions get a range of ports.
func (s *services) opensRange() bool { return s.settings().TLS == config.TLSRange && s.claims() }

// mostOfClient is the default maximum of open pinholes of one client's sessions.
const mostOfClient = 1024

// clientPinholes returns how many pinholes the sessions of one client may have
// open: by default, no more than a part of what the kernel has room for.
func (s *services) clientPinholes() int {
	if n := s.settings().MaxClientPinholes; n > 0 {
		return n
	}
	if s.expectMax == 0 {
		return mostOfClient
	}
	return min(max(s.expectMax/4, 1), mostOfClient)
}
