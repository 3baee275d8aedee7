// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A set is one of our sets or maps, in our table or in an administrator's. These
// values alone describe it, and both text and kernel messages are made from them:
// sets.go has the sets that exist.
type set struct {
	family      Family
	table, name string
	fullName    string // family, table and name in nft syntax

	key  dataType
	data dataType // of a map's values; a set has none

	// typeof is the user data that tells nft that key and data are expressions
	// and not types; nil: they are types.
	typeof []byte

	interval bool          // The keys are ranges.
	dynamic  bool          // Rules add elements.
	timeout  time.Duration // of an element without its own; 0: elements stay
	size     uint32        // maximum number of elements; 0: nft's default
	comment  string        // identifies a set in an administrator's table

	fixed []element // elements that are part of its description
	keeps content   // other elements, which are remembered, see memory
}

// A content is what a set holds in addition to its description. Several sets may
// hold the same: each takes the keys of its own length.
type content uint8

const (
	keptNothing    content = iota
	keptClaims             // pinholes, as the SYN shows them before any translation
	keptForwards           // pinholes, as a filter chain sees them
	keptRenumbered         // connections whose sequence numbers the daemon adjusts
	keptAside              // connections that are left alone
	keptPeers              // clients of encrypted sessions, with the server that they dialled
	keptBlocked            // clients whose packets are dropped for a time

	// Pinholes by the direction of their data connections, and these by their
	// ids, see way.go.
	keptFirstUndecided
	keptFirstOriginal
	keptFirstReply
	keptDataUndecided
	keptDataOriginal
	keptDataReply
	contentKinds
)

// pinholes reports whether c is a kind of pinholes.
func (c content) pinholes() bool { return c == keptClaims || c == keptForwards || c.way() != WayAny }

// way is the direction of pinholes whose data connections have one.
func (c content) way() Way {
	if c < keptFirstUndecided || c > keptFirstReply {
		return WayAny
	}
	return WayUndecided + Way(c-keptFirstUndecided)
}

// firstOf and dataOf are the contents of a direction: pinholes, and data
// connections.
func firstOf(w Way) content { return keptFirstUndecided + content(w-WayUndecided) }
func dataOf(w Way) content  { return keptDataUndecided + content(w-WayUndecided) }

// data reports whether c is data connections by their ids.
func (c content) data() bool { return c >= keptDataUndecided && c <= keptDataReply }

// takes reports whether s is one of the sets that hold the key as c.
func (s *set) takes(c content, key *value) bool {
	return s.keeps == c && c != keptNothing && s.key.size == uint32(key.n)
}

// A dataType is the type of keys or of a map's values, for nft and for the kernel.
type dataType struct {
	words string // without "type" or "typeof"
	magic uint32
	size  uint32 // in bytes
}

// typeOf is a type, or a concatenation.
func typeOf(parts ...nftables.SetDatatype) dataType {
	t := parts[0]
	if len(parts) > 1 { // a single part is not padded
		t = nftables.MustConcatSetType(parts...)
	}
	return dataType{t.Name, t.GetNFTMagic(), t.Bytes}
}

// integer is an integer type for a value without a type of its own in nft.
func integer(words string) dataType {
	const typeInteger = 4 // TYPE_INTEGER of nft's datatype.h
	return dataType{words, typeInteger, 4}
}

