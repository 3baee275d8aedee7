// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"
)

// reachedFrom are the base chains from which packets reach a chain, by jumps.
func (r *Ruleset) reachedFrom(to *walkChain) []*walkChain {
	var bases []*walkChain
	seen := map[*walkChain]bool{}
	var visit func(*walkChain)
	visit = func(c *walkChain) {
		if seen[c] {
			return
		}
		seen[c] = true
		if c.base {
			bases = append(bases, c)
		}
		for _, from := range r.chains {
			if from.ref.Family == c.ref.Family && from.ref.Table == c.ref.Table && r.jumps(from, c.ref.Chain) {
				visit(from)
			}
		}
	}
	visit(to)
	slices.SortFunc(bases, func(a, b *walkChain) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.ref.String(), b.ref.String()))
	})
	return bases
}

// jumps reports whether a rule of a chain jumps or goes to another of its table.
func (r *Ruleset) jumps(from *walkChain, to string) bool {
	return slices.ContainsFunc(from.rules, func(rule walkRule) bool {
		return slices.ContainsFunc(rule.exprs, func(e walkExpr) bool {
			a := collect(e.data)
			switch e.name {
			case "immediate":
				v, ok := collect(a[unix.NFTA_IMMEDIATE_DATA])[unix.NFTA_DATA_VERDICT]
				return ok && parseVerdict(v).chain == to
			case "lookup":
				set := r.sets[setRef{from.ref.Family, from.ref.Table, attrString(a[unix.NFTA_LOOKUP_SET])}]
				return set != nil && set.leadsTo(to)
			}
			return false
		})
	})
}

// leadsTo reports whether an element of a verdict map jumps to a chain.
func (s *walkSet) leadsTo(chain string) bool {
	to := func(e walkElement) bool { return e.verdict != nil && e.verdict.chain == chain }
	return slices.ContainsFunc(s.elements, to) || s.catchall != nil && to(*s.catchall)
}
