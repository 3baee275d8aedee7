// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An assembler makes a Ruleset from text, without a kernel: it parses the
// messages that the kernel would send. This allows tests of rules that nft does
// not write, and tests without privileges. Lines are
//
//	table inet filter
//	chain inet filter forward filter hook forward 0 drop
//	  ct state => 1; bitwise 1 & 06000000; cmp neq 1 00000000; accept # comment
//	set inet filter ports 2 interval
//	  0016; 0050-005a
//
// A set has the length of its keys and, if it is a map, ": " and the length of
// its values, or ": verdict". Values are bytes in the order of memory, "_" for
// nothing. Rules are expressions much as "nft --debug=netlink" shows them; the
// first rule of a chain has the handle 1.
type assembler struct {
	t       *testing.T
	r       *Ruleset
	chain   ChainRef
	set     setRef
	handles map[ChainRef]uint64
}

var families = map[string]Family{"inet": FamilyINet, "ip": FamilyIPv4, "ip6": FamilyIPv6, "netdev": familyNetdev, "bridge": unix.NFPROTO_BRIDGE}

var hooks = map[string]Hook{"prerouting": HookPrerouting, "input": HookInput, "forward": HookForward, "output": HookOutput,
	"postrouting": HookPostrouting, "ingress": HookIngress}

func assembled(t *testing.T, text string) *Ruleset {
	t.Helper()
	a := assembler{t: t, r: newRuleset(), handles: map[ChainRef]uint64{}}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case line[0] != ' ' && line[0] != '\t':
			a.define(words)
		case a.set != (setRef{}):
			a.elements(strings.TrimSpace(line))
		default:
			a.rule(strings.TrimSpace(line))
		}
	}
	for _, s := range a.r.sets {
		s.finish()
	}
	return a.r
}

func (a *assembler) define(words []string) {
	f := families[words[1]]
	a.set = setRef{}
	switch kind, rest := words[0], words[2:]; kind {
	case "table":
		b := appendString(nil, unix.NFTA_TABLE_NAME, rest[0])
		if len(rest) > 1 { // a comment
			text := strings.Join(rest[1:], " ")
			const userdata = 6 // NFTA_TABLE_USERDATA
			b = appendAttr(b, userdata, append([]byte{0, uint8(len(text) + 1)}, text+"\x00"...))
		}
		a.r.addTable(f, b)
	case "chain":
		a.chain = ChainRef{Family: f, Table: rest[0], Chain: rest[1]}
		b := appendString(appendString(nil, unix.NFTA_CHAIN_TABLE, rest[0]), unix.NFTA_CHAIN_NAME, rest[1])
		if len(rest) > 2 {
			priority, _ := strconv.Atoi(rest[5])
			number := hooks[rest[4]]
			if f == familyNetdev {
				number = 0 // NF_NETDEV_INGRESS
			}
			hook := appendUint32(nil, unix.NFTA_HOOK_HOOKNUM, uint32(number))
			hook = appendUint32(hook, unix.NFTA_HOOK_PRIORITY, uint32(int32(priority)))
			switch devices := rest[7:]; len(devices) {
			case 0:
			case 1:
				hook = appendString(hook, 3, devices[0]) // NFTA_HOOK_DEV
			default:
				var list []byte
				for _, d := range devices {
					list = appendString(list, 1, d)
				}
				hook = appendAttr(hook, 4, list) // NFTA_HOOK_DEVS
			}
			b = appendString(appendAttr(b, unix.NFTA_CHAIN_HOOK, hook), unix.NFTA_CHAIN_TYPE, rest[2])
			b = appendUint32(b, unix.NFTA_CHAIN_POLICY, map[string]uint32{"accept": 1, "drop": 0}[rest[6]])
		}
		a.r.addChain(f, b)
	case "set":
		a.set = setRef{f, rest[0], rest[1]}
		b := appendString(appendString(nil, unix.NFTA_SET_TABLE, rest[0]), unix.NFTA_SET_NAME, rest[1])
		b = appendUint32(b, unix.NFTA_SET_KEY_LEN, a.number(rest[2]))
		flags := uint32(0)
		if slices.Contains(rest, "interval") {
			flags |= unix.NFT_SET_INTERVAL
		}
		if i := slices.Index(rest, ":"); i > 0 {
			flags |= unix.NFT_SET_MAP
			if rest[i+1] != "verdict" {
				b = appendUint32(b, unix.NFTA_SET_DATA_LEN, a.number(rest[i+1]))
			}
		}
		a.r.addSet(f, appendUint32(b, unix.NFTA_SET_FLAGS, flags))
	case "helper":
		b := appendString(appendString(nil, nftaObjTable, rest[0]), nftaObjName, rest[1])
		b = appendUint32(b, nftaObjType, unix.NFT_OBJECT_CT_HELPER)
		a.r.addObject(f, appendAttr(b, nftaObjData, appendString(nil, unix.NFTA_CT_HELPER_NAME, rest[2])))
	default:
		a.t.Fatalf("line %q", words)
	}
}

