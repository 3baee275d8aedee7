// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// When a base chain goes, the kernel drops all packets that wait in queues, of
// whatever chain (nf_queue_nf_hook_drop in net/netfilter/nf_queue.c), and since
// April 2026 also when a ct helper object goes (nft_ct_helper_obj_destroy in
// net/netfilter/nft_ct.c). A control packet is repeated after 200 ms then, and the
// first packet of a data connection after a second. While the table has no nat
// chain, connections are not translated either. So our table is not deleted and
// made anew: what it holds is exchanged, and chains and carriers that are to be
// there again stay.

// contents is what the kernel holds in our table, but for its rules.
type contents struct {
	flags   uint32 // of the table; for instance dormant: no chain has its hook
	chains  []heldChain
	sets    []set // family, table and name only
	objects []heldObject
}

type heldChain struct {
	chain
	base, accepts bool
}

// is reports whether c is what w describes.
func (c *heldChain) is(w *chain) bool {
	if c.name != w.name || c.base != (w.hook != "") {
		return false
	}
	return !c.base || c.accepts && c.hooknum == w.hooknum && c.priority == w.priority && c.nat == w.nat
}

// A heldObject is any object; it is a carrier only if it is one of CarrierSane.
type heldObject struct {
	object
	number uint32
}

// lookInto lists what an inet table holds.
func (c *conn) lookInto(table string) (held contents, err error) {
	for _, look := range []struct {
		what string
		msg  uint16
		add  func(*contents, map[uint16][]byte)
	}{
		{"tables", unix.NFT_MSG_GETTABLE, (*contents).addFlags},
		{"chains", unix.NFT_MSG_GETCHAIN, (*contents).addChain},
		{"sets", unix.NFT_MSG_GETSET, (*contents).addSet},
		{"objects", unix.NFT_MSG_GETOBJ, (*contents).addObject},
	} {
		err := c.request(look.msg, unix.NLM_F_DUMP, FamilyINet, nil, func(_ Family, body []byte) {
			if a := collect(body); attrString(a[1]) == table { // NFTA_TABLE_NAME, and the table's name in each other object
				look.add(&held, a)
			}
		})
		if err != nil {
			return held, &OpError{Op: "list", Object: look.what, Err: err}
		}
	}
	return held, nil
}

func (h *contents) addFlags(a map[uint16][]byte) { h.flags = number(a[unix.NFTA_TABLE_FLAGS]) }

func (h *contents) addChain(a map[uint16][]byte) {
	const nftaChainFlags, bound = 10, 4 // NFT_CHAIN_BINDING: it goes with the rule that has it
	if number(a[nftaChainFlags])&bound != 0 {
		return
	}
	c := heldChain{chain: chain{name: attrString(a[unix.NFTA_CHAIN_NAME])}}
	if hook, ok := a[unix.NFTA_CHAIN_HOOK]; ok {
		at := collect(hook)
		c.base, c.accepts = true, number(a[unix.NFTA_CHAIN_POLICY]) == 1 // NF_ACCEPT
		c.hooknum, c.priority = number(at[unix.NFTA_HOOK_HOOKNUM]), int32(number(at[unix.NFTA_HOOK_PRIORITY]))
		c.nat = attrString(a[unix.NFTA_CHAIN_TYPE]) == "nat"
	}
	h.chains = append(h.chains, c)
}

func (h *contents) addSet(a map[uint16][]byte) {
	if number(a[unix.NFTA_SET_FLAGS])&unix.NFT_SET_ANONYMOUS == 0 { // it goes with its rule
		h.sets = append(h.sets, newSet(FamilyINet, attrString(a[unix.NFTA_SET_TABLE]), attrString(a[unix.NFTA_SET_NAME]), dataType{}))
	}
}

func (h *contents) addObject(a map[uint16][]byte) {
	o := heldObject{object{name: attrString(a[nftaObjName])}, number(a[nftaObjType])}
	data := collect(a[nftaObjData])
	l3, l4 := data[unix.NFTA_CT_HELPER_L3PROTO], data[unix.NFTA_CT_HELPER_L4PROTO]
	if o.number == unix.NFT_OBJECT_CT_HELPER && attrString(data[unix.NFTA_CT_HELPER_NAME]) == "sane" &&
		len(l3) == 2 && len(l4) == 1 && l4[0] == unix.IPPROTO_TCP {
		o.carrier, o.ip = CarrierSane, Family(binary.BigEndian.Uint16(l3))
	}
	h.objects = append(h.objects, o)
}

// makeWay adds to b what removes everything in inv, but for what t has too: that
// is marked in t, and stays.
func (inv inventory) makeWay(b *batch, t *table) {
	inv.clearOthers(b)
	switch {
	case inv.foreign || inv.table && inv.held.flags != 0:
		b.deleteTable(FamilyINet, t.name)
		return
	case !inv.table:
		return
	}
	t.there = true
	b.flushRules(t.name)
	for i := range inv.held.chains {
		if c := &inv.held.chains[i]; !t.keepChain(c) {
			b.deleteChain(t.name, c.name)
		}
	}
	for i := range inv.held.sets {
		b.deleteSet(&inv.held.sets[i])
	}
	for _, o := range inv.held.objects {
		if !t.keepObject(o) {
			b.deleteObject(t.name, o)
		}
	}
}

// keepChain reports whether c stays as it is.
func (t *table) keepChain(c *heldChain) bool {
	for i := range t.chains {
		if c.is(&t.chains[i]) {
			t.chains[i].there = true
			return true
		}
	}
	return false
}

// keepObject reports whether o stays as it is.
func (t *table) keepObject(o heldObject) bool {
	for i := range t.objects {
		if t.objects[i] == o.object {
			t.objects[i].there = true
			return true
		}
	}
	return false
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

// number is the value of an attribute of 32 bits; 0 if it is not there.
func number(v []byte) uint32 {
	if len(v) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(v)
}
