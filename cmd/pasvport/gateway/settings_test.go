// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// TestPolicyFor: a connection has the first matching policy, and the general
// addresses of servers.
func TestPolicyFor(t *testing.T) {
	cfg := config.Default()
	special := config.Default()
	special.Checks = ftpalg.Strict
	cfg.Policies = []config.Policy{{Clients: []netip.Prefix{netip.MustParsePrefix("198.51.100.1/32")}, Config: &special}}
	s := newSettings(cfg, nil)
	one, two := entryOf(1), entryOf(2)
	if p := s.policyFor(&one); p != &s.policies[0] || p.Checks != ftpalg.Strict {
		t.Errorf("the policy is %+v", p)
	}
	if p := s.policyFor(&two); p != &s.policy {
		t.Errorf("the policy is %+v", p)
	}
}

// TestClientPinholes: the configured number, or a part of the kernel's maximum.
func TestClientPinholes(t *testing.T) {
	for _, tt := range []struct{ configured, kernel, want int }{
		{7, 4096, 7}, {0, 0, mostOfClient}, {0, 1024, 256}, {0, 2, 1}, {0, 1 << 20, mostOfClient},
	} {
		b := newBench(t, func(c *config.Config) { c.MaxClientPinholes = tt.configured })
		b.expectMax = tt.kernel
		if got := b.clientPinholes(); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}

// TestOpensRange: only with --tls range, and where the kernel supports claims.
func TestOpensRange(t *testing.T) {
	for _, tt := range []struct {
		tls    config.TLSKind
		claims bool
		want   bool
	}{{config.TLSRange, true, true}, {config.TLSRange, false, false}, {config.TLSPass, true, false}} {
		b := newBench(t, func(c *config.Config) { c.TLS, c.TLSRange = tt.tls, rules.PortRange{Low: 50000, High: 50100} })
		if b.plan.rules.Claim = tt.claims; b.opensRange() != tt.want {
			t.Errorf("%+v: %v", tt, !tt.want)
		}
	}
}
