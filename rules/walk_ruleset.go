// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// A Ruleset is all that nftables holds in a network namespace at one moment,
// to be walked by simulated packets. It is not connected to the kernel.
type Ruleset struct {
	chains  map[ChainRef]*walkChain
	sets    map[setRef]*walkSet
	helpers map[setRef]string // ct helper objects: the type of each
	tables  map[tableRef]string
}

// A tableRef names a table.
type tableRef struct {
	family Family
	name   string
}

// A setRef names a set or an object.
type setRef struct {
	family      Family
	table, name string
}

// A walkChain is a chain of the kernel with its rules.
type walkChain struct {
	ref      ChainRef
	base     bool
	hook     Hook
	priority int32
	drop     bool   // policy
	kind     string // "filter", "nat", "route"
	rules    []walkRule
}

// A walkRule is a rule of the kernel.
type walkRule struct {
	handle  uint64
	comment string
	exprs   []walkExpr
}

// A walkExpr is one expression of a rule: the kernel's name for it, and its
// attributes.
type walkExpr struct {
	name string
	data []byte
}

// readTries bounds how often the ruleset may change while it is read: a busy
// daemon of ours opens pinholes all the time.
const readTries = 20

// ReadRuleset reads the ruleset of the network namespace that netns refers to
// (0: the calling thread's). The parts belong to one moment, unless somebody
// changes the ruleset each time it is read. unix.EPERM says that CAP_NET_ADMIN
// is missing.
func ReadRuleset(netns int) (*Ruleset, error) {
	c, err := dial(netns)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var r *Ruleset
	for range readTries {
		before, err := c.generation()
		if err != nil {
			return nil, err
		}
		// A set that went while we read it is an error, and a change.
		part, readErr := c.readRuleset()
		if readErr == nil {
			r = part
		}
		after, err := c.generation()
		if err != nil {
			return nil, err
		}
		if before == after {
			return part, readErr
		}
	}
	if r == nil {
		return nil, &OpError{Op: "read", Object: "ruleset", Err: errChanging}
	}
	return r, nil
}

// errChanging says that somebody changes the ruleset all the time.
var errChanging = errors.New("the ruleset changed each time it was read")

func (c *conn) readRuleset() (*Ruleset, error) {
	r := &Ruleset{
		chains: map[ChainRef]*walkChain{}, sets: map[setRef]*walkSet{},
		helpers: map[setRef]string{}, tables: map[tableRef]string{},
	}
	steps := []struct {
		object string
		msg    uint16
		add    func(Family, []byte)
	}{
		{"tables", unix.NFT_MSG_GETTABLE, r.addTable},
		{"chains", unix.NFT_MSG_GETCHAIN, r.addChain},
		{"rules", unix.NFT_MSG_GETRULE, r.addRule},
		{"sets", unix.NFT_MSG_GETSET, r.addSet},
		{"objects", unix.NFT_MSG_GETOBJ, r.addObject},
	}
	for _, s := range steps {
		if err := c.request(s.msg, unix.NLM_F_DUMP, 0, nil, s.add); err != nil {
			return nil, &OpError{Op: "list", Object: s.object, Err: err}
		}
	}
	for ref, s := range r.sets {
		query := appendString(nil, unix.NFTA_SET_ELEM_LIST_TABLE, ref.table)
		query = appendString(query, unix.NFTA_SET_ELEM_LIST_SET, ref.name)
		if err := c.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, ref.family, query, s.addElements); err != nil {
			return nil, &OpError{Op: "list elements of set", Object: ref.name, Err: err}
		}
		s.finish()
	}
	return r, nil
}

// collect gathers attributes by their type; the last of a type counts.
func collect(b []byte) map[uint16][]byte {
	m := map[uint16][]byte{}
	for typ, v := range attrs(b) {
		m[typ] = v
	}
	return m
}

func (r *Ruleset) addTable(f Family, body []byte) {
	name, comment := tableWords(body)
	r.tables[tableRef{f, name}] = comment
}

func (r *Ruleset) addChain(f Family, body []byte) {
	a := collect(body)
	c := &walkChain{
		ref:  ChainRef{f, attrString(a[unix.NFTA_CHAIN_TABLE]), attrString(a[unix.NFTA_CHAIN_NAME])},
		kind: attrString(a[unix.NFTA_CHAIN_TYPE]),
	}
	if hook, ok := a[unix.NFTA_CHAIN_HOOK]; ok {
		h := collect(hook)
		c.base = true
		c.hook = Hook(be32(h[unix.NFTA_HOOK_HOOKNUM]))
		c.priority = int32(be32(h[unix.NFTA_HOOK_PRIORITY]))
		c.drop = be32(a[unix.NFTA_CHAIN_POLICY]) == verdictDrop && len(a[unix.NFTA_CHAIN_POLICY]) == 4
	}
	r.chains[c.ref] = c
}

func (r *Ruleset) addRule(f Family, body []byte) {
	a := collect(body)
	c := r.chains[ChainRef{f, attrString(a[unix.NFTA_RULE_TABLE]), attrString(a[unix.NFTA_RULE_CHAIN])}]
	if c == nil {
		return
	}
	rule := walkRule{handle: be64(a[unix.NFTA_RULE_HANDLE])}
	rule.comment, _ = udataString(a[unix.NFTA_RULE_USERDATA], udataRuleComment)
	for _, e := range attrs(a[unix.NFTA_RULE_EXPRESSIONS]) {
		x := collect(e)
		rule.exprs = append(rule.exprs, walkExpr{attrString(x[unix.NFTA_EXPR_NAME]), slices.Clone(x[unix.NFTA_EXPR_DATA])})
	}
	c.rules = append(c.rules, rule)
}

func (r *Ruleset) addObject(f Family, body []byte) {
	a := collect(body)
	if be32(a[nftaObjType]) != unix.NFT_OBJECT_CT_HELPER {
		return
	}
	ref := setRef{f, attrString(a[nftaObjTable]), attrString(a[nftaObjName])}
	r.helpers[ref] = attrString(collect(a[nftaObjData])[unix.NFTA_CT_HELPER_NAME])
}

// bases are the base chains of a hook that packets of a family pass, in that
// order. Chains of type nat are left out: they see first packets only, decide
// on addresses, and an expected connection is translated without them.
func (r *Ruleset) bases(h Hook, ip Family) []*walkChain {
	var list []*walkChain
	for _, c := range r.chains {
		if c.base && c.hook == h && c.ref.Family.has(ip) && c.kind != "nat" {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *walkChain) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.ref.String(), b.ref.String()))
	})
	return list
}

// Ours reports whether a table was made by a pasvport.
func (r *Ruleset) Ours(f Family, table string) bool {
	return r.tables[tableRef{f, table}] == tableComment
}

// Chains are the names of all chains, in alphabetical order.
func (r *Ruleset) Chains() []ChainRef {
	list := make([]ChainRef, 0, len(r.chains))
	for ref := range r.chains {
		list = append(list, ref)
	}
	slices.SortFunc(list, func(a, b ChainRef) int { return cmp.Compare(a.String(), b.String()) })
	return list
}
