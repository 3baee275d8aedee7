// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"iter"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// nftaTableUserdata is NFTA_TABLE_USERDATA, which x/sys/unix lacks.
const nftaTableUserdata = 6

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

// addAll adds a described table with everything in it, except what exists.
func (b *batch) addAll(t table) error {
	if !t.there {
		b.addTable(FamilyINet, t.name, TableComment, unix.NLM_F_EXCL)
	}
	for i := range t.sets {
		b.addSet(&t.sets[i])
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

// addEverything adds our table t and what goes into the administrator's.
func (b *batch) addEverything(c Config, t table) error {
	if err := b.addAll(t); err != nil {
		return err
	}
	sets := adminSets(c)
	for i := range sets {
		b.addSet(&sets[i])
	}
	for _, r := range adminRules(c) {
		if err := b.addRule(r.at, r.rule, 0); err != nil {
			return err
		}
	}
	return nil
}

// addSet is: add set inet table name { ... }
func (b *batch) addSet(s *set) {
	b.open(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE|unix.NLM_F_EXCL, s.family, "add set", s.fullName)
	b.buf = appendSet(b.buf, s, b.seq)
	b.done()
	b.addElements(s, s.fixedElements())
}

// maxElements keeps a message of elements well under the 64 KiB of an attribute.
const maxElements = 150

// addElements adds elements to a set, many in one message, and returns their
// number.
func (b *batch) addElements(s *set, elements iter.Seq[*element]) (total int) {
	list, n := 0, 0
	end := func() {
		if n > 0 {
			b.buf = closeAttr(b.buf, list)
			b.done()
		}
		total, n = total+n, 0
	}
	for e := range elements {
		if n == 0 {
			list = b.openElements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, s, "add elements to")
		}
		b.buf = appendElement(b.buf, e)
		if n++; n == maxElements {
			end()
		}
	}
	end()
	return total
}

// openElements starts a message whose elements the caller appends.
func (b *batch) openElements(msg, flags uint16, s *set, op string) (list int) {
	b.open(msg, flags, s.family, op, s.fullName)
	b.buf = appendListName(b.buf, s)
	b.buf, list = openNest(b.buf, unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	return list
}

// addElement is: add element inet table name { ... }
func (b *batch) addElement(s *set, e *element) {
	list := b.openElements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, s, "add element to")
	b.buf = closeAttr(appendElement(b.buf, e), list)
	b.done()
}

// deleteElement is: delete element inet table name { ... }
func (b *batch) deleteElement(s *set, key value) {
	list := b.openElements(unix.NFT_MSG_DELSETELEM, 0, s, "delete element from")
	b.buf = closeAttr(appendElement(b.buf, &element{key: key}), list)
	b.done()
}

// renewElement adds an element that may exist already. A kernel before 6.12 does
// not renew the timeout of an existing element, and no kernel changes its note,
// or deletes one that does not exist. So: add, delete, add.
func (b *batch) renewElement(s *set, e *element) {
	b.addElement(s, &element{key: e.key})
	b.deleteElement(s, e.key)
	b.addElement(s, e)
}

// dropElement deletes an element that may not exist.
func (b *batch) dropElement(s *set, key value) {
	b.addElement(s, &element{key: key})
	b.deleteElement(s, key)
}

// flushSet is: flush set inet table name
func (b *batch) flushSet(s *set) {
	b.open(unix.NFT_MSG_DELSETELEM, 0, s.family, "flush", s.fullName)
	b.buf = appendListName(b.buf, s)
	b.done()
}

// deleteSet is: delete set inet table name
func (b *batch) deleteSet(s *set) {
	b.open(unix.NFT_MSG_DELSET, 0, s.family, "delete set", s.fullName)
	b.buf = appendSetName(b.buf, s)
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

// marshal is expr.Marshal, except for the direction of a ct expression: the
// library sends four bytes where the kernel expects one (nft_ct_policy in
// net/netfilter/nft_ct.c); it would read the first of them and log a complaint.
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

// flushRules is: flush table inet table
func (b *batch) flushRules(table string) {
	b.open(unix.NFT_MSG_DELRULE, 0, FamilyINet, "flush table", "inet "+table)
	b.buf = appendString(b.buf, unix.NFTA_RULE_TABLE, table)
	b.done()
}

// deleteChain is: delete chain inet table name
func (b *batch) deleteChain(table, name string) {
	b.open(unix.NFT_MSG_DELCHAIN, 0, FamilyINet, "delete chain", ChainRef{FamilyINet, table, name}.words())
	b.buf = appendString(b.buf, unix.NFTA_CHAIN_TABLE, table)
	b.buf = appendString(b.buf, unix.NFTA_CHAIN_NAME, name)
	b.done()
}

// deleteObject is, for instance: delete ct helper inet table name
func (b *batch) deleteObject(table string, o heldObject) {
	b.open(unix.NFT_MSG_DELOBJ, 0, FamilyINet, "delete object", "inet "+table+" "+o.name)
	b.buf = appendString(b.buf, nftaObjTable, table)
	b.buf = appendString(b.buf, nftaObjName, o.name)
	b.buf = appendUint32(b.buf, nftaObjType, o.number)
	b.done()
}
