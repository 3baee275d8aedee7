// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// selectors choose the connections of a policy.
var selectors = keys{
	{name: "port", many: true, some: true, want: "a port from 1 to 65535, a range such as 8021-8025, or a list of them"},
	{name: "client", many: true, some: true, want: "an address or a network such as 192.0.2.0/24, or a list of them"},
	{name: "server", many: true, some: true, want: "an address or a network such as 192.0.2.0/24, or a list of them"},
}

// parsePolicies reads the list of policies.
func parsePolicies(name string, list *yaml.Node, root keys) ([]mapping, error) {
	return parseList(name, policiesKey, list, slices.Concat(selectors, root.with(inPolicy)))
}

// addPolicy adds the policy that m describes.
func (c *Config) addPolicy(m mapping, root keys) error {
	p, err := c.buildPolicy(m.entries, root.with(inPolicy))
	c.Policies = append(c.Policies, p)
	return err
}

// buildPolicy applies the entries of a policy to the settings for all.
func (c *Config) buildPolicy(entries []entry, changeable keys) (Policy, error) {
	var own Config
	changeable.transfer(&own, c)
	p := Policy{Config: &own}
	for _, e := range entries {
		if e.setting.addMapping != nil {
			if err := e.addMaps(&own, changeable); err != nil {
				return p, err
			}
			continue
		}
		if e.setting.flag() {
			if err := e.apply(&own); err != nil {
				return p, err
			}
			if own.TLS == TLSRange && c.TLS != TLSRange {
				return p, e.values[0].explain(e.setting, "pass, deny or require in a policy")
			}
			continue
		}
		for _, v := range e.values {
			if err := p.sel(e.setting.name, v.text); err != nil {
				return p, v.explain(e.setting, e.setting.want)
			}
		}
	}
	return p, nil
}

// sel adds a value of a selector.
func (p *Policy) sel(name, v string) (err error) {
	switch name {
	case "port":
		p.Ports, err = appendPorts(p.Ports, v)
	case "client":
		p.Clients, err = appendPrefixes(p.Clients, v)
	default:
		p.Servers, err = appendPrefixes(p.Servers, v)
	}
	return err
}

func appendPrefixes(list []netip.Prefix, v string) ([]netip.Prefix, error) {
	for item := range strings.SplitSeq(v, ",") {
		item = strings.TrimSpace(item)
		if a, err := netip.ParseAddr(item); err == nil && a.Zone() == "" {
			list = append(list, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			continue
		}
		n, err := netip.ParsePrefix(item)
		if err != nil || n.Addr().Is4In6() {
			return nil, errValue
		}
		list = append(list, n.Masked())
	}
	return list, nil
}
