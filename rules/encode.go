// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Attributes of <linux/netfilter/nf_tables.h> that x/sys/unix lacks.
const (
	nftaTableUserdata = 6

	nftaObjTable = 1
	nftaObjName  = 2
	nftaObjType  = 3
	nftaObjData  = 4

	nftaCtExpectL3Proto = 1
	nftaCtExpectL4Proto = 2
	nftaCtExpectDport   = 3
	nftaCtExpectTimeout = 4
	nftaCtExpectSize    = 5
)

// addTable is: add table inet name { comment "..."; }
func (b *batch) addTable(f Family, name, comment string, flags uint16) {
	b.open(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|flags, f, "add table", f.String()+" "+name)
	b.buf = appendString(b.buf, unix.NFTA_TABLE_NAME, name)
	b.buf = appendUint32(b.buf, unix.NFTA_TABLE_FLAGS, 0)
	if comment != "" {
		b.buf = appendAttr(b.buf, nftaTableUserdata, appendUdataString(nil, udataTableComment, comment))
	}
	b.done()
}

// deleteTable is: delete table inet name
func (b *batch) deleteTable(f Family, name string) {
	b.open(unix.NFT_MSG_DELTABLE, 0, f, "delete table", f.String()+" "+name)
	b.buf = appendString(b.buf, unix.NFTA_TABLE_NAME, name)
	b.done()
}

// addAll adds a described table with all it holds, but for what is there.
func (b *batch) addAll(t table) error {
	if !t.there {
		b.addTable(FamilyINet, t.name, TableComment, unix.NLM_F_EXCL)
	}
	for _, s := range t.sets {
		b.addSet(s)
	}
	for _, o := range t.objects {
		if !o.there {
			b.addObject(t.name, o)
		}
	}
	for _, c := range t.chains {
		if !c.there {
			b.addChain(FamilyINet, t.name, c)
		}
	}
	for _, c := range t.chains {
		for _, r := range c.rules {
			if err := b.addRule(ChainRef{FamilyINet, t.name, c.name}, r, unix.NLM_F_APPEND); err != nil {
				return err
			}
		}
	}
	return nil
}

// addSet is: add set inet table name { ... }
func (b *batch) addSet(s set) {
	b.open(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE|unix.NLM_F_EXCL, s.family, "add set", s.words())
	b.buf = appendSet(b.buf, s, b.seq)
	b.done()
	b.addPorts(&s)
	if s.servers != nil {
		b.addServers(&s)
	}
}

// deleteSet is: delete set inet table name
func (b *batch) deleteSet(f Family, table, name string) {
	b.open(unix.NFT_MSG_DELSET, 0, f, "delete set", fmt.Sprintf("%s %s %s", f, table, name))
	b.buf = appendString(b.buf, unix.NFTA_SET_TABLE, table)
	b.buf = appendString(b.buf, unix.NFTA_SET_NAME, name)
	b.done()
}

// addObject is: add ct helper inet table name { type "sane" protocol tcp; l3proto ip; }
func (b *batch) addObject(table string, o object) {
	words := fmt.Sprintf("ct %s inet %s %s", o.kind(), table, o.name)
	b.open(unix.NFT_MSG_NEWOBJ, unix.NLM_F_CREATE, FamilyINet, "add", words)
	b.buf = appendString(b.buf, nftaObjTable, table)
	b.buf = appendString(b.buf, nftaObjName, o.name)
	b.buf = appendUint32(b.buf, nftaObjType, o.number())
	var data int
	b.buf, data = openNest(b.buf, nftaObjData)
	b.buf = appendObjectData(b.buf, o)
	b.buf = closeAttr(b.buf, data)
	b.done()
}

// number is the kernel's type of o.
func (o object) number() uint32 {
	if o.carrier == CarrierBare {
		return unix.NFT_OBJECT_CT_EXPECT
	}
	return unix.NFT_OBJECT_CT_HELPER
}

// kind is nft's word for the type of o.
func (o object) kind() string {
	if o.carrier == CarrierBare {
		return "expectation"
	}
	return "helper"
}

// properties are the lines of o within braces.
func (o object) properties() []string {
	if o.carrier == CarrierBare {
		return []string{"protocol tcp", "dport 1", "timeout 1s", "size 0", "l3proto " + o.ip.String()}
	}
	return []string{`type "sane" protocol tcp`, "l3proto " + o.ip.String()}
}

