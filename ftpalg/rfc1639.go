// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"net/netip"
	"slices"
)

// parseLong reads the form of RFC 1639 section 3 at the start of b:
// af,hal,h1,...,hn,pal,p1,p2, with blanks around the commas if they are
// permitted. The address family is the IP version, 4 or 6, and the lengths are
// those of its addresses and ports. It returns the length of the form in bytes.
func parseLong(b []byte, blanks bool) (ap netip.AddrPort, n int, r Reason) {
	var v [2 + 16 + 3 + 1]int
	count, n := parseList(b, v[:], blanks)
	hal := v[1]
	switch {
	case hal != 4 && hal != 16 || count != hal+5 || v[2+hal] != 2:
		return ap, 0, ReasonSyntax
	case slices.Max(v[:count]) > 255:
		return ap, 0, ReasonOctet
	case v[0] != 4 && v[0] != 6:
		return ap, 0, ReasonFamily
	case (v[0] == 4) != (hal == 4):
		return ap, 0, ReasonSyntax
	}
	var a [16]byte
	for i := range hal {
		a[i] = byte(v[2+i])
	}
	addr := netip.AddrFrom16(a)
	if hal == 4 {
		addr = netip.AddrFrom4([4]byte(a[:4]))
	}
	return netip.AddrPortFrom(addr, uint16(v[3+hal])<<8|uint16(v[4+hal])), n, ReasonPlain
}

// longNumbers are the numbers of the RFC 1639 form for ap.
func longNumbers(ap netip.AddrPort) []byte {
	family := byte(4)
	if ap.Addr().Is6() {
		family = 6
	}
	a := ap.Addr().AsSlice()
	return append(append([]byte{family, byte(len(a))}, a...), 2, byte(ap.Port()>>8), byte(ap.Port()))
}
