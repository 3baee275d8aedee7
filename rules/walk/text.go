// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Words describes a rule in approximate nft syntax without nft: for machines that
// lack the program, and rules that it cannot print. It is empty for a rule that
// does not exist.
func (r *Ruleset) Words(at RuleRef) string {
	c := r.chains[at.Chain]
	if c == nil {
		return ""
	}
	i := slices.IndexFunc(c.rules, func(w walkRule) bool { return w.handle == at.Handle })
	if i < 0 {
		return ""
	}
	p := printer{loaded: map[uint32]string{}, constants: map[uint32][]byte{}}
	for _, e := range c.rules[i].exprs {
		p.expr(e)
	}
	if comment := c.rules[i].comment; comment != "" {
		p.say("comment %q", comment)
	}
	return strings.Join(p.words, " ")
}

// A printer converts expressions to text.
type printer struct {
	loaded    map[uint32]string // what each register holds
	constants map[uint32][]byte // of registers that hold nothing of the packet
	words     []string
}

func (p *printer) say(format string, args ...any) {
	p.words = append(p.words, fmt.Sprintf(format, args...))
}

func (p *printer) expr(e walkExpr) {
	a := collect(e.data)
	any4 := &Packet{Family: FamilyIPv4}
	switch e.name {
	case "counter":
	case "meta":
		p.transfer(a[unix.NFTA_META_SREG], a[unix.NFTA_META_DREG], any4.meta(be32(a[unix.NFTA_META_KEY]), HookForward).name)
	case "ct":
		p.transfer(a[unix.NFTA_CT_SREG], a[unix.NFTA_CT_DREG], any4.ct(be32(a[unix.NFTA_CT_KEY]), 0).name)
	case "payload":
		v, _ := any4.payload(be32(a[unix.NFTA_PAYLOAD_BASE]), be32(a[unix.NFTA_PAYLOAD_OFFSET]), min(be32(a[unix.NFTA_PAYLOAD_LEN]), 64))
		p.transfer(a[unix.NFTA_PAYLOAD_SREG], a[unix.NFTA_PAYLOAD_DREG], v.name)
	case "fib":
		p.loaded[be32(a[unix.NFTA_FIB_DREG])] = "fib"
	case "bitwise":
		from := p.loaded[be32(a[unix.NFTA_BITWISE_SREG])]
		text := fmt.Sprintf("%s & %s", from, literal(from, data(a[unix.NFTA_BITWISE_MASK])))
		if xor := data(a[unix.NFTA_BITWISE_XOR]); len(bytes.Trim(xor, "\x00")) > 0 {
			text = fmt.Sprintf("(%s) ^ %s", text, literal(from, xor))
		}
		p.loaded[be32(a[unix.NFTA_BITWISE_DREG])] = text
	case "cmp":
		from := p.loaded[be32(a[unix.NFTA_CMP_SREG])]
		ops := [...]string{"==", "!=", "<", "<=", ">", ">="}
		p.say("%s %s %s", from, ops[min(be32(a[unix.NFTA_CMP_OP]), 5)], literal(from, data(a[unix.NFTA_CMP_DATA])))
	case "range":
		from := p.loaded[be32(a[unix.NFTA_RANGE_SREG])]
		p.say("%s %s-%s", from, literal(from, data(a[unix.NFTA_RANGE_FROM_DATA])), literal(from, data(a[unix.NFTA_RANGE_TO_DATA])))
	case "lookup":
		p.say("%s @%s", p.loaded[be32(a[unix.NFTA_LOOKUP_SREG])], attrString(a[unix.NFTA_LOOKUP_SET]))
	case "immediate":
		p.immediate(a)
	case "match", "target":
		p.say("xt %s %s", e.name, attrString(a[unix.NFTA_MATCH_NAME])) // the same number for both
	case "objref":
		p.say("object %q", attrString(a[unix.NFTA_OBJREF_IMM_NAME]))
	case "queue":
		p.say("queue to %d", be16(a[unix.NFTA_QUEUE_NUM]))
	case "flow_offload":
		p.say("flow add @%s", attrString(a[1]))
	default:
		p.say("%s", e.name)
	}
}

// transfer is a load into a register, or a store from one.
func (p *printer) transfer(sreg, dreg []byte, name string) {
	if sreg != nil {
		text := p.loaded[be32(sreg)]
		if b, ok := p.constants[be32(sreg)]; ok && text == "" {
			text = literal(name, b)
		}
		p.say("%s set %s", name, text)
		return
	}
	p.loaded[be32(dreg)] = name
}

func (p *printer) immediate(a map[uint16][]byte) {
	d := collect(a[unix.NFTA_IMMEDIATE_DATA])
	v, ok := d[unix.NFTA_DATA_VERDICT]
	if !ok {
		p.constants[be32(a[unix.NFTA_IMMEDIATE_DREG])] = d[unix.NFTA_DATA_VALUE]
		delete(p.loaded, be32(a[unix.NFTA_IMMEDIATE_DREG]))
		return
	}
	verdict := parseVerdict(v)
	names := map[int32]string{
		verdictDrop: "drop", verdictAccept: "accept", verdictJump: "jump", verdictGoto: "goto",
		verdictReturn: "return", verdictContinue: "continue",
	}
	p.say("%s", strings.TrimSpace(names[verdict.code]+" "+verdict.chain))
}

// hostOrder reports whether a value is a word in host order.
func hostOrder(name string) bool {
	return strings.Contains(name, "mark") || strings.HasPrefix(name, "ct stat") || strings.HasPrefix(name, "(ct")
}

// literal formats a constant as nft would for a value of that name.
func literal(name string, b []byte) string {
	switch {
	case strings.HasSuffix(name, "ifname"):
		return fmt.Sprintf("%q", attrString(b))
	case hostOrder(name) && len(b) == 4:
		return fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32(b))
	case strings.HasSuffix(name, "port"), strings.Contains(name, "proto"):
		return fmt.Sprint(number(b))
	case strings.HasSuffix(name, "addr"):
		if a, ok := netip.AddrFromSlice(b); ok {
			return a.String()
		}
	}
	return fmt.Sprintf("0x%x", b)
}
