// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"strings"

	"github.com/pasvport/pasvport/rules"
)

// healer reports that our rules were put back, as rules.Firewall.Watch does
// whenever someone removes them. Its last reported state belongs to the goroutine
// of Watch, so that a state that lasts is reported once.
type healer struct {
	*services
	registry *registry
	older    *olderConnections

	noChain string
	failing bool
}

// healed reports that rules were put back, or could not be.
func (h *healer) healed(done rules.Healing, err error) {
	if err != nil {
		if !h.failing {
			h.log.Error("cannot put our rules back", "err", err, "hint", healHint(err))
		}
		h.failing = true
		return
	}
	h.failing = false
	if len(done.Missing) > 0 {
		h.metrics.Heals.Add(1)
		h.log.Warn("rules put back", "missing", strings.Join(done.Missing, ", "), "pinholes", done.Pinholes)
		h.older.note()
		for _, s := range h.registry.all() {
			s.Miss()
		}
	}
	h.noChains(done.NoChain)
}

// noChains reports chains of --allow that disappeared or came back.
func (h *healer) noChains(list []rules.ChainRef) {
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = r.String()
	}
	now := strings.Join(names, ",")
	if now == h.noChain {
		return
	}
	h.noChain = now
	if now == "" {
		h.log.Info("all chains of --allow are there again")
		return
	}
	h.log.Warn("chains of --allow are gone", "chains", now,
		"hint", "data connections may not be accepted; our rules go back as soon as the chains do")
}

func healHint(err error) string {
	if errors.Is(err, rules.ErrForeign) {
		return "somebody else's set has the name of ours; remove it, or give the daemon another --table"
	}
	return "it is tried again every second and with each change of the ruleset"
}