// addrType is the type of an address.
func addrType(ip Family) nftables.SetDatatype {
	if ip == FamilyIPv6 {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}

// newSet is a set with the common properties.
func newSet(f Family, table, name string, key dataType) set {
	return set{family: f, table: table, name: name, fullName: fmt.Sprintf("%s %s %s", f, table, name), key: key}
}

// isMap reports whether keys have values.
func (s *set) isMap() bool { return s.data.size != 0 }

// kind is nft's word for what s is.
func (s *set) kind() string {
	if s.isMap() {
		return "map"
	}
	return "set"
}

// properties are the lines of s within braces.
func (s *set) properties() []string {
	line := "type " + s.key.words
	if s.typeof != nil {
		line = "typeof " + s.key.words
	}
	if s.isMap() {
		line += " : " + s.data.words
	}
	p := []string{line}
	if s.size != 0 {
		p = append(p, fmt.Sprintf("size %d", s.size))
	}
	var flags []string
	for _, flag := range []struct {
		word string
		has  bool
	}{{"interval", s.interval}, {"dynamic", s.dynamic}, {"timeout", s.timeout != 0}} {
		if flag.has {
			flags = append(flags, flag.word)
		}
	}
	if flags != nil {
		p = append(p, "flags "+strings.Join(flags, ","))
	}
	if s.timeout != 0 {
		p = append(p, "timeout "+duration(s.timeout))
	}
	p = append(p, s.elementLines()...)
	if s.comment != "" {
		p = append(p, fmt.Sprintf("comment %q", s.comment))
	}
	return p
}

// elementLines are the lines of the elements in the description of s, in rows for
// a map.
func (s *set) elementLines() []string {
	var words []string
	for _, e := range s.fixed {
		if e.text != "" {
			words = append(words, e.text)
		}
	}
	switch {
	case words == nil:
		return nil
	case !s.isMap():
		return []string{"elements = { " + strings.Join(words, ", ") + " }"}
	}
	l := []string{"elements = {"}
	const perLine = 4
	for row := range slices.Chunk(words, perLine) {
		l = append(l, "\t"+strings.Join(row, ", ")+",")
	}
	return append(l, "}")
}

// duration formats d in nft syntax.
func duration(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}

// fixedElements are the elements in the description of s.
func (s *set) fixedElements() iter.Seq[*element] {
	return func(yield func(*element) bool) {
		for i := range s.fixed {
			if !yield(&s.fixed[i]) {
				return
			}
		}
	}
}

// flags are the kernel's flags of s. They lack NFT_SET_CONCAT and field lengths,
// which nft sends for intervals only: from 6.2 on the kernel refuses to add a set
// that exists and differs, and so to load a saved ruleset again.
func (s *set) flags() (flags uint32) {
	if s.interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.isMap() {
		flags |= unix.NFT_SET_MAP
	}
	if s.timeout != 0 {
		flags |= unix.NFT_SET_TIMEOUT
	}
	if s.dynamic {
		flags |= unix.NFT_SET_EVAL
	}
	return flags
}

// userData is what nft stores with s.
func (s *set) userData() []byte {
	udata := s.typeof
	if s.interval {
		// Without it nft cannot order the elements of an interval set.
		udata = []byte{udataSetKeyOrder, 4, 2, 0, 0, 0} // big endian
	}
	if s.comment != "" {
		udata = appendUdataString(slices.Clip(udata), udataSetComment, s.comment)
	}
	return udata
}

// appendSet appends the attributes of NFT_MSG_NEWSET. id names the set within
// its transaction.
func appendSet(b []byte, s *set, id uint32) []byte {
	b = appendSetName(b, s)
	b = appendUint32(b, unix.NFTA_SET_FLAGS, s.flags())
	b = appendUint32(b, unix.NFTA_SET_KEY_TYPE, s.key.magic)
	b = appendUint32(b, unix.NFTA_SET_KEY_LEN, s.key.size)
	if s.isMap() {
		b = appendUint32(b, unix.NFTA_SET_DATA_TYPE, s.data.magic)
		b = appendUint32(b, unix.NFTA_SET_DATA_LEN, s.data.size)
	}
	b = appendUint32(b, unix.NFTA_SET_ID, id)
	if s.size != 0 {
		var desc int
		b, desc = openNest(b, unix.NFTA_SET_DESC)
		b = closeAttr(appendUint32(b, unix.NFTA_SET_DESC_SIZE, s.size), desc)
	}
	if s.timeout != 0 {
		b = appendUint64(b, unix.NFTA_SET_TIMEOUT, uint64(s.timeout.Milliseconds()))
	}
	if udata := s.userData(); udata != nil {
		b = appendAttr(b, unix.NFTA_SET_USERDATA, udata)
	}
	return b
}

// appendSetName appends the name of s as in messages about the set itself.
func appendSetName(b []byte, s *set) []byte {
	b = appendString(b, unix.NFTA_SET_TABLE, s.table)
	return appendString(b, unix.NFTA_SET_NAME, s.name)
}

// appendListName appends the name of s as in messages about its elements.
func appendListName(b []byte, s *set) []byte {
	b = appendString(b, unix.NFTA_SET_ELEM_LIST_TABLE, s.table)
	return appendString(b, unix.NFTA_SET_ELEM_LIST_SET, s.name)
}