// elements adds the elements of a line to the set.
func (a *assembler) elements(line string) {
	s := a.r.sets[a.set]
	var list []byte
	add := func(flags uint32, key, value string) {
		var e []byte
		if flags != 0 {
			e = appendUint32(e, unix.NFTA_SET_ELEM_FLAGS, flags)
		}
		if flags&nftSetElemCatch == 0 {
			e = appendAttr(e, unix.NFTA_SET_ELEM_KEY, a.value(key))
		}
		if b, err := hex.DecodeString(value); err == nil && value != "" {
			e = appendAttr(e, unix.NFTA_SET_ELEM_DATA, appendAttr(nil, unix.NFTA_DATA_VALUE, b))
		} else if value != "" {
			e = appendAttr(e, unix.NFTA_SET_ELEM_DATA, appendAttr(nil, unix.NFTA_DATA_VERDICT, a.verdict(strings.Fields(value))))
		}
		list = appendAttr(list, unix.NFTA_LIST_ELEM, e)
	}
	for part := range strings.SplitSeq(line, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), " : ")
		low, high, ranged := strings.Cut(key, "-")
		switch {
		case key == "*":
			add(nftSetElemCatch, "", value)
		case ranged:
			add(0, low, value)
			b, _ := hex.DecodeString(high)
			for i := len(b) - 1; i >= 0; i-- { // the mark follows the last
				if b[i]++; b[i] != 0 {
					add(unix.NFT_SET_ELEM_INTERVAL_END, hex.EncodeToString(b), "")
					break
				}
			}
		case s.flags&unix.NFT_SET_INTERVAL != 0:
			a.elements(key + "-" + key + strings.TrimPrefix(part, key))
		default:
			add(0, key, value)
		}
	}
	if list != nil {
		s.addElements(a.set.family, appendAttr(nil, unix.NFTA_SET_ELEM_LIST_ELEMENTS, list))
	}
}

func (a *assembler) rule(line string) {
	line, comment, _ := strings.Cut(line, " # ")
	a.handles[a.chain]++
	b := appendString(appendString(nil, unix.NFTA_RULE_TABLE, a.chain.Table), unix.NFTA_RULE_CHAIN, a.chain.Chain)
	b = appendAttr(b, unix.NFTA_RULE_HANDLE, binary.BigEndian.AppendUint64(nil, a.handles[a.chain]))
	if comment != "" {
		b = appendAttr(b, unix.NFTA_RULE_USERDATA, append([]byte{udataRuleComment, uint8(len(comment) + 1)}, comment+"\x00"...))
	}
	var list []byte
	for e := range strings.SplitSeq(line, ";") {
		name, data := a.expression(strings.Fields(e))
		list = appendAttr(list, unix.NFTA_LIST_ELEM, appendAttr(appendString(nil, unix.NFTA_EXPR_NAME, name), unix.NFTA_EXPR_DATA, data))
	}
	a.r.addRule(a.chain.Family, appendAttr(b, unix.NFTA_RULE_EXPRESSIONS, list))
}

