// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The guard keeps a segment that conntrack cannot place (ct state invalid) from
// passing untranslated, or with the sequence numbers of before an edit: into the
// firewall's own stack, which would answer it with a reset, or to an end that
// takes its bytes for others. It covers connections that the kernel translates or
// the daemon edits. It leaves all others alone: on a one-way path every packet is
// invalid, and so are packets that a SYN proxy or a translator beside conntrack
// needs.
//
// An invalid packet has no entry, so sets hold the connections as their packets
// show them: each valid packet adds its addresses and ports.

// endsOf loads addresses and ports of a packet, for: tcp sport . tcp dport . ip saddr . ip daddr
func endsOf(ip Family) clause {
	word, need, src, size := "ip", needIPv4, uint32(12), uint32(4)
	if ip == FamilyIPv6 {
		word, need, src, size = "ip6", needIPv6, 8, 16
	}
	const first = unix.NFT_REG32_00
	words := size / 4
	load := func(r uint32, base expr.PayloadBase, offset, n uint32) expr.Any {
		return &expr.Payload{DestRegister: first + r, Base: base, Offset: offset, Len: n}
	}
	c := ofTCP("tcp sport . tcp dport . "+word+" saddr . "+word+" daddr",
		load(0, expr.PayloadBaseTransportHeader, 0, 2),
		load(1, expr.PayloadBaseTransportHeader, 2, 2),
		load(2, expr.PayloadBaseNetworkHeader, src, size),
		load(2+words, expr.PayloadBaseNetworkHeader, src+size, size))
	c.needs |= need
	return c
}

// endsIn is: tcp sport . tcp dport . ip saddr . ip daddr @guarded4
func endsIn(name string, ip Family) clause {
	c, name := endsOf(ip), setName(name, ip)
	c.text += " @" + name
	c.exprs = append(c.exprs, &expr.Lookup{SourceRegister: unix.NFT_REG32_00, SetName: name})
	return c
}

// setEnds is, for instance: update @guarded4 { tcp sport . tcp dport . ip saddr . ip daddr }
func setEnds(word string, op uint32, name string, ip Family) clause {
	c, name := endsOf(ip), setName(name, ip)
	c.text = word + " @" + name + " { " + c.text + " }"
	c.exprs = append(c.exprs, &expr.Dynset{SrcRegKey: unix.NFT_REG32_00, SetName: name, Operation: op})
	return c
}

// ctStatusNAT is IPS_SRC_NAT and IPS_DST_NAT of nf_conntrack_common.h.
const ctStatusNAT = 1<<4 | 1<<5

// ctTranslated is: ct status snat,dnat
func ctTranslated() clause {
	return plain("ct status snat,dnat",
		&expr.Ct{Key: expr.CtKeySTATUS, Register: reg}, bitwise(host32(ctStatusNAT), host32(0)), nonzero())
}

// guardChain adds a connection to the guarded ones.
func guardChain() chain { return noteChain("guard", setGuarded) }

// noteChain adds a connection to a set.
func noteChain(name, set string) chain {
	return chain{name: name, rules: []rule{
		// update @guarded4 { tcp sport . tcp dport . ip saddr . ip daddr }
		newRule(setEnds("update", unix.NFT_DYNSET_OP_UPDATE, set, FamilyIPv4)),
		newRule(setEnds("update", unix.NFT_DYNSET_OP_UPDATE, set, FamilyIPv6)),
	}}
}

// droppedChain drops invalid packets of guarded connections.
func droppedChain() chain {
	// tcp sport . tcp dport . ip saddr . ip daddr @guarded4 counter drop
	return chain{name: "dropped", rules: []rule{
		newRule(endsIn(setGuarded, FamilyIPv4), counter(), drop()),
		newRule(endsIn(setGuarded, FamilyIPv6), counter(), drop()),
	}}
}

// guardHooks drop them where they would reach this host or leave it. Not in
// output: a local process may well reset a connection that conntrack has lost.
func guardHooks() []chain {
	// ct state invalid meta l4proto tcp jump dropped
	invalid := newRule(ctState("invalid", expr.CtStateBitINVALID), l4proto(), jump("dropped"))
	return []chain{
		inputHook("guard_input", -149, "mangle + 1", invalid),
		forwardHook("guard_forward", -149, "mangle + 1", invalid),
	}
}
