// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// MarkCheck is the priority (SO_PRIORITY) of packets that check a server: that
// connection is no session. A priority, because routes do not depend on it.
const MarkCheck uint32 = 0x70617378

// balanceChains send new connections to a server, before the administrator's own
// destination translation: later chains do not see a connection that has one.
// Without an available server the lookup fails, and with it the rule.
func balanceChains(c Config) []chain {
	if len(c.VirtualServers) == 0 {
		if c.Translate {
			return []chain{translateChain()}
		}
		return nil
	}
	var list []rule
	for i := range c.VirtualServers {
		v := &c.VirtualServers[i]
		for _, a := range v.Listen {
			// ip daddr 203.0.113.171 tcp dport 21 counter
			//	dnat ip to numgen inc mod 60 map @servers4_ftp
			// ip daddr 203.0.113.171 tcp dport 21 counter reject with tcp reset
			list = append(list,
				newRule(daddr(a.Addr()), dportIs(a.Port()), counter(), toServer(v)),
				newRule(daddr(a.Addr()), dportIs(a.Port()), counter(), reset()))
		}
	}
	all := newRule(l4proto(), jump("balance"))
	pre, out := translateChain(), outputHook("balance_output", -101, "-101", all)
	pre.rules, out.nat = []rule{all}, true
	return []chain{{name: "balance", rules: list}, pre, out}
}

// translateChain is a nat chain without a rule.
func translateChain() chain {
	ch := preroutingHook("balance_prerouting", -101, "dstnat - 1")
	ch.nat = true
	return ch
}

// checkRule exempts checks of servers from the rules for sessions.
func checkRule() rule {
	// meta priority 7061:7378 update @checks { ct id } return
	return newRule(plain(fmt.Sprintf("meta priority %x:%x", MarkCheck>>16, MarkCheck&0xffff),
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: reg}, equal(host32(MarkCheck))),
		dynset("update", unix.NFT_DYNSET_OP_UPDATE, setChecks), leave()).explained("a check of a server is no session")
}

// daddr is: ip daddr 203.0.113.171
func daddr(a netip.Addr) clause {
	word, need, offset := "ip", needIPv4, uint32(16)
	if a.Is6() {
		word, need, offset = "ip6", needIPv6, 24
	}
	return clause{text: fmt.Sprintf("%s daddr %s", word, a), needs: need, exprs: []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(a.BitLen() / 8)},
		equal(a.AsSlice())}}
}

// dportIs is: tcp dport 21
func dportIs(port uint16) clause { return dportRange(PortRange{port, port}) }

// toServer is: dnat ip to numgen inc mod 60 map @servers4_ftp
func toServer(v *VirtualServer) clause {
	word, src, size, port := "ip", uint32(12), uint32(4), uint32(unix.NFT_REG32_01)
	if v.ip() == FamilyIPv6 {
		word, src, size, port = "ip6", 8, 16, unix.NFT_REG_2
	}
	n := uint32(len(v.Slots))
	text, draw := fmt.Sprintf("numgen inc mod %d", n), []expr.Any{
		&expr.Numgen{Register: reg, Modulus: n, Type: unix.NFT_NG_INCREMENTAL}}
	if v.BySource {
		text, draw = fmt.Sprintf("jhash %s saddr mod %d seed 0x%x", word, n, hashSeed), []expr.Any{
			&expr.Payload{DestRegister: unix.NFT_REG_2, Base: expr.PayloadBaseNetworkHeader, Offset: src, Len: size},
			&expr.Hash{SourceRegister: unix.NFT_REG_2, DestRegister: reg, Length: size, Modulus: n, Seed: hashSeed, Type: expr.HashTypeJenkins}}
	}
	return clause{text: fmt.Sprintf("dnat %s to %s map @%s", word, text, v.mapName()), needs: needTCP, exprs: append(draw,
		&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetName: v.mapName()},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(v.ip()), RegAddrMin: reg, RegProtoMin: port})}
}
