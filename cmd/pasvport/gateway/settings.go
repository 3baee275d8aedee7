// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// settings are those that can change while the daemon runs. A value never
// changes; a reload puts another in its place.
type settings struct {
	config.Config
	policy   ftpalg.Policy
	policies []ftpalg.Policy // of Config.Policies
}

func newSettings(cfg config.Config) *settings {
	s := &settings{Config: cfg, policy: cfg.Policy()}
	for _, p := range cfg.Policies {
		own := p.Config.Policy()
		own.External = s.policy.External
		s.policies = append(s.policies, own)
	}
	return s
}

// policyFor returns the policy of a control connection.
func (s *settings) policyFor(e *expect.Entry) *ftpalg.Policy {
	for i := range s.Policies {
		if s.Policies[i].Matches(e.Original.Dst.Port(), e.Original.Src.Addr(), e.Reply.Src.Addr()) {
			return &s.policies[i]
		}
	}
	return &s.policy
}

// Reload takes over another configuration as far as that is possible while
// running, and returns what it is now. Of the rules everything or nothing
// changes; on an error all is as before. Sessions that have begun keep the
// policy that they began with: what is checked of them must not depend on when
// they are looked at. Their next pinholes have the new timeout.
func (g *Gateway) Reload(next config.Config) (config.Config, error) {
	old := g.settings().Config
	cfg := config.Reloaded(old, next)
	changed := config.Changed(old, cfg)
	err := g.balancer.Change(cfg.VirtualServers, func(servers []rules.VirtualServer) error {
		if config.InRules(changed) {
			if err := g.reconfigure(cfg, servers); err != nil {
				return err
			}
		}
		g.current.Store(newSettings(cfg))
		return nil
	})
	if err != nil {
		return old, err
	}
	g.older.note()
	if g.accounts.file != nil {
		g.accounts.file.Reopen() // as logrotate asks for
	}
	g.log.Info("configuration reloaded", "changed", changed)
	if rest := config.Changed(cfg, next); len(rest) > 0 {
		g.log.Warn("some settings need a restart", "settings", rest)
	}
	return cfg, nil
}

// reconfigure changes our rules to another configuration.
func (g *Gateway) reconfigure(cfg config.Config, servers []rules.VirtualServer) error {
	r := cfg.ReloadRules(g.plan.rules)
	r.VirtualServers = servers
	// What was translated once goes on being translated.
	r.Translate = r.Translate || len(g.settings().VirtualServers) > 0
	g.plan.rules.Translate = r.Translate
	g.track(cfg)
	if err := g.events.SetPorts(g.tracked()); err != nil {
		return err
	}
	return g.firewall.Reconfigure(r)
}

// Settings are those in force.
func (g *Gateway) Settings() config.Config { return g.settings().Config }

// settings are the present ones.
func (g *Gateway) settings() *settings { return g.current.Load() }
