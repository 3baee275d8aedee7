// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"cmp"
	"strings"

	"golang.org/x/sys/unix"
)

// registers are those of nft's virtual machine (struct nft_regs), 16 slots of
// four bytes. A value is stored at the slot where it begins, so that the parts of
// a concatenation keep what is known of each.
type registers struct {
	at  [16]*value
	why string // why the others are unknown
}

// slot is the first slot of a register by its netlink number.
func slot(r uint32) (int, bool) {
	switch {
	case r >= unix.NFT_REG_1 && r <= unix.NFT_REG_4:
		return int(r-unix.NFT_REG_1) * 4, true
	case r >= unix.NFT_REG32_00 && r <= unix.NFT_REG32_15:
		return int(r - unix.NFT_REG32_00), true
	}
	return 0, false
}

// set puts v into a register and forgets what it covers.
func (r *registers) set(reg uint32, v value) {
	at, ok := slot(reg)
	if !ok {
		return
	}
	for i, old := range r.at[:at] {
		if old != nil && i+slots(len(old.bits)) > at {
			r.at[i] = nil
		}
	}
	for i := at; i < min(at+slots(len(v.bits)), len(r.at)); i++ {
		r.at[i] = nil
	}
	r.at[at] = &v
}

// get is the value in a register; one that we did not see loaded is unknown.
func (r *registers) get(reg uint32, n int) value {
	if at, ok := slot(reg); ok && r.at[at] != nil {
		return *r.at[at]
	}
	return r.unseen(n)
}

// unseen is a value of unknown origin.
func (r *registers) unseen(n int) value { return unknown(cmp.Or(r.why, "a register"), n) }

// forget makes all registers unknown, for a reason.
func (r *registers) forget(why string) { *r = registers{why: why} }

// key is the contents of the n bytes of registers from reg on, in its parts.
func (r *registers) key(reg uint32, n int) []value {
	at, ok := slot(reg)
	if !ok {
		return []value{r.unseen(n)}
	}
	var parts []value
	for left := n; left > 0; {
		if at >= len(r.at) || r.at[at] == nil {
			return append(parts, r.unseen(left))
		}
		v := *r.at[at]
		parts = append(parts, v)
		at += slots(len(v.bits))
		left -= min(left, 4*slots(len(v.bits)))
	}
	return parts
}

// slots is how many slots n bytes take.
func slots(n int) int { return max((n+3)/4, 1) }

// names joins the names of values for a sentence.
func names(parts []value) string {
	words := make([]string, len(parts))
	for i, p := range parts {
		words[i] = p.name
	}
	return strings.Join(words, " . ")
}
