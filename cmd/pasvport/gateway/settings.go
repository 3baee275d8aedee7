// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"slices"

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
	s := &settings{Config: cfg, policy: policyOf(cfg)}
	s.policy.External = externalOf(cfg)
	for _, p := range cfg.Policies {
		own := policyOf(*p.Config)
		own.External = s.policy.External
		s.policies = append(s.policies, own)
	}
	return s
}

// externalOf are the addresses that servers of virtual servers have besides.
func externalOf(cfg config.Config) map[netip.Addr]netip.Addr {
	m := map[netip.Addr]netip.Addr{}
	for _, v := range cfg.VirtualServers {
		for _, s := range v.Servers {
			for _, ext := range s.Advertise {
				m[s.Addr(ext.Is4())] = ext
			}
		}
	}
	return m
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

// policyOf is what the engine is to know of a configuration.
func policyOf(cfg config.Config) ftpalg.Policy {
	repair := map[config.Repair]ftpalg.Repair{
		config.RepairNone: ftpalg.RepairNone, config.RepairUnusable: ftpalg.RepairUnusable,
		config.RepairPrivate: ftpalg.RepairPrivate, config.RepairAll: ftpalg.RepairAll,
	}
	return ftpalg.Policy{
		ThirdParty: cfg.ThirdParty, Repair: repair[cfg.Repair], Advertise: cfg.Advertise,
		MinDataPort: cfg.MinDataPort, DenyTLS: cfg.TLS == config.TLSDeny,
		Checks: cfg.Checks, Deny: cfg.DenyCommands, Limits: ftpalg.Limits{Offers: cfg.MaxOffers},
	}
}

// adjustable are the settings that Reload changes; the others need a restart.
var adjustable = []string{
	"port", "allow", "third-party", "advertise", "repair", "min-data-port", "checks", "deny-command", "strict-active-port",
	"max-offers", "max-sessions", "max-client-sessions", "max-pinholes", "max-client-pinholes",
	"pinhole-timeout", "policies", "virtual-servers", "tls", "tls-parallel", "tls-port", "log-level",
}

// adjusted is old with the adjustable settings of next.
func adjusted(old, next config.Config) config.Config {
	c := old
	c.Ports = next.Ports
	c.Allow, c.Chains = next.Allow, next.Chains
	c.ThirdParty, c.Advertise, c.Repair = next.ThirdParty, next.Advertise, next.Repair
	c.Checks, c.DenyCommands = next.Checks, next.DenyCommands
	c.MinDataPort, c.StrictActivePort = next.MinDataPort, next.StrictActivePort
	c.MaxOffers, c.MaxSessions, c.MaxClientSessions = next.MaxOffers, next.MaxSessions, next.MaxClientSessions
	c.MaxPinholes, c.MaxClientPinholes = next.MaxPinholes, next.MaxClientPinholes
	c.PinholeTimeout = next.PinholeTimeout
	c.Policies, c.VirtualServers = next.Policies, next.VirtualServers
	c.TLS, c.TLSRange, c.TLSParallel, c.TLSPorts = next.TLS, next.TLSRange, next.TLSParallel, next.TLSPorts
	c.LogLevel = next.LogLevel
	return c
}

// Reload takes over another configuration as far as that is possible while
// running, and returns what it is now. Of the rules everything or nothing
// changes; on an error all is as before. Sessions that have begun keep the
// policy that they began with: what is checked of them must not depend on when
// they are looked at. Their next pinholes have the new timeout.
func (g *Gateway) Reload(next config.Config) (config.Config, error) {
	old := g.settings().Config
	cfg := adjusted(old, next)
	changed := config.Changed(old, cfg)
	err := g.balancer.Change(cfg.VirtualServers, func(servers []rules.VirtualServer) error {
		if slices.ContainsFunc(changed, inRules) {
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
	g.noteOlder()
	g.log.Info("configuration reloaded", "changed", changed)
	if rest := config.Changed(cfg, next); len(rest) > 0 {
		g.log.Warn("some settings need a restart", "settings", rest)
	}
	return cfg, nil
}

// reconfigure changes our rules to another configuration.
func (g *Gateway) reconfigure(cfg config.Config, servers []rules.VirtualServer) error {
	r, want := g.plan.rules, cfg.Rules()
	r.Ports, r.Chains, r.PinholeTimeout, r.PeerPorts = want.Ports, want.Chains, want.PinholeTimeout, want.PeerPorts
	r.VirtualServers = servers
	// What was translated once goes on being translated.
	r.Translate = r.Translate || len(g.settings().VirtualServers) > 0
	g.plan.rules.Translate = r.Translate
	return g.firewall.Reconfigure(r)
}

// inRules reports whether our rules depend on a setting.
func inRules(name string) bool {
	return slices.Contains([]string{"port", "allow", "pinhole-timeout", "policies", "virtual-servers", "tls", "tls-port"}, name)
}

// settings are the present ones.
func (g *Gateway) settings() *settings { return g.current.Load() }
