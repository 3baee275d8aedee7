// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"sync/atomic"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/rules"
)

// controlPorts are the control ports whose conntrack events are followed.
type controlPorts struct {
	list atomic.Pointer[[]expect.PortRange]
}

// get returns them.
func (c *controlPorts) get() []expect.PortRange { return *c.list.Load() }

// has reports whether a port is one of them.
func (c *controlPorts) has(port uint16) bool {
	return expect.Includes(c.get(), port)
}

// add adds the control ports of a configuration. None is ever removed: there may
// still be sessions.
func (c *controlPorts) add(cfg config.Config) {
	all := cfg.Rules()
	if old := c.list.Load(); old != nil {
		for _, r := range *old {
			all.Ports = append(all.Ports, rules.PortRange(r))
		}
	}
	var list []expect.PortRange
	for _, r := range all.WithDefaults().Ports { // merged
		list = append(list, expect.PortRange(r))
	}
	c.list.Store(&list)
}