var (
	metaKeys = map[string]uint32{"mark": unix.NFT_META_MARK, "l4proto": unix.NFT_META_L4PROTO, "nfproto": unix.NFT_META_NFPROTO,
		"protocol": unix.NFT_META_PROTOCOL, "iifname": unix.NFT_META_IIFNAME, "oifname": unix.NFT_META_OIFNAME, "iif": unix.NFT_META_IIF,
		"oif": unix.NFT_META_OIF, "iiftype": unix.NFT_META_IIFTYPE, "pkttype": unix.NFT_META_PKTTYPE, "skuid": unix.NFT_META_SKUID, "cpu": unix.NFT_META_CPU}
	ctKeys = map[string]uint32{"state": unix.NFT_CT_STATE, "direction": unix.NFT_CT_DIRECTION, "status": unix.NFT_CT_STATUS, "mark": unix.NFT_CT_MARK,
		"l3proto": unix.NFT_CT_L3PROTOCOL, "protocol": unix.NFT_CT_PROTOCOL, "proto-src": unix.NFT_CT_PROTO_SRC, "proto-dst": unix.NFT_CT_PROTO_DST,
		"helper": unix.NFT_CT_HELPER, "zone": unix.NFT_CT_ZONE, "bytes": unix.NFT_CT_BYTES, "saddr": unix.NFT_CT_SRC}
	bases = map[string]uint32{"link": 0, "network": 1, "transport": 2, "inner": payloadBaseInner}
	ops   = map[string]uint32{"eq": unix.NFT_CMP_EQ, "neq": unix.NFT_CMP_NEQ, "lt": unix.NFT_CMP_LT, "lte": unix.NFT_CMP_LTE, "gt": unix.NFT_CMP_GT, "gte": unix.NFT_CMP_GTE}
)

