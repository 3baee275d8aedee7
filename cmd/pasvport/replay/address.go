// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"math/big"
	"net/netip"
	"strconv"
)

// addresses replaces addresses by others, at random and always in the same way.
// Each keeps its kind for the engine (private, public, unusable) and its length,
// as does each number of it, so that lines keep their lengths.
type addresses struct {
	to    map[netip.Addr]netip.Addr
	taken map[netip.Addr]bool
	err   error
}

func newAddresses() *addresses {
	return &addresses{to: map[netip.Addr]netip.Addr{}, taken: map[netip.Addr]bool{}}
}

var errAddresses = errors.New("there are not enough other addresses of the same length")

// maxTries is how often an unused replacement is tried.
const maxTries = 10_000

// of returns the replacement of an address.
func (m *addresses) of(a netip.Addr) netip.Addr {
	if b, ok := m.to[a]; ok {
		return b
	}
	b := a
	if kept := m.kept(a); kept < a.BitLen()/8 {
		for range maxTries {
			if b = another(a, kept); b != a && !m.taken[b] && m.kept(b) == kept {
				break
			}
			b = netip.Addr{}
		}
	}
	if !b.IsValid() {
		m.err = errAddresses
		b = netip.IPv4Unspecified()
		if a.Is6() {
			b = netip.IPv6Unspecified()
		}
	}
	m.to[a], m.taken[b] = b, true
	return b
}

// kinds are networks whose prefix of so many bytes is kept, as it shows the kind
// of an address; all bytes are kept if no one's address is in it.
var kinds = []struct {
	network netip.Prefix
	kept    int
}{
	{netip.MustParsePrefix("0.0.0.0/8"), 4},
	{netip.MustParsePrefix("10.0.0.0/8"), 1},
	{netip.MustParsePrefix("100.64.0.0/10"), 2},
	{netip.MustParsePrefix("127.0.0.0/8"), 4},
	{netip.MustParsePrefix("169.254.0.0/16"), 2},
	{netip.MustParsePrefix("172.16.0.0/12"), 2},
	{netip.MustParsePrefix("192.168.0.0/16"), 2},
	{netip.MustParsePrefix("224.0.0.0/3"), 4},
	{netip.MustParsePrefix("::/64"), 16},
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("fc00::/7"), 2},
	{netip.MustParsePrefix("fe80::/10"), 2},
	{netip.MustParsePrefix("ff00::/8"), 16},
}

func (m *addresses) kept(a netip.Addr) int {
	for _, k := range kinds {
		if k.network.Contains(a) {
			return k.kept
		}
	}
	return 0
}

// another returns a random address that keeps some bytes of a, and its length.
func another(a netip.Addr, kept int) netip.Addr {
	b := a.AsSlice()
	if a.Is4() {
		for i := kept; i < len(b); i++ {
			b[i] = byte(asLong(int(b[i]), 10, 0, 255))
		}
	} else {
		for i := kept; i < len(b); i += 2 {
			if n := binary.BigEndian.Uint16(b[i:]); n != 0 {
				binary.BigEndian.PutUint16(b[i:], uint16(asLong(int(n), 16, 1, 1<<16-1)))
			}
		}
		if kept == 0 && b[0] >= 0x10 {
			b[0] = 0x20 | b[0]&0x1f // global unicast, RFC 4291 section 2.4
		}
	}
	other, _ := netip.AddrFromSlice(b)
	return other
}

// asLong returns a random number with as many digits, from low to most.
func asLong(n, base, low, most int) int {
	high := base - 1
	for n > high {
		low, high = high+1, (high+1)*base-1
	}
	high = min(high, most)
	r, err := rand.Int(rand.Reader, big.NewInt(int64(high-low+1)))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return low + int(r.Int64())
}

// padded formats a number with at least as many digits as a text.
func padded(n int, base int, like string) string {
	text := strconv.FormatInt(int64(n), base)
	for len(text) < len(like) {
		text = "0" + text
	}
	return text
}
