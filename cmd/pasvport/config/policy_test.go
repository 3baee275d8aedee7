// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"testing"

	"github.com/pasvport/pasvport/ftpalg"
)

func TestPolicies(t *testing.T) {
	c, msg := load(t, `
repair: private
deny-command: SITE
policies:
  - port: [2121, 8021-8025]
    client: 192.0.2.0/24
    checks: strict
    deny-command: [DELE]
  - server: [198.51.100.7, "2001:db8::/32"]
    third-party: allow
    tls: deny
`, "--min-data-port=2000")
	if msg != "" {
		t.Fatal(msg)
	}
	if len(c.Policies) != 2 {
		t.Fatalf("%d policies, want 2", len(c.Policies))
	}
	first, second := c.Policies[0].Config, c.Policies[1].Config
	if first.Checks != ftpalg.Strict || first.Repair != ftpalg.RepairPrivate || first.MinDataPort != 2000 ||
		len(first.DenyCommands) != 1 || !first.DenyCommands["DELE"] {
		t.Errorf("first policy: %+v", first)
	}
	if !second.ThirdParty || second.TLS != TLSDeny || second.Checks != ftpalg.Normal || !second.DenyCommands["SITE"] {
		t.Errorf("second policy: %+v", second)
	}
	if c.ThirdParty || c.Checks != ftpalg.Normal || len(c.DenyCommands) != 1 {
		t.Errorf("a policy changed the settings for all: %+v", c)
	}
	for _, tt := range []struct {
		port           uint16
		client, server string
		want           int // index of the first match, or -1
	}{
		{2121, "192.0.2.9", "203.0.113.1", 0},
		{8023, "192.0.2.9", "198.51.100.7", 0},
		{21, "192.0.2.9", "198.51.100.7", 1},
		{2121, "192.0.3.9", "198.51.100.8", -1},
		{21, "2001:db8:1::1", "2001:db8::21", 1},
	} {
		got := -1
		for i := len(c.Policies) - 1; i >= 0; i-- {
			if c.Policies[i].Matches(tt.port, netip.MustParseAddr(tt.client), netip.MustParseAddr(tt.server)) {
				got = i
			}
		}
		if got != tt.want {
			t.Errorf("%d from %s to %s: policy %d, want %d", tt.port, tt.client, tt.server, got, tt.want)
		}
	}
}
