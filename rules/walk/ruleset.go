// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"cmp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/rules"
)

// A Ruleset is the nftables ruleset of a network namespace at one moment, to be
// walked by simulated packets. It is not connected to the kernel.
type Ruleset struct {
	chains  map[ChainRef]*walkChain
	sets    map[setRef]*walkSet
	helpers map[setRef]string // type of each ct helper object
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
	drop     bool     // policy
	kind     string   // "filter", "nat", "route"
	devices  []string // of HookIngress
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

// Read reads the ruleset of the network namespace that netns refers to (0: the
// calling thread's). It is consistent, unless a program changes the ruleset each
// time it is read. unix.EPERM means that CAP_NET_ADMIN is missing.
func Read(netns int) (r *Ruleset, err error) {
	err = rules.Dump(netns, func(d rules.Dumper) error {
		r, err = readAll(d)
		return err
	})
	return r, err
}

func newRuleset() *Ruleset {
	return &Ruleset{
		chains: map[ChainRef]*walkChain{}, sets: map[setRef]*walkSet{},
		helpers: map[setRef]string{}, tables: map[tableRef]string{},
	}
}

func readAll(d rules.Dumper) (*Ruleset, error) {
	r := newRuleset()
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
		if err := d.List(s.object, s.msg, s.add); err != nil {
			return nil, err
		}
	}
	for ref, s := range r.sets {
		if err := d.Elements(ref.family, ref.table, ref.name, s.addElements); err != nil {
			return nil, err
		}
		s.finish()
	}
	return r, nil
}

func (r *Ruleset) addTable(f Family, body []byte) {
	name, comment := rules.TableWords(body)
	r.tables[tableRef{f, name}] = comment
}

func (r *Ruleset) addChain(f Family, body []byte) {
	a := collect(body)
	c := &walkChain{
		ref:  ChainRef{Family: f, Table: attrString(a[unix.NFTA_CHAIN_TABLE]), Chain: attrString(a[unix.NFTA_CHAIN_NAME])},
		kind: attrString(a[unix.NFTA_CHAIN_TYPE]),
	}
	if hook, ok := a[unix.NFTA_CHAIN_HOOK]; ok {
		h := collect(hook)
		c.base = true
		c.hook = Hook(be32(h[unix.NFTA_HOOK_HOOKNUM]))
		if f == familyNetdev {
			c.hook = netdevHooks[c.hook]
		}
		c.devices = devices(h)
		c.priority = int32(be32(h[unix.NFTA_HOOK_PRIORITY]))
		c.drop = be32(a[unix.NFTA_CHAIN_POLICY]) == verdictDrop && len(a[unix.NFTA_CHAIN_POLICY]) == 4
	}
	r.chains[c.ref] = c
}

// devices are those that a base chain is bound to.
func devices(hook map[uint16][]byte) (list []string) {
	const hookDev, hookDevs = 3, 4 // NFTA_HOOK_DEV, NFTA_HOOK_DEVS
	if one := hook[hookDev]; one != nil {
		list = append(list, attrString(one))
	}
	for _, name := range attrs(hook[hookDevs]) {
		list = append(list, attrString(name))
	}
	return list
}

func (r *Ruleset) addRule(f Family, body []byte) {
	a := collect(body)
	c := r.chains[ChainRef{Family: f, Table: attrString(a[unix.NFTA_RULE_TABLE]), Chain: attrString(a[unix.NFTA_RULE_CHAIN])}]
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

// bases are the base chains of a hook that packets of a family traverse, in that
// order. nat chains are mostly left out: they see first packets only, and an
// expected connection is translated without them.
func (r *Ruleset) bases(h Hook, ip Family, nat bool) []*walkChain {
	var list []*walkChain
	for _, c := range r.chains {
		if c.base && c.hook == h && (c.ref.Family.Has(ip) || c.ref.Family == familyNetdev) && (nat || c.kind != "nat") {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *walkChain) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.ref.String(), b.ref.String()))
	})
	return list
}

// Number is a rule's place in its chain, from 1, as "iptables -L --line-numbers"
// counts them; 0 if it does not exist.
func (r *Ruleset) Number(at RuleRef) int {
	c := r.chains[at.Chain]
	if c == nil {
		return 0
	}
	return slices.IndexFunc(c.rules, func(w walkRule) bool { return w.handle == at.Handle }) + 1
}

// Xtables reports whether a chain is in a table that iptables made: one with its
// names, in which each base chain has iptables' name for the hook.
func (r *Ruleset) Xtables(c ChainRef) bool {
	if c.Family == FamilyINet || !slices.Contains([]string{"filter", "mangle", "raw", "nat", "security"}, c.Table) {
		return false
	}
	for _, other := range r.chains {
		if other.base && other.ref.Family == c.Family && other.ref.Table == c.Table && other.ref.Chain != strings.ToUpper(other.hook.String()) {
			return false
		}
	}
	return true
}

// Ours reports whether a table was made by a pasvport.
func (r *Ruleset) Ours(f Family, table string) bool {
	return r.tables[tableRef{f, table}] == rules.TableComment
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

// netdevHooks are the hooks of family netdev by their numbers there
// (NF_NETDEV_INGRESS); the egress hook is not read.
var netdevHooks = map[Hook]Hook{0: HookIngress, 1: ^Hook(0)}

// A RuleRef names a rule, as "nft -a" numbers it.
type RuleRef struct {
	Chain  ChainRef
	Handle uint64
}
