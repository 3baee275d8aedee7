// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// claimChains queue the first packet of an announced data connection, before
// conntrack (-200) makes an entry for it and after defragmentation (-400).
func claimChains(c Config) []chain {
	// Without a daemon nothing is claimed, and the policy for the packet applies:
	// so always bypass.
	to := queue(c.Queue, c.QueueNum, true)
	// ip saddr . ip daddr . tcp dport @pinholes4 counter queue flags bypass to 2121
	ch := chain{name: "claim", rules: append(seenBefore(),
		newRule(pinhole(FamilyIPv4, setName(setPinholes, FamilyIPv4)), counter(), to),
		newRule(pinhole(FamilyIPv6, setName(setPinholes, FamilyIPv6)), counter(), to))}
	ch.rules = append(ch.rules, peerClaims(c, to)...)
	// tcp flags & (fin | syn | rst | ack) == syn jump claim
	first := newRule(firstSYN(), jump("claim"))
	return []chain{ch,
		preroutingHook("claim_prerouting", -350, "-350", first),
		outputHook("claim_output", -350, "-350", first),
	}
}

// peerOf is: ip saddr . ip daddr @peers4
func peerOf(ip Family) clause {
	word, need, src, size, name := "ip", needIPv4, uint32(12), uint32(4), setName(setPeers, ip)
	if ip == FamilyIPv6 {
		word, need, src, size = "ip6", needIPv6, 8, 16
	}
	const first = unix.NFT_REG32_00
	return clause{text: fmt.Sprintf("%s saddr . %[1]s daddr @%s", word, name), needs: need, exprs: []expr.Any{
		&expr.Payload{DestRegister: first, Base: expr.PayloadBaseNetworkHeader, Offset: src, Len: size},
		&expr.Payload{DestRegister: first + size/4, Base: expr.PayloadBaseNetworkHeader, Offset: src + size, Len: size},
		&expr.Lookup{SourceRegister: first, SetName: name}}}
}

// dportRange is: tcp dport 50000-50100
func dportRange(r PortRange) clause {
	at := func(op expr.CmpOp, port uint16) expr.Any {
		return &expr.Cmp{Op: op, Register: reg, Data: []byte{byte(port >> 8), byte(port)}}
	}
	load := &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	if r.Low == r.High {
		return ofTCP("tcp dport "+r.String(), load, at(expr.CmpOpEq, r.Low))
	}
	return ofTCP("tcp dport "+r.String(), load,
		&expr.Range{Op: expr.CmpOpEq, Register: reg, FromData: []byte{byte(r.Low >> 8), byte(r.Low)}, ToData: []byte{byte(r.High >> 8), byte(r.High)}})
}

// peerClaims queue what a peer opens in the range.
func peerClaims(c Config, to clause) []rule {
	if c.PeerPorts == (PortRange{}) {
		return nil
	}
	var list []rule
	for _, ip := range ipFamilies {
		// tcp dport 50000-50100 ip saddr . ip daddr @peers4 counter queue flags bypass to 2121
		list = append(list, newRule(dportRange(c.PeerPorts), peerOf(ip), counter(), to))
	}
	return list
}
