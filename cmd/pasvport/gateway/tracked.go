// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/rules"
)

// tracked are the control ports that conntrack's events come of.
func (g *Gateway) tracked() []expect.PortRange { return *g.listening.Load() }

// track adds the control ports of a configuration. None is ever taken away: there
// may be sessions still.
func (g *Gateway) track(cfg config.Config) {
	all := cfg.Rules()
	if old := g.listening.Load(); old != nil {
		for _, r := range *old {
			all.Ports = append(all.Ports, rules.PortRange(r))
		}
	}
	var list []expect.PortRange
	for _, r := range all.WithDefaults().Ports { // merged
		list = append(list, expect.PortRange(r))
	}
	g.listening.Store(&list)
}
