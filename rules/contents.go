// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// contents is what the kernel holds in our table, except its rules.
type contents struct {
	flags   uint32 // of the table, for instance dormant: no chain has its hook
	chains  []heldChain
	sets    []set // family, table and name only
	objects []heldObject
}

type heldChain struct {
	chain
	base, accepts bool
}

// is reports whether c matches the description w.
func (c *heldChain) is(w *chain) bool {
	if c.name != w.name || c.base != (w.hook != "") {
		return false
	}
	return !c.base || c.accepts && c.hooknum == w.hooknum && c.priority == w.priority && c.nat == w.nat
}

// A heldObject is any object; carriers are those of CarrierSane.
type heldObject struct {
	object
	number uint32
}

// lookInto lists the contents of an inet table.
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
