// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/rules"
)

// TestControlPorts: ports are merged, and stay.
func TestControlPorts(t *testing.T) {
	var c controlPorts
	for _, tt := range []struct {
		add  rules.PortRange
		want []expect.PortRange
	}{
		{rules.PortRange{Low: 21, High: 21}, []expect.PortRange{{Low: 21, High: 21}}},
		{rules.PortRange{Low: 2121, High: 2125}, []expect.PortRange{{Low: 21, High: 21}, {Low: 2121, High: 2125}}},
		{rules.PortRange{Low: 22, High: 2120}, []expect.PortRange{{Low: 21, High: 2125}}},
	} {
		cfg := config.Default()
		cfg.Ports = []rules.PortRange{tt.add}
		c.add(cfg)
		if diff := cmp.Diff(tt.want, c.get()); diff != "" {
			t.Errorf("with %v (-want +got)\n%s", tt.add, diff)
		}
	}
}
