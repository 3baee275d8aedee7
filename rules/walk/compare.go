// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"golang.org/x/sys/unix"
)

// compare runs the expressions that decide whether a rule matches.
func (m *machine) compare(name string, a map[uint16][]byte) {
	switch name {
	case "cmp":
		want := data(a[unix.NFTA_CMP_DATA])
		v := m.regs.get(be32(a[unix.NFTA_CMP_SREG]), len(want))
		m.must(compareOp(be32(a[unix.NFTA_CMP_OP]), v, want), v.name)
	case "range":
		low, high := data(a[unix.NFTA_RANGE_FROM_DATA]), data(a[unix.NFTA_RANGE_TO_DATA])
		v := m.regs.get(be32(a[unix.NFTA_RANGE_SREG]), len(low))
		t := v.within(low, high)
		if be32(a[unix.NFTA_RANGE_OP]) == unix.NFT_RANGE_NEQ {
			t = t.not()
		}
		m.must(t, v.name)
	case "lookup":
		m.lookup(a)
	}
}

func compareOp(op uint32, v value, want []byte) truth {
	switch op {
	case unix.NFT_CMP_EQ:
		return v.equals(want)
	case unix.NFT_CMP_NEQ:
		return v.equals(want).not()
	case unix.NFT_CMP_LT:
		return v.less(want)
	case unix.NFT_CMP_GTE:
		return v.less(want).not()
	case unix.NFT_CMP_LTE:
		return v.within(make([]byte, len(want)), want)
	case unix.NFT_CMP_GT:
		return v.within(make([]byte, len(want)), want).not()
	}
	return maybe
}

// manyBranches is how many entries of a verdict map may match a packet with
// unknown properties before the answer is unknown.
const manyBranches = 64

func (m *machine) lookup(a map[uint16][]byte) {
	set := m.set.sets[setRef{m.chain.ref.Family, m.chain.ref.Table, attrString(a[unix.NFTA_LOOKUP_SET])}]
	if set == nil {
		m.unknown("a set that cannot be read")
		return
	}
	key := m.regs.key(be32(a[unix.NFTA_LOOKUP_SREG]), set.keyLen)
	dreg, isMap := a[unix.NFTA_LOOKUP_DREG]
	if !isMap {
		t := set.contains(key)
		if be32(a[unix.NFTA_LOOKUP_FLAGS])&unix.NFT_LOOKUP_F_INV != 0 {
			t = t.not()
		}
		m.must(t, names(key))
		return
	}
	hits := set.find(key)
	if be32(dreg) == unix.NFT_REG_VERDICT {
		m.verdictMap(hits, names(key))
		return
	}
	switch {
	case len(hits) == 0:
		m.must(no, "")
	case len(hits) == 1 && hits[0].truth == yes:
		m.regs.set(be32(dreg), known("map of "+names(key), hits[0].element.value))
	default:
		m.must(maybe, names(key))
		m.regs.set(be32(dreg), unknown("map of "+names(key), set.data))
	}
}

// verdictMap ends the rule with the verdicts of the entries found. If none is
// sure to match, the rule may end without one.
func (m *machine) verdictMap(hits []hit, on string) {
	sure := no
	for _, h := range hits {
		sure = max(sure, h.truth)
	}
	m.must(sure, on)
	if m.out.match == no {
		return
	}
	m.done = true
	if len(hits) > manyBranches {
		m.out.branches = append(m.out.branches, branch{maybe, walkVerdict{code: verdictQueue}})
		return
	}
	for _, h := range hits {
		if v := h.element.verdict; v != nil && v.code != verdictContinue {
			m.out.branches = append(m.out.branches, branch{h.truth, *v})
		}
	}
}

// compute runs the expressions that change registers.
func (m *machine) compute(name string, a map[uint16][]byte) {
	switch name {
	case "immediate":
		dreg := be32(a[unix.NFTA_IMMEDIATE_DREG])
		d := collect(a[unix.NFTA_IMMEDIATE_DATA])
		if v, ok := d[unix.NFTA_DATA_VERDICT]; ok {
			m.end(parseVerdict(v))
			return
		}
		m.regs.set(dreg, known("a constant", d[unix.NFTA_DATA_VALUE]))
	case "bitwise":
		n := int(be32(a[unix.NFTA_BITWISE_LEN]))
		v := m.regs.get(be32(a[unix.NFTA_BITWISE_SREG]), n)
		mask, xor := data(a[unix.NFTA_BITWISE_MASK]), data(a[unix.NFTA_BITWISE_XOR])
		out := unknown(v.name, n)
		if mask != nil && xor != nil {
			out = v.masked(mask, xor)
		}
		m.regs.set(be32(a[unix.NFTA_BITWISE_DREG]), out)
	case "byteorder":
		v := m.regs.get(be32(a[unix.NFTA_BYTEORDER_SREG]), int(be32(a[unix.NFTA_BYTEORDER_LEN])))
		m.regs.set(be32(a[unix.NFTA_BYTEORDER_DREG]), v.swapped(int(be32(a[unix.NFTA_BYTEORDER_SIZE]))))
	}
}
