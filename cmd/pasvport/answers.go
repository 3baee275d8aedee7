// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/gateway"
)

// answers are those of the gateway, with what only main knows, and with times from
// which a reader's clock gives the right ages.
type answers struct {
	*gateway.Gateway
	scrapes *scrapes
	reloads *reloader
}

// Settings implements control.Source.
func (a answers) Settings() any { return a.Gateway.Settings().Export() }

// Status implements control.Source.
func (a answers) Status() control.Status {
	s := a.Gateway.Status()
	s.Version, s.ConfigFile = version(), a.reloads.file()
	s.Started = onClock(s.Started, time.Now())
	s.Notes = append(s.Notes, a.scrapes.notes()...)
	return s
}

// Sessions implements control.Source.
func (a answers) Sessions() []control.Session {
	now, list := time.Now(), a.Gateway.Sessions()
	for i := range list {
		s := &list[i]
		s.Started = onClock(s.Started, now)
		if s.Offer != nil {
			offer := *s.Offer
			offer.Time = onClock(offer.Time, now)
			s.Offer = &offer
		}
	}
	return list
}

// Servers implements control.Source.
func (a answers) Servers() []control.Server {
	now, list := time.Now(), slices.Clone(a.Gateway.Servers())
	for i := range list {
		list[i].Since, list[i].Checked = onClock(list[i].Since, now), onClock(list[i].Checked, now)
	}
	return list
}

// Reload implements control.Source.
func (a answers) Reload(ctx context.Context) error { return a.reloads.ask(ctx) }

// onClock is t as today's wall clock would have shown it: t itself, unless that clock
// has been set since then. An age is the monotonic clock's then, too.
func onClock(t, now time.Time) time.Time {
	const step = time.Second / 2 // less may be the two clocks not being read at once
	if t.IsZero() {
		return t
	}
	lived := now.Sub(t)
	if set := now.Round(0).Sub(t.Round(0)) - lived; set.Abs() < step {
		return t
	}
	return now.Add(-lived).Round(0)
}
