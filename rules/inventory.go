// SPDX-License-Identifier: Apache-2.0

package rules

// An inventory is what the kernel holds of ours, at one generation of its
// ruleset. A transaction bound to that generation deletes nothing that has
// changed since.
type inventory struct {
	generation uint32
	table      bool         // our table exists
	held       contents     // of our table
	foreign    bool         // a table with that name exists and is not ours
	rules      []ruleHandle // in tables of others
	sets       []set        // in tables of others: family, table and name only
	taken      []set        // sets of others that have the name of one of ours
}

// takeInventory reads the whole ruleset: a crashed run may have been configured
// for other chains than this one.
func (c *conn) takeInventory(cfg Config) (inv inventory, err error) {
	if inv.generation, err = c.generation(); err != nil {
		return inv, err
	}
	if inv.table, inv.foreign, err = c.findTable(cfg.Table); err != nil {
		return inv, err
	}
	if inv.table {
		if inv.held, err = c.lookInto(cfg.Table); err != nil {
			return inv, err
		}
	}
	err = c.eachRule(ChainRef{}, func(r ruleHandle, comment string) {
		if comment == cfg.Comment() && (r.at.Family != FamilyINet || r.at.Table != cfg.Table) {
			inv.rules = append(inv.rules, r)
		}
	})
	if err != nil {
		return inv, err
	}
	ours := map[string]bool{}
	for _, s := range adminSets(cfg) {
		ours[s.fullName] = true
	}
	err = c.eachSet(func(s set) {
		switch {
		case s.family == FamilyINet && s.table == cfg.Table:
		case s.comment == cfg.Comment():
			inv.sets = append(inv.sets, s)
		case ours[s.fullName]:
			inv.taken = append(inv.taken, s)
		}
	})
	return inv, err
}

// clear adds to b the removal of everything in inv, and nothing else.
func (inv inventory) clear(b *batch, cfg Config) {
	inv.clearOthers(b)
	if inv.table {
		b.deleteTable(FamilyINet, cfg.Table)
	}
}

// clearOthers adds to b the removal of what is ours in the tables of others.
func (inv inventory) clearOthers(b *batch) {
	for _, r := range inv.rules {
		b.deleteRule(r.at, r.handle)
	}
	for _, s := range inv.sets {
		b.deleteSet(&s)
	}
}

// When a base chain is deleted, the kernel drops all packets that wait in queues,
// whatever their chain (nf_queue_nf_hook_drop in net/netfilter/nf_queue.c), and
// since April 2026 also when a ct helper object is deleted
// (nft_ct_helper_obj_destroy in net/netfilter/nft_ct.c). A control packet is then
// retransmitted after 200 ms, and the first packet of a data connection after a
// second. While the table has no nat chain, connections are not translated
// either. So our table is not deleted and recreated: its contents are replaced,
// and chains and carriers that are needed again stay.

// makeWay adds to b the removal of everything in inv, except what t has, too:
// that is marked in t, and stays.
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
