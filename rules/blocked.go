// SPDX-License-Identifier: Apache-2.0

package rules

import "github.com/google/nftables/expr"

// blockedBits is how many leading bits of an IPv6 address are blocked.
const blockedBits = 64

// blockedRules drop what blocked clients send to control ports.
func blockedRules() []rule {
	return []rule{
		// ip saddr @pasvport_blocked4 tcp dport @control_ports counter drop
		newRule(clause{text: "ip saddr @" + setName(setBlocked, FamilyIPv4), needs: needIPv4, exprs: []expr.Any{
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
			&expr.Lookup{SourceRegister: reg, SetName: setName(setBlocked, FamilyIPv4)}}}, dport(setControlPorts), counter(), drop()).
			explained("clients whose logins failed too often"),
		// ip6 saddr & ffff:ffff:ffff:ffff:: @pasvport_blocked6 tcp dport @control_ports counter drop
		newRule(clause{text: "ip6 saddr & ffff:ffff:ffff:ffff:: @" + setName(setBlocked, FamilyIPv6), needs: needIPv6, exprs: []expr.Any{
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16},
			bitwise(networkMask(), make([]byte, 16)),
			&expr.Lookup{SourceRegister: reg, SetName: setName(setBlocked, FamilyIPv6)}}}, dport(setControlPorts), counter(), drop()),
	}
}

// networkMask is ffff:ffff:ffff:ffff::
func networkMask() []byte {
	mask := make([]byte, 16)
	for i := range blockedBits / 8 {
		mask[i] = 0xff
	}
	return mask
}
