// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/pasvport/pasvport/rules"
)

// healer is what was said last about the state of our rules, so that a state
// that lasts is said once.
type healer struct {
	mu      sync.Mutex
	noChain string
	failing bool
}

// heal puts our rules back whenever somebody takes them away, until ctx ends.
func (g *Gateway) heal(ctx context.Context) error {
	return g.firewall.Watch(ctx, g.healed)
}

// healed notes that rules were put back, or could not be.
func (g *Gateway) healed(h rules.Healing, err error) {
	g.healer.mu.Lock()
	defer g.healer.mu.Unlock()
	if err != nil {
		if !g.healer.failing {
			g.log.Error("cannot put our rules back", "err", err, "hint", healHint(err))
		}
		g.healer.failing = true
		return
	}
	g.healer.failing = false
	if len(h.Missing) > 0 {
		g.metrics.Heals.Add(1)
		g.log.Warn("rules put back", "missing", strings.Join(h.Missing, ", "), "pinholes", h.Pinholes)
		g.older.note()
		for _, w := range g.holders() {
			for _, s := range w.table.all() {
				s.missed.Store(true)
				s.fast.Disarm()
			}
		}
	}
	g.noChains(h.NoChain)
}

// noChains tells of chains of --allow that went or came.
func (g *Gateway) noChains(list []rules.ChainRef) {
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = r.String()
	}
	now := strings.Join(names, ",")
	if now == g.healer.noChain {
		return
	}
	g.healer.noChain = now
	if now == "" {
		g.log.Info("all chains of --allow are there again")
		return
	}
	g.log.Warn("chains of --allow are gone", "chains", now,
		"hint", "data connections may not be accepted; our rules go back as soon as the chains do")
}

func healHint(err error) string {
	if errors.Is(err, rules.ErrForeign) {
		return "somebody else's set has the name of ours; remove it, or give the daemon another --table"
	}
	return "it is tried again every second and with each change of the ruleset"
}
