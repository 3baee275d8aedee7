// SPDX-License-Identifier: Apache-2.0

package config

import "github.com/pasvport/pasvport/rules"

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
	if wrong := c.check(); wrong != nil {
		return Config{}, wrong.placed(entries)
	}
	return c, nil
}

// check checks what no single value shows.
func (c *Config) check() *misfit {
	switch {
	case len(c.Ports) == 0:
		return unfit("port", "port: the list is empty, want at least one control port")
	case c.Allow == "":
		return unfit("allow", "allow: the list is empty, want related, mark or chain=FAMILY/TABLE/CHAIN")
	case c.Strategy == StrategyExpectation && (c.Carrier == rules.CarrierBare || c.Carrier == rules.CarrierNone):
		return unfit("carrier", "carrier %q with strategy %q: want carrier auto or sane, as without a helper nothing is expected", c.Carrier, c.Strategy)
	case c.Strategy == StrategyClaim && c.Carrier == rules.CarrierSane:
		return unfit("carrier", "carrier %q with strategy %q: want carrier auto, bare or none", c.Carrier, c.Strategy)
	case c.TLS == TLSRange && c.Strategy == StrategyExpectation:
		return unfit("tls", "tls %q with strategy %q: want strategy auto or claim, as a range cannot be expected", c.TLSText(), c.Strategy)
	case c.Monitor && len(c.VirtualServers) > 0:
		return unfit("monitor", "monitor with virtual-servers: want one of them, as a virtual server translates")
	case int(c.QueueNum)+c.Queues > 65535:
		return unfit("queue-num", "queue-num %d with queues %d: want a sum of at most 65535", c.QueueNum, c.Queues)
	}
	if err := c.checkMark(c); err != nil {
		return &misfit{error: err, key: "mark"}
	}
	for i, p := range c.Policies {
		if err := p.Config.checkMark(c); err != nil {
			return (&misfit{error: err, key: "mark"}).in(policiesKey, i)
		}
	}
	for _, chain := range c.Chains {
		if chain.Family == rules.FamilyINet && chain.Table == c.Table {
			return unfit("allow", "allow %q with table %q: want a chain of another table than our own", c.AllowText(), c.Table)
		}
	}
	return c.checkVirtualServers()
}