// expression assembles one expression.
func (a *assembler) expression(w []string) (name string, b []byte) {
	u32 := func(attr uint16, v uint32) { b = appendUint32(b, attr, v) }
	reg := func(attr uint16, word string) { u32(attr, a.number(word)) }
	val := func(attr uint16, word string) { b = appendAttr(b, attr, a.value(word)) }
	last := w[len(w)-1]
	switch w[0] {
	case "meta":
		u32(unix.NFTA_META_KEY, metaKeys[w[1]])
		reg(map[string]uint16{"=>": unix.NFTA_META_DREG, "<=": unix.NFTA_META_SREG}[w[2]], w[3])
	case "ct":
		u32(unix.NFTA_CT_KEY, ctKeys[w[1]])
		if w[2] == "reply" {
			b = appendAttr(b, unix.NFTA_CT_DIRECTION, []byte{1})
		}
		reg(map[string]uint16{"=>": unix.NFTA_CT_DREG, "<=": unix.NFTA_CT_SREG}[w[len(w)-2]], last)
	case "payload":
		if w[1] == "write" {
			reg(unix.NFTA_PAYLOAD_SREG, w[2])
			break
		}
		u32(unix.NFTA_PAYLOAD_BASE, bases[w[1]])
		reg(unix.NFTA_PAYLOAD_OFFSET, w[2])
		reg(unix.NFTA_PAYLOAD_LEN, w[3])
		reg(unix.NFTA_PAYLOAD_DREG, last)
	case "cmp":
		reg(unix.NFTA_CMP_SREG, w[2])
		u32(unix.NFTA_CMP_OP, ops[w[1]])
		val(unix.NFTA_CMP_DATA, w[3])
	case "range":
		reg(unix.NFTA_RANGE_SREG, w[2])
		u32(unix.NFTA_RANGE_OP, map[string]uint32{"eq": unix.NFT_RANGE_EQ, "neq": unix.NFT_RANGE_NEQ}[w[1]])
		val(unix.NFTA_RANGE_FROM_DATA, w[3])
		val(unix.NFTA_RANGE_TO_DATA, w[4])
	case "bitwise": // 1 & 06000000 ^ 00000000
		reg(unix.NFTA_BITWISE_SREG, w[1])
		reg(unix.NFTA_BITWISE_DREG, w[1])
		mask, _ := hex.DecodeString(w[3])
		xor := strings.Repeat("00", len(mask))
		if len(w) > 4 {
			xor = w[5]
		}
		u32(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
		val(unix.NFTA_BITWISE_MASK, w[3])
		val(unix.NFTA_BITWISE_XOR, xor)
	case "byteorder": // 1 size 2 len 4
		reg(unix.NFTA_BYTEORDER_SREG, w[1])
		reg(unix.NFTA_BYTEORDER_DREG, w[1])
		reg(unix.NFTA_BYTEORDER_SIZE, w[3])
		reg(unix.NFTA_BYTEORDER_LEN, w[5])
	case "immediate":
		reg(unix.NFTA_IMMEDIATE_DREG, last)
		val(unix.NFTA_IMMEDIATE_DATA, w[1])
	case "lookup":
		reg(unix.NFTA_LOOKUP_SREG, w[1])
		b = appendString(b, unix.NFTA_LOOKUP_SET, w[2])
		if last == "inverted" {
			u32(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV)
		} else if len(w) > 3 {
			reg(unix.NFTA_LOOKUP_DREG, last)
		}
	case "accept", "drop", "return", "jump", "goto", "continue":
		u32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		b = appendAttr(b, unix.NFTA_IMMEDIATE_DATA, appendAttr(nil, unix.NFTA_DATA_VERDICT, a.verdict(w)))
		return "immediate", b
	case "queue":
		low, high, ranged := strings.Cut(w[1], "-")
		b = appendUint16(b, unix.NFTA_QUEUE_NUM, uint16(a.number(low)))
		if ranged {
			b = appendUint16(b, unix.NFTA_QUEUE_TOTAL, uint16(a.number(high)-a.number(low)+1))
		}
	case "nat": // dnat 1 2: registers of the ports
		u32(unix.NFTA_NAT_TYPE, map[string]uint32{"dnat": unix.NFT_NAT_DNAT, "snat": unix.NFT_NAT_SNAT}[w[1]])
		for i, word := range w[2:] {
			reg(unix.NFTA_NAT_REG_PROTO_MIN+uint16(i), word)
		}
	case "redir":
		for i, word := range w[1:] {
			reg(unix.NFTA_REDIR_REG_PROTO_MIN+uint16(i), word)
		}
	case "objref":
		u32(unix.NFTA_OBJREF_IMM_TYPE, map[string]uint32{"helper": unix.NFT_OBJECT_CT_HELPER, "counter": 1, "quota": 2, "limit": 4, "connlimit": 5}[w[1]])
		b = appendString(b, unix.NFTA_OBJREF_IMM_NAME, w[2])
	case "dynset":
		b = appendString(b, unix.NFTA_DYNSET_SET_NAME, w[1])
		if len(w) > 2 {
			b = appendAttr(b, unix.NFTA_DYNSET_EXPR, nil)
		}
	case "flow_offload":
		b = appendString(b, 1, w[1])
	case "fib": // type daddr => 1
		u32(unix.NFTA_FIB_RESULT, map[string]uint32{"oif": unix.NFT_FIB_RESULT_OIF, "oifname": unix.NFT_FIB_RESULT_OIFNAME, "type": unix.NFT_FIB_RESULT_ADDRTYPE}[w[1]])
		u32(unix.NFTA_FIB_FLAGS, map[string]uint32{"saddr": unix.NFTA_FIB_F_SADDR, "daddr": unix.NFTA_FIB_F_DADDR,
			"present": unix.NFTA_FIB_F_SADDR | unix.NFTA_FIB_F_PRESENT}[w[2]])
		reg(unix.NFTA_FIB_DREG, last)
	case "rt", "numgen", "hash":
		reg(dregs[w[0]], last)
	}
	return w[0], b
}

func (a *assembler) verdict(w []string) []byte {
	codes := map[string]int32{"accept": verdictAccept, "drop": verdictDrop, "return": verdictReturn, "jump": verdictJump, "goto": verdictGoto, "continue": verdictContinue}
	code, ok := codes[w[0]]
	if !ok {
		a.t.Fatalf("verdict %q", w)
	}
	b := appendUint32(nil, unix.NFTA_VERDICT_CODE, uint32(code))
	if len(w) > 1 {
		b = appendString(b, unix.NFTA_VERDICT_CHAIN, w[1])
	}
	return b
}

// value is struct nft_data with bytes in hexadecimal.
func (a *assembler) value(word string) []byte {
	a.t.Helper()
	b, err := hex.DecodeString(strings.Trim(word, "_"))
	if err != nil {
		a.t.Fatalf("value %q: %v", word, err)
	}
	return appendAttr(nil, unix.NFTA_DATA_VALUE, b)
}

func (a *assembler) number(word string) uint32 {
	a.t.Helper()
	n, err := strconv.ParseUint(word, 10, 32)
	if err != nil {
		a.t.Fatalf("number %q: %v", word, err)
	}
	return uint32(n)
}

func appendUint32(b []byte, typ uint16, v uint32) []byte {
	return appendAttr(b, typ, binary.BigEndian.AppendUint32(nil, v))
}
