// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"

	"github.com/pasvport/pasvport/rules"
)

// build applies the entries to the defaults and checks the whole.
func build(entries []entry) (Config, error) {
	c := Default()
	for _, e := range entries {
		if err := e.apply(&c); err != nil {
			return Config{}, err
		}
	}
	c.Ports, c.TLSPorts = rules.MergePorts(c.Ports), rules.MergePorts(c.TLSPorts)
	// Policies start from all other settings.
	for _, last := range []bool{false, true} {
		for _, e := range entries {
			if e.setting.addMapping == nil || (e.setting.name == policiesKey) != last {
				continue
			}
			if err := e.addMaps(&c, settings); err != nil {
				return Config{}, err
			}
		}
	}
	if err := c.check(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// check looks at what no single value shows.
func (c *Config) check() error {
	switch {
	case len(c.Ports) == 0:
		return fmt.Errorf("port: the list is empty, want at least one control port")
	case c.Allow == "":
		return fmt.Errorf("allow: the list is empty, want related, mark or chain=FAMILY/TABLE/CHAIN")
	case c.Strategy == StrategyExpectation && (c.Carrier == rules.CarrierBare || c.Carrier == rules.CarrierNone):
		return fmt.Errorf("carrier %q with strategy %q: want carrier auto or sane, as without a helper nothing is expected", c.Carrier, c.Strategy)
	case c.Strategy == StrategyClaim && c.Carrier == rules.CarrierSane:
		return fmt.Errorf("carrier %q with strategy %q: want carrier auto, bare or none", c.Carrier, c.Strategy)
	case c.TLS == TLSRange && c.Strategy == StrategyExpectation:
		return fmt.Errorf("tls %q with strategy %q: want strategy auto or claim, as a range cannot be expected", c.TLSText(), c.Strategy)
	case c.Monitor && len(c.VirtualServers) > 0:
		return fmt.Errorf("monitor with virtual-servers: want one of them, as a virtual server translates")
	case int(c.QueueNum)+c.Queues > 65535:
		return fmt.Errorf("queue-num %d with queues %d: want a sum of at most 65535", c.QueueNum, c.Queues)
	}
	marks := []*Config{c}
	for i := range c.Policies {
		marks = append(marks, c.Policies[i].Config)
	}
	for _, m := range marks {
		if err := m.checkMark(c); err != nil {
			return err
		}
	}
	for _, chain := range c.Chains {
		if chain.Family == rules.FamilyINet && chain.Table == c.Table {
			return fmt.Errorf("allow %q with table %q: want a chain of another table than our own", c.AllowText(), c.Table)
		}
	}
	return c.checkVirtualServers()
}
