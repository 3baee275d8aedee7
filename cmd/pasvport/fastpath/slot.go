// SPDX-License-Identifier: Apache-2.0

package fastpath

import (
	"encoding/binary"
	"net/netip"
	"unsafe"
)

// slot is the state of a connection, shared with the filter. The owner of the
// fields other than state depends on state; see the package comment.
type slot struct {
	state uint32
	phase uint32
	next  [2]uint32 // sequence number of the next byte
	acked [2]uint32 // acknowledgement of the last line that passed
	lines [2]uint32 // that passed since the slot was armed
	left  uint32    // how many more may pass
	verb  [4]byte   // the last command that passed
	total uint64    // lines that ever passed, of any connection that had the slot
	_     [16]byte  // one cache line
}

// The bits of slot.state.
const (
	armed = 1 // lines may pass
	busy  = 2 // a processor is in the middle of the filter
)

// Offsets of the fields for the filter.
const (
	atState = int16(unsafe.Offsetof(slot{}.state))
	atPhase = int16(unsafe.Offsetof(slot{}.phase))
	atNext  = int16(unsafe.Offsetof(slot{}.next))
	atAcked = int16(unsafe.Offsetof(slot{}.acked))
	atLines = int16(unsafe.Offsetof(slot{}.lines))
	atLeft  = int16(unsafe.Offsetof(slot{}.left))
	atVerb  = int16(unsafe.Offsetof(slot{}.verb))
	atTotal = int16(unsafe.Offsetof(slot{}.total))
	slotLen = int(unsafe.Sizeof(slot{}))
)

// slot returns the slot of an index.
func (t *Table) slot(index uint32) *slot {
	return (*slot)(unsafe.Pointer(&t.memory[int(index)*slotLen]))
}

// A key of the look-up is what a packet shows: both addresses, IPv6 ones in 32
// bytes, IPv4 ones in eight followed by a mark that no IPv6 destination of a TCP
// segment has, as it is multicast; then both ports, and zeros.
const (
	keyLen   = 40
	keyPorts = 32
	v4Mark   = 16
)

// Ends are source and destination of a direction's packets before destination
// NAT.
type Ends struct{ Src, Dst netip.AddrPort }

func (e Ends) key() (k [keyLen]byte) {
	b := append(append(k[:0], e.Src.Addr().AsSlice()...), e.Dst.Addr().AsSlice()...)
	if len(b) < keyPorts {
		copy(k[v4Mark:], "\xff\xff\xff\xff")
	}
	binary.BigEndian.PutUint16(k[keyPorts:], e.Src.Port())
	binary.BigEndian.PutUint16(k[keyPorts+2:], e.Dst.Port())
	return k
}