func appendObjectData(b []byte, o object) []byte {
	if o.carrier != CarrierBare {
		b = appendString(b, unix.NFTA_CT_HELPER_NAME, "sane")
		b = appendUint16(b, unix.NFTA_CT_HELPER_L3PROTO, uint16(o.ip))
		return appendUint8(b, unix.NFTA_CT_HELPER_L4PROTO, unix.IPPROTO_TCP)
	}
	// Size 0: the object adds the help extension and then makes no
	// expectation, so its port and timeout never count.
	b = appendUint16(b, nftaCtExpectL3Proto, uint16(o.ip))
	b = appendUint8(b, nftaCtExpectL4Proto, unix.IPPROTO_TCP)
	b = appendUint16(b, nftaCtExpectDport, 1)
	// Milliseconds in host order (nft_ct_expect_obj_init).
	b = appendAttr(b, nftaCtExpectTimeout, binary.NativeEndian.AppendUint32(nil, 1000))
	return appendUint8(b, nftaCtExpectSize, 0)
}

// addChain is: add chain inet table name { type filter hook prerouting priority -150; }
func (b *batch) addChain(f Family, table string, c chain) {
	b.open(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, f, "add chain", ChainRef{f, table, c.name}.words())
	b.buf = appendString(b.buf, unix.NFTA_CHAIN_TABLE, table)
	b.buf = appendString(b.buf, unix.NFTA_CHAIN_NAME, c.name)
	if c.hook != "" {
		var hook int
		b.buf, hook = openNest(b.buf, unix.NFTA_CHAIN_HOOK)
		b.buf = appendUint32(b.buf, unix.NFTA_HOOK_HOOKNUM, c.hooknum)
		b.buf = appendUint32(b.buf, unix.NFTA_HOOK_PRIORITY, uint32(c.priority))
		b.buf = closeAttr(b.buf, hook)
		b.buf = appendUint32(b.buf, unix.NFTA_CHAIN_POLICY, 1) // NF_ACCEPT
		b.buf = appendString(b.buf, unix.NFTA_CHAIN_TYPE, c.kind())
	}
	b.done()
}

// kind is the type of a base chain.
func (c chain) kind() string {
	if c.nat {
		return "nat"
	}
	return "filter"
}

// addRule is: add rule inet table chain ..., or without NLM_F_APPEND in flags:
// insert rule inet table chain ..., which puts it at the head.
func (b *batch) addRule(at ChainRef, r rule, flags uint16) error {
	b.open(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|flags, at.Family, "add rule to chain", at.words())
	b.buf = appendString(b.buf, unix.NFTA_RULE_TABLE, at.Table)
	b.buf = appendString(b.buf, unix.NFTA_RULE_CHAIN, at.Chain)
	var list int
	b.buf, list = openNest(b.buf, unix.NFTA_RULE_EXPRESSIONS)
	for _, e := range r.exprs(at.Family) {
		data, err := marshal(at.Family, e)
		if err != nil {
			return &OpError{Op: "encode rule for chain", Object: at.words(), Err: err}
		}
		b.buf = appendAttr(b.buf, unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
	}
	b.buf = closeAttr(b.buf, list)
	if r.comment != "" {
		b.buf = appendAttr(b.buf, unix.NFTA_RULE_USERDATA, appendUdataString(nil, udataRuleComment, r.comment))
	}
	b.done()
	return nil
}

// marshal is expr.Marshal, but for the direction of a ct expression: the library sends
// four bytes where the kernel has one (nft_ct_policy in net/netfilter/nft_ct.c), which
// reads the first of them and complains in its log.
func marshal(f Family, e expr.Any) ([]byte, error) {
	ct, ok := e.(*expr.Ct)
	if !ok || ct.Key != expr.CtKeyPROTODST {
		return expr.Marshal(uint8(f), e)
	}
	b := appendString(nil, unix.NFTA_EXPR_NAME, "ct")
	b, data := openNest(b, unix.NFTA_EXPR_DATA)
	b = appendUint32(b, unix.NFTA_CT_KEY, uint32(ct.Key))
	b = appendUint32(b, unix.NFTA_CT_DREG, ct.Register)
	b = appendUint8(b, unix.NFTA_CT_DIRECTION, uint8(ct.Direction))
	return closeAttr(b, data), nil
}

// deleteRule is: delete rule inet table chain handle N
func (b *batch) deleteRule(at ChainRef, handle uint64) {
	b.open(unix.NFT_MSG_DELRULE, 0, at.Family, "delete rule from chain", at.words())
	b.buf = appendString(b.buf, unix.NFTA_RULE_TABLE, at.Table)
	b.buf = appendString(b.buf, unix.NFTA_RULE_CHAIN, at.Chain)
	b.buf = appendUint64(b.buf, unix.NFTA_RULE_HANDLE, handle)
	b.done()
}
