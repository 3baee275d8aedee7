// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"reflect"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/rules"
)

// Reload applies another configuration as far as possible while running, and
// returns the result. The rules change completely or not at all; after an error
// everything is as before. Existing sessions keep the policy that they began
// with: what is checked must not depend on when. Their next pinholes have the new
// timeout.
func (g *Gateway) Reload(next config.Config) (config.Config, error) {
	old := g.settings().Config
	cfg := config.Reloaded(old, next)
	if !cfg.Monitor && g.plan.unable != nil {
		return old, fmt.Errorf("monitor has to stay on: %w", g.plan.unable)
	}
	changed := config.Changed(old, cfg)
	err := g.balancer.Change(cfg.VirtualServers, func(servers []rules.VirtualServer) error {
		if config.InRules(changed) || !reflect.DeepEqual(cfg.Rules(), old.Rules()) { // they may depend on a policy, too
			if err := g.reconfigure(cfg, servers); err != nil {
				return err
			}
		}
		g.current.Store(newSettings(cfg, g.outside))
		g.outside.Use(g.settings().outsides()...)
		return nil
	})
	if err != nil {
		return old, err
	}
	g.older.note()
	g.accounts.Reopen()
	g.log.Info("configuration reloaded", "changed", changed)
	rest := config.Changed(cfg, next)
	if cfg.FailClosed && old.Monitor != cfg.Monitor {
		rest = append(rest, "fail") // the kernel was told with each queue
	}
	if len(rest) > 0 {
		g.log.Warn("some settings need a restart", "settings", rest)
	}
	return cfg, nil
}

// reconfigure changes our rules to another configuration.
func (g *Gateway) reconfigure(cfg config.Config, servers []rules.VirtualServer) error {
	r := cfg.ReloadRules(g.plan.rules)
	r.VirtualServers = servers
	// What was translated once stays translated.
	r.Translate = r.Translate || len(g.settings().VirtualServers) > 0
	g.ports.add(cfg)
	if err := g.events.SetPorts(g.ports.get()); err != nil {
		return err
	}
	if err := g.nft.Reconfigure(r); err != nil {
		return err
	}
	for _, s := range g.registry.all() {
		if !cfg.ControlPort(s.Owner.Ends.Dialled.Port()) {
			s.Miss() // it passes unread until its port is a control port again
		}
	}
	g.plan.rules.Translate, g.plan.rules.OneWay = r.Translate, r.OneWay
	g.pinholes.Data.Unreported.Store(r.QuietData())
	return nil
}
