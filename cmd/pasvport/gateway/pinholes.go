// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"fmt"
	"log/slog"

	"github.com/pasvport/pasvport/cmd/pasvport/metrics"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
)

// pinholeEvents counts and reports what happens to pinholes. It implements
// pinhole.Events.
type pinholeEvents struct {
	metrics *metrics.Metrics
	report  *report.Reporter
}

// PinholeOpened implements pinhole.Events.
func (e *pinholeEvents) PinholeOpened(*pinhole.Pinhole) {
	e.metrics.Pinholes.Open.Add(1)
	e.metrics.Pinholes.Opened.Add(1)
}

// PinholeUsed implements pinhole.Events.
func (e *pinholeEvents) PinholeUsed(p *pinhole.Pinhole) {
	e.metrics.Pinholes.Open.Add(-1)
	e.metrics.Pinholes.Used.Add(1)
	e.note("pinhole used", p, "")
}

// PinholeEnded implements pinhole.Events.
func (e *pinholeEvents) PinholeEnded(p *pinhole.Pinhole, why string) {
	e.metrics.Pinholes.Open.Add(-1)
	switch p.State() {
	case pinhole.Expired:
		e.metrics.Pinholes.Expired.Add(1)
		e.note("pinhole expired", p, why, "cause", "no connection came")
		return
	case pinhole.Dropped:
		e.metrics.Pinholes.Expired.Add(1)
		e.metrics.Pinholes.Dropped.Add(1)
		e.failed("pinhole expired", p, "the connection came, and the ruleset of this machine dropped it")
		return
	}
	e.metrics.Pinholes.Closed.Add(1)
	cause := "another announcement took its place"
	if p.State() == pinhole.Closed {
		cause = cmp.Or(why, "the session is over")
	}
	e.note("pinhole closed", p, why, "cause", cause)
}

// takenBack records a pinhole that an earlier daemon opened.
func (e *pinholeEvents) takenBack(p *pinhole.Pinhole) {
	e.metrics.Pinholes.Open.Add(1)
	e.note("pinhole taken back", p, "")
}

func (e *pinholeEvents) note(msg string, p *pinhole.Pinhole, why string, more ...any) {
	args := []any{"mode", p.Mode,
		"from", p.Source, "to", p.Public, "target", p.Target, "strategy", p.Strategy()}
	if why != "" {
		args = append(args, "reason", why)
	}
	e.report.Report(slog.LevelInfo, p.Owner.Subject(), msg, append(args, more...)...)
}

// failed reports a data connection that was announced but failed.
func (e *pinholeEvents) failed(msg string, p *pinhole.Pinhole, cause string) {
	ends := p.Owner.Ends
	e.report.Report(slog.LevelWarn, p.Owner.Subject(), msg, "mode", p.Mode, "from", p.Source, "to", p.Public, "target", p.Target,
		"strategy", p.Strategy(), "cause", cause, "hint", fmt.Sprintf("pasvport doctor --client %s --server %s names the rule", ends.Client.Addr(), ends.Server.Addr()))
}
