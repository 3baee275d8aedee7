// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"bytes"
	"encoding/binary"
)

// A truth is whether something holds for a packet some of whose properties are
// unknown.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

func (t truth) not() truth { return yes - t }

func certain(b bool) truth {
	if b {
		return yes
	}
	return no
}

// A value is what an expression loads from the simulated packet, byte for byte as
// in the kernel's registers. Bits may be unknown; a number may be known to lie in
// a range; and some values may be known to be excluded.
type value struct {
	name  string // in nft syntax, to explain why the answer is unknown
	bits  []byte
	known []byte // mask of the bits that are known

	ranged    bool // a big endian number of two bytes from low to high
	low, high uint16

	not [][]byte // excluded values
}

func known(name string, bits []byte) value {
	return value{name: name, bits: bits, known: bytes.Repeat([]byte{0xff}, len(bits))}
}

func unknown(name string, n int) value {
	return value{name: name, bits: make([]byte, n), known: make([]byte, n)}
}

// partly is a host order word of which only the bits in mask are known.
func partly(name string, word, mask uint32) value {
	return value{name: name, bits: host32(word & mask), known: host32(mask)}
}

// inRange is a port of which only bounds are known.
func inRange(name string, r PortRange) value {
	if r.Low == r.High {
		return known(name, binary.BigEndian.AppendUint16(nil, r.Low))
	}
	v := unknown(name, 2)
	v.ranged, v.low, v.high = true, r.Low, r.High
	return v
}

// whole reports whether every bit is known.
func (v value) whole() bool {
	for _, k := range v.known {
		if k != 0xff {
			return false
		}
	}
	return true
}

// number is a register of one or two bytes as a big endian number.
func number(b []byte) uint16 {
	var n uint16
	for _, x := range b {
		n = n<<8 | uint16(x)
	}
	return n
}

// equals compares the beginning of v with data, as nft's cmp does.
func (v value) equals(data []byte) truth {
	if len(data) > len(v.bits) {
		return maybe
	}
	all := true
	for i, d := range data {
		if (v.bits[i]^d)&v.known[i] != 0 {
			return no
		}
		all = all && v.known[i] == 0xff
	}
	if all {
		return yes
	}
	if v.ranged && len(data) == 2 && (number(data) < v.low || number(data) > v.high) {
		return no
	}
	for _, other := range v.not {
		// A name's beginning that ends with a zero is the whole name.
		if bytes.Equal(other, data) || len(data) > 1 && data[len(data)-1] == 0 && bytes.HasPrefix(other, data) {
			return no
		}
	}
	return maybe
}

// within reports whether v is from low to high, both included, in the order of
// the kernel's memcmp.
func (v value) within(low, high []byte) truth {
	if len(low) != len(high) || len(low) > len(v.bits) {
		return maybe
	}
	if v.ranged && len(low) == 2 {
		switch a, b := number(low), number(high); {
		case v.low >= a && v.high <= b:
			return yes
		case v.high < a || v.low > b:
			return no
		}
		return maybe
	}
	// The least and the greatest possible v.
	least, most := make([]byte, len(low)), make([]byte, len(low))
	for i := range low {
		least[i] = v.bits[i] & v.known[i]
		most[i] = least[i] | ^v.known[i]
	}
	switch {
	case bytes.Compare(least, low) >= 0 && bytes.Compare(most, high) <= 0:
		return yes
	case bytes.Compare(most, low) < 0 || bytes.Compare(least, high) > 0:
		return no
	}
	return maybe
}

// less reports whether v < data.
func (v value) less(data []byte) truth {
	if len(data) == 0 || len(data) > len(v.bits) {
		return maybe
	}
	if bytes.Count(data, []byte{0}) == len(data) {
		return no
	}
	return v.within(make([]byte, len(data)), before(data))
}

// before is the predecessor of a big endian number that is not 0.
func before(data []byte) []byte {
	b := bytes.Clone(data)
	for i := len(b) - 1; i >= 0; i-- {
		b[i]--
		if b[i] != 0xff {
			break
		}
	}
	return b
}

// masked is v & mask ^ xor: bits that the mask clears are known.
func (v value) masked(mask, xor []byte) value {
	n := min(len(v.bits), len(mask), len(xor))
	out := value{name: v.asked(mask), bits: make([]byte, n), known: make([]byte, n), ranged: v.ranged, low: v.low, high: v.high, not: v.not}
	for i := range n {
		out.bits[i] = v.bits[i]&v.known[i]&mask[i] ^ xor[i]
		out.known[i] = v.known[i] | ^mask[i]
		if mask[i] != 0xff || xor[i] != 0 {
			out.ranged, out.not = false, nil
		}
	}
	return out
}

// swapped is v with the bytes of each word of size bytes reversed.
func (v value) swapped(size int) value {
	out := value{name: v.name, bits: bytes.Clone(v.bits), known: bytes.Clone(v.known)}
	if size < 1 || binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return out
	}
	for at := 0; at+size <= len(v.bits); at += size {
		for i := range size {
			out.bits[at+i], out.known[at+i] = v.bits[at+size-1-i], v.known[at+size-1-i]
		}
	}
	return out
}
