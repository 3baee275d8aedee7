// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A branch is one verdict that a rule may give. Only a verdict map has more than
// one.
type branch struct {
	truth   truth
	verdict walkVerdict
}

// An effect is something other than a verdict that a rule does to a packet or its
// connection.
type effect struct {
	kind  effectKind
	name  string // of the helper, the flowtable
	value value  // the value that it sets
	low   uint16 // queue numbers, ports
	high  uint16
}

type effectKind uint8

const (
	effectNotrack effectKind = iota
	effectHelper
	effectFlow
	effectCtMark
	effectMark
	effectQueue
	effectPayload
	effectZone
	effectDNAT
)

// A judgement is what a rule does to a packet.
type judgement struct {
	match    truth
	depends  []string // why match, or a branch, is maybe
	branches []branch
	effects  []effect
}

// judge runs a rule on a packet.
func (r *Ruleset) judge(c *walkChain, rule *walkRule, p *Packet, at Hook) judgement {
	m := machine{set: r, chain: c, packet: p, hook: at, out: judgement{match: yes}}
	for _, e := range rule.exprs {
		m.step(e)
		if m.out.match == no {
			return judgement{match: no}
		}
		if m.done {
			break
		}
	}
	return m.out
}

// A machine is nft's virtual machine for one rule.
type machine struct {
	set    *Ruleset
	chain  *walkChain
	packet *Packet
	hook   Hook
	regs   registers
	out    judgement
	done   bool // a verdict ends the rule
}

// must adds a condition of the rule.
func (m *machine) must(t truth, on string) {
	if t == maybe {
		m.depends(on)
	}
	m.out.match = min(m.out.match, t)
}

// depends records an unknown property that the rule depends on.
func (m *machine) depends(on string) {
	if on != "" && !slices.Contains(m.out.depends, on) {
		m.out.depends = append(m.out.depends, on)
	}
}

// end ends the rule with a verdict.
func (m *machine) end(v walkVerdict) {
	if v.code == verdictContinue {
		return
	}
	m.out.branches = append(m.out.branches, branch{yes, v})
	m.done = true
}

func (m *machine) do(e effect) { m.out.effects = append(m.out.effects, e) }

// step runs one expression. An unknown one may match or not.
func (m *machine) step(e walkExpr) {
	a := collect(e.data)
	switch e.name {
	case "counter", "log", "last", "dup":
	case "limit", "quota", "connlimit":
		m.must(maybe, amounts[e.name])
	case "exthdr":
		m.option(a)
	case "rt", "numgen", "hash":
		m.regs.set(be32(a[dregs[e.name]]), unknown(e.name, 16))
	case "nat", "masq", "redir":
		m.translate(e.name, a)
	case "meta":
		m.meta(a)
	case "ct":
		m.ct(a)
	case "payload":
		m.payload(a)
	case "fib":
		m.regs.set(be32(a[unix.NFTA_FIB_DREG]), m.packet.fib(be32(a[unix.NFTA_FIB_RESULT]), be32(a[unix.NFTA_FIB_FLAGS]), m.hook))
	case "cmp", "range", "lookup":
		m.compare(e.name, a)
	case "bitwise", "byteorder", "immediate":
		m.compute(e.name, a)
	case "reject":
		m.end(walkVerdict{code: verdictDrop})
	case "queue":
		low := be16(a[unix.NFTA_QUEUE_NUM])
		m.do(effect{kind: effectQueue, low: low, high: low + max(be16(a[unix.NFTA_QUEUE_TOTAL]), 1) - 1})
		m.end(walkVerdict{code: verdictQueue})
	case "notrack":
		m.do(effect{kind: effectNotrack})
	case "flow_offload":
		m.do(effect{kind: effectFlow, name: attrString(a[1])}) // NFTA_FLOW_TABLE_NAME
	case "objref":
		m.object(a)
	case "dynset":
		m.dynset(a)
	case "match":
		m.xtMatch(attrString(a[unix.NFTA_MATCH_NAME]), be32(a[unix.NFTA_MATCH_REV]), a[unix.NFTA_MATCH_INFO])
	case "target":
		m.xtTarget(attrString(a[unix.NFTA_TARGET_NAME]), a[unix.NFTA_TARGET_INFO])
	default:
		m.unknown(e.name)
	}
}

// unknown handles an expression that we cannot run: it may match, and may load
// anything.
func (m *machine) unknown(name string) {
	words := map[string]string{
		"osf": "osf", "socket": "socket", "xfrm": "ipsec", "inner": "an inner header",
	}
	if w := words[name]; w != "" {
		name = w
	}
	m.regs.forget(name)
	m.must(maybe, name)
}

// amounts are rules that count, in nft syntax.
var amounts = map[string]string{"limit": "limit rate", "quota": "quota", "connlimit": "ct count"}

// xtAmounts are the matches of xtables that count.
var xtAmounts = []string{"limit", "hashlimit", "connlimit", "quota"}

// amountIn names a set each of whose elements has a limit.
const amountIn = "amounts in set "

