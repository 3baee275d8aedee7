// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"bytes"
	"slices"

	"golang.org/x/sys/unix"
)

// A walkSet is a set or a map of the kernel with its elements.
type walkSet struct {
	flags  uint32
	keyLen int
	data   int      // length of a map's values
	fields []uint32 // lengths of a concatenation's parts, if the kernel reports them

	elements []walkElement
	marks    []walkElement // of an interval set, until finish
	catchall *walkElement
}

// A walkElement is an element: a key, or a range of them with both ends included.
type walkElement struct {
	low, high []byte
	flags     uint32
	value     []byte       // of a map
	verdict   *walkVerdict // of a verdict map
}

// Attributes and flags of <linux/netfilter/nf_tables.h> that x/sys/unix lacks.
const (
	nftaSetElemKeyEnd = 10
	nftSetElemCatch   = 2

	descConcat   = 2 // NFTA_SET_DESC_CONCAT
	descFieldLen = 1 // NFTA_SET_FIELD_LEN
)

func (r *Ruleset) addSet(f Family, body []byte) {
	a := collect(body)
	s := &walkSet{
		flags:  be32(a[unix.NFTA_SET_FLAGS]),
		keyLen: int(be32(a[unix.NFTA_SET_KEY_LEN])),
		data:   int(be32(a[unix.NFTA_SET_DATA_LEN])),
	}
	for _, field := range attrs(collect(a[unix.NFTA_SET_DESC])[descConcat]) {
		s.fields = append(s.fields, be32(collect(field)[descFieldLen]))
	}
	r.sets[setRef{f, attrString(a[unix.NFTA_SET_TABLE]), attrString(a[unix.NFTA_SET_NAME])}] = s
}

// addElements reads one message of a dump.
func (s *walkSet) addElements(_ Family, body []byte) {
	for _, elem := range attrs(collect(body)[unix.NFTA_SET_ELEM_LIST_ELEMENTS]) {
		a := collect(elem)
		e := walkElement{flags: be32(a[unix.NFTA_SET_ELEM_FLAGS]), low: data(a[unix.NFTA_SET_ELEM_KEY])}
		e.high = e.low
		if end := data(a[nftaSetElemKeyEnd]); end != nil {
			e.high = end
		}
		d := collect(a[unix.NFTA_SET_ELEM_DATA])
		e.value = slices.Clone(d[unix.NFTA_DATA_VALUE])
		if v, ok := d[unix.NFTA_DATA_VERDICT]; ok {
			verdict := parseVerdict(v)
			e.verdict = &verdict
		}
		switch {
		case e.flags&nftSetElemCatch != 0:
			s.catchall = &e
		case s.flags&unix.NFT_SET_INTERVAL != 0 && len(s.fields) < 2:
			s.marks = append(s.marks, e)
		default:
			s.elements = append(s.elements, e)
		}
	}
}

// data is the value within an attribute with struct nft_data.
func data(b []byte) []byte {
	for typ, v := range attrs(b) {
		if typ == unix.NFTA_DATA_VALUE {
			return slices.Clone(v)
		}
	}
	return nil
}

// finish makes ranges from the marks of an interval set: each element extends
// from its key to the next mark, which is an end or another element.
func (s *walkSet) finish() {
	slices.SortFunc(s.marks, func(a, b walkElement) int {
		if c := bytes.Compare(a.low, b.low); c != 0 {
			return c
		}
		return int(b.flags&unix.NFT_SET_ELEM_INTERVAL_END) - int(a.flags&unix.NFT_SET_ELEM_INTERVAL_END)
	})
	for i, m := range s.marks {
		if m.flags&unix.NFT_SET_ELEM_INTERVAL_END != 0 {
			continue
		}
		m.high = bytes.Repeat([]byte{0xff}, len(m.low))
		if i+1 < len(s.marks) {
			m.high = before(s.marks[i+1].low)
		}
		s.elements = append(s.elements, m)
	}
	s.marks = nil
}

// A hit is an element that the key is, or may be.
type hit struct {
	truth   truth
	element *walkElement
}

// find looks up a key given in its parts. The order of the hits does not matter,
// since at most one of them is true.
func (s *walkSet) find(key []value) []hit {
	var hits []hit
	sure := false
	for i := range s.elements {
		e := &s.elements[i]
		if t := e.matches(key); t != no {
			hits = append(hits, hit{t, e})
			sure = sure || t == yes
		}
	}
	if s.catchall != nil && !sure {
		t := yes
		if len(hits) > 0 {
			t = maybe
		}
		hits = append(hits, hit{t, s.catchall})
	}
	return hits
}

// contains reports whether the key is in the set.
func (s *walkSet) contains(key []value) truth {
	t := no
	for _, h := range s.find(key) {
		t = max(t, h.truth)
	}
	return t
}

// matches compares part by part: in the kernel, too, a range in a concatenation
// is a range in each of its parts.
func (e *walkElement) matches(key []value) truth {
	t, at := yes, 0
	for _, part := range key {
		n := len(part.bits)
		if at+n > len(e.low) || at+n > len(e.high) {
			// The registers hold more than the element, or another layout.
			if n = min(len(e.low), len(e.high)) - at; n <= 0 {
				return maybe
			}
		}
		low, high := e.low[at:at+n], e.high[at:at+n]
		if bytes.Equal(low, high) {
			t = min(t, part.equals(low))
		} else {
			t = min(t, part.within(low, high))
		}
		at += 4 * slots(n)
	}
	return t
}
