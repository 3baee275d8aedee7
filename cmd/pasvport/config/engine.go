// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/pasvport/pasvport/ftpalg"
)

// Policy returns the engine's part of the settings.
func (c Config) Policy() ftpalg.Policy {
	return ftpalg.Policy{
		ThirdParty: c.ThirdParty, Repair: c.Repair, Advertise: c.fixed(), External: c.external(), NAT64: c.NAT64,
		MinDataPort: c.MinDataPort, DenyTLS: c.TLS == TLSDeny,
		Checks: c.Checks, Offers: c.MaxOffers, Watch: c.Monitor,
		RequireTLS: c.TLS == TLSRequire, Deny: union(c.DenyCommands, c.Commands.Deny), Allow: c.Commands.Allow,
		NoActive: !c.Modes.Active, NoPassive: !c.Modes.Passive, NoIPv4: !c.Families.IPv4, NoIPv6: !c.Families.IPv6,
		ActivePorts: ftpalg.PortRange(c.DataPorts.Active), PassivePorts: ftpalg.PortRange(c.DataPorts.Passive),
		MapPorts: ftpalg.PortRange(c.MapDataPorts), Anonymous: c.Anonymous, MaxLine: c.MaxLine, MaxArgument: c.MaxArgument, MaxPath: c.MaxPath, Files: c.Files,
		OneWay: c.OneWay,
	}
}

// fixed are the constant addresses to announce, nil without any.
func (c Config) fixed() ftpalg.Addresses {
	m := ftpalg.AddressMap{}
	for in, out := range c.Advertise {
		if out.Addr.IsValid() {
			m[in] = out.Addr
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

// union is what is in either list.
func union(a, b map[string]bool) map[string]bool {
	if len(b) == 0 {
		return a
	}
	both := maps.Clone(b)
	maps.Copy(both, a)
	return both
}

// external maps the servers of virtual servers to their external addresses.
func (c Config) external() map[netip.Addr]netip.Addr {
	m := map[netip.Addr]netip.Addr{}
	for _, v := range c.VirtualServers {
		for _, s := range v.Servers {
			for _, ext := range s.Advertise {
				m[s.Addr(ext.Is4())] = ext
			}
		}
	}
	return m
}

// EngineSettings names the settings that affect how the engine treats a
// connection: the control ports, and what a policy may change.
func EngineSettings() []string {
	names := append([]string{"port", "tls-port"}, settings.with(inPolicy).names()...)
	return slices.DeleteFunc(names, func(name string) bool { return name == "monitor" }) // which is for a daemon
}