// amount reports whether a rule depends on an amount.
func amount(on string) bool {
	match, xt := strings.CutPrefix(on, "match ")
	return xt && slices.Contains(xtAmounts, match) || strings.HasPrefix(on, amountIn) ||
		slices.Contains([]string{amounts["limit"], amounts["quota"], amounts["connlimit"]}, on)
}

// dregs are the destination register attributes of expressions that load an
// unknown value.
var dregs = map[string]uint16{"rt": 1, "numgen": 1, "hash": 2}

// translate handles a translation, which ends the rule like accept.
func (m *machine) translate(name string, a map[uint16][]byte) {
	const portOfNAT, portOfRedirect = unix.NFTA_NAT_REG_PROTO_MIN, unix.NFTA_REDIR_REG_PROTO_MIN
	switch {
	case name == "redir":
		m.dnat(m.newPorts(a, portOfRedirect))
	case name == "nat" && be32(a[unix.NFTA_NAT_TYPE]) == unix.NFT_NAT_DNAT:
		m.dnat(m.newPorts(a, portOfNAT))
	}
	m.end(walkVerdict{code: verdictAccept})
}

func (m *machine) dnat(low, high uint16) { m.do(effect{kind: effectDNAT, low: low, high: high}) }

// newPorts are the bounds of a translation's ports: 0 and 0 if the port stays.
func (m *machine) newPorts(a map[uint16][]byte, attr uint16) (low, high uint16) {
	reg, ok := a[attr]
	if !ok {
		return 0, 0
	}
	least := m.regs.get(be32(reg), 2)
	most := least
	if reg, ok := a[attr+1]; ok {
		most = m.regs.get(be32(reg), 2)
	}
	if !least.whole() || !most.whole() || len(least.bits) < 2 || len(most.bits) < 2 {
		return 1, 65535
	}
	return number(least.bits[:2]), number(most.bits[:2])
}

func (m *machine) meta(a map[uint16][]byte) {
	key := be32(a[unix.NFTA_META_KEY])
	if sreg, ok := a[unix.NFTA_META_SREG]; ok {
		if key == unix.NFT_META_MARK {
			m.do(effect{kind: effectMark, value: m.regs.get(be32(sreg), 4)})
		}
		return
	}
	m.regs.set(be32(a[unix.NFTA_META_DREG]), m.packet.meta(key, m.hook))
}

func (m *machine) ct(a map[uint16][]byte) {
	key := be32(a[unix.NFTA_CT_KEY])
	if sreg, ok := a[unix.NFTA_CT_SREG]; ok {
		if key == unix.NFT_CT_ZONE {
			m.do(effect{kind: effectZone})
		}
		if key == unix.NFT_CT_MARK {
			m.do(effect{kind: effectCtMark, value: m.regs.get(be32(sreg), 4)})
		}
		return
	}
	dir := uint8(0)
	if d := a[unix.NFTA_CT_DIRECTION]; len(d) == 1 {
		dir = d[0]
	}
	if m.packet.raw && key != unix.NFT_CT_STATE {
		m.must(no, "") // there is no connection yet
		return
	}
	m.regs.set(be32(a[unix.NFTA_CT_DREG]), m.packet.ct(key, dir))
}

func (m *machine) payload(a map[uint16][]byte) {
	if _, ok := a[unix.NFTA_PAYLOAD_SREG]; ok {
		m.do(effect{kind: effectPayload})
		return
	}
	n := be32(a[unix.NFTA_PAYLOAD_LEN])
	v, ok := m.packet.payload(be32(a[unix.NFTA_PAYLOAD_BASE]), be32(a[unix.NFTA_PAYLOAD_OFFSET]), min(n, 64))
	m.must(certain(ok), v.name)
	m.regs.set(be32(a[unix.NFTA_PAYLOAD_DREG]), v)
}

// object is a reference to a stateful object: only helpers and limits matter.
func (m *machine) object(a map[uint16][]byte) {
	const quota, limit, connlimit = 2, 4, 5 // NFT_OBJECT_*
	switch be32(a[unix.NFTA_OBJREF_IMM_TYPE]) {
	case unix.NFT_OBJECT_CT_HELPER:
		ref := setRef{m.chain.ref.Family, m.chain.ref.Table, attrString(a[unix.NFTA_OBJREF_IMM_NAME])}
		m.do(effect{kind: effectHelper, name: m.set.helpers[ref]})
	case quota:
		m.must(maybe, amounts["quota"])
	case limit:
		m.must(maybe, amounts["limit"])
	case connlimit:
		m.must(maybe, amounts["connlimit"])
	}
}

// dynset is a statement: add @set { ... }. With a limit in it, it may match or
// not.
func (m *machine) dynset(a map[uint16][]byte) {
	const nftaDynsetExpressions = 10
	_, one := a[unix.NFTA_DYNSET_EXPR]
	_, many := a[nftaDynsetExpressions]
	if one || many {
		m.must(maybe, amountIn+attrString(a[unix.NFTA_DYNSET_SET_NAME]))
	}
}
