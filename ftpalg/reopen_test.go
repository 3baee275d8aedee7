// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"net/netip"
	"testing"
)

// TestReopen: what was open before is reopened only if an offer could still open
// it.
func TestReopen(t *testing.T) {
	ap, a := netip.MustParseAddrPort, netip.MustParseAddr
	routed := Endpoints{Client: ap("10.0.0.2:4000"), Dialled: ap("192.0.2.1:21"), Server: ap("192.0.2.1:21"), SeenAs: ap("10.0.0.2:4000")}
	both := Endpoints{Client: ap("10.0.0.2:4000"), Dialled: ap("203.0.113.1:21"), Server: ap("172.16.0.9:2121"), SeenAs: ap("172.16.0.1:4000")}
	passive := Offer{Mode: Passive, Source: a("10.0.0.2"), Public: ap("192.0.2.1:50000"), Target: ap("192.0.2.1:50000")}
	active := Offer{Mode: Active, Source: a("192.0.2.1"), Public: ap("10.0.0.2:50000"), Target: ap("10.0.0.2:50000")}
	passiveNAT := Offer{Mode: Passive, Source: a("10.0.0.2"), Public: ap("203.0.113.1:40000"), Target: ap("172.16.0.9:50000"), NAT: true}
	activeNAT := Offer{Mode: Active, Source: a("172.16.0.9"), Public: ap("172.16.0.1:50000"), Target: ap("10.0.0.2:50000"), NAT: true}
	with := func(o Offer, f func(*Offer)) Offer { f(&o); return o }
	for _, tt := range []struct {
		name   string
		ep     Endpoints
		policy Policy
		o      Offer
		want   Reason
	}{
		{"passive", routed, Policy{}, passive, ReasonPlain},
		{"active", routed, Policy{}, active, ReasonPlain},
		{"passive, translated, to another port", both, Policy{}, passiveNAT, ReasonPlain},
		{"active, translated", both, Policy{}, activeNAT, ReasonPlain},
		{"port 22", routed, Policy{}, with(passive, func(o *Offer) { o.Public, o.Target = ap("192.0.2.1:22"), ap("192.0.2.1:22") }), ReasonPortLow},
		{"port 22 of the firewall", both, Policy{}, with(passiveNAT, func(o *Offer) { o.Public = ap("203.0.113.1:22") }), ReasonPortLow},
		{"port 22 of the server", both, Policy{}, with(passiveNAT, func(o *Offer) { o.Target = ap("172.16.0.9:22") }), ReasonPortLow},
		{"port 0", routed, Policy{}, with(passive, func(o *Offer) { o.Target = ap("192.0.2.1:0") }), ReasonPortZero},
		{"public port 0", both, Policy{}, with(passiveNAT, func(o *Offer) { o.Public = ap("203.0.113.1:0") }), ReasonSyntax},
		{"the control port", routed, Policy{MinDataPort: 1}, with(passive, func(o *Offer) { o.Public, o.Target = ap("192.0.2.1:21"), ap("192.0.2.1:21") }), ReasonControlPort},
		{"a service", routed, Policy{Checks: Strict}, with(passive, func(o *Offer) { o.Public, o.Target = ap("192.0.2.1:3306"), ap("192.0.2.1:3306") }), ReasonService},
		{"the policy wants higher ports", routed, Policy{MinDataPort: 60000}, passive, ReasonPortLow},
		{"every active command is denied", routed, Policy{Deny: verbs("PORT", "EPRT")}, active, ReasonCommandDenied},
		{"one of two active commands is", routed, Policy{Deny: verbs("PORT")}, active, ReasonPlain},
		{"no passive command is allowed", routed, Policy{Allow: verbs("PORT", "RETR")}, passive, ReasonCommandDenied},
		{"one is", routed, Policy{Allow: verbs("EPSV")}, passive, ReasonPlain},
		{"a third host's port", routed, Policy{}, with(passive, func(o *Offer) { o.Public, o.Target = ap("192.0.2.7:50000"), ap("192.0.2.7:50000") }), ReasonForeignAddress},
		{"a third host behind the server's address", both, Policy{}, with(passiveNAT, func(o *Offer) { o.Target = ap("172.16.0.8:50000") }), ReasonForeignAddress},
		{"a third client", routed, Policy{}, with(passive, func(o *Offer) { o.Source = a("10.0.0.3") }), ReasonForeignAddress},
		{"no client", routed, Policy{}, with(passive, func(o *Offer) { o.Source = netip.Addr{} }), ReasonSyntax},
		{"a third address of the firewall", both, Policy{}, with(passiveNAT, func(o *Offer) { o.Public = ap("203.0.113.2:50000") }), ReasonForeignAddress},
		{"translated where nothing is", routed, Policy{}, with(passive, func(o *Offer) { o.NAT = true }), ReasonForeignAddress},
		{"not translated where it is", both, Policy{}, with(passiveNAT, func(o *Offer) { o.NAT = false }), ReasonForeignAddress},
		{"another port without translation", routed, Policy{}, with(passive, func(o *Offer) { o.Public = ap("192.0.2.1:50001") }), ReasonForeignAddress},
		{"active, to a third host", routed, Policy{}, with(active, func(o *Offer) { o.Public, o.Target = ap("10.0.0.7:50000"), ap("10.0.0.7:50000") }), ReasonForeignAddress},
		{"a third host, which is allowed", routed, Policy{ThirdParty: true}, with(active, func(o *Offer) { o.Public, o.Target = ap("10.0.0.7:50000"), ap("10.0.0.7:50000") }), ReasonPlain},
		{"a third host's port 22, which is not", routed, Policy{ThirdParty: true}, with(active, func(o *Offer) { o.Public, o.Target = ap("10.0.0.7:22"), ap("10.0.0.7:22") }), ReasonPortLow},
		{"the other family", routed, Policy{ThirdParty: true}, with(passive, func(o *Offer) { o.Public, o.Target = ap("[2001:db8::1]:50000"), ap("[2001:db8::1]:50000") }), ReasonFamily},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.policy.Reopen(tt.ep, &tt.o); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func verbs(list ...string) map[string]bool {
	m := map[string]bool{}
	for _, v := range list {
		m[v] = true
	}
	return m
}
