// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"net/netip"
	"strconv"
)

// parseLong reads the form of RFC 1639 section 3 at the start of b:
// af,hal,h1,...,hn,pal,p1,p2. The address family is the version number of IP,
// 4 or 6, and the lengths are those of its addresses and ports. It returns the
// length of the form in bytes.
func parseLong(b []byte) (ap netip.AddrPort, n int, r Reason) {
	var v [2 + 16 + 3]int
	count, octet := 0, true
	for ; count < len(v); count++ {
		x, m := parseNumber(b[n:])
		if m == 0 {
			return ap, 0, ReasonSyntax
		}
		v[count], octet = x, octet && x <= 255
		n += m
		if n == len(b) || b[n] != ',' {
			count++
			break
		}
		n++
	}
	hal := v[1]
	switch {
	case hal != 4 && hal != 16 || count != hal+5 || v[2+hal] != 2 || b[n-1] == ',':
		return ap, 0, ReasonSyntax
	case !octet:
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

// appendLong appends the RFC 1639 form of ap.
func appendLong(dst []byte, ap netip.AddrPort) []byte {
	a := ap.Addr()
	if a.Is4() {
		dst = append(dst, "4,4"...)
	} else {
		dst = append(dst, "6,16"...)
	}
	for _, v := range a.AsSlice() {
		dst = append(dst, ',')
		dst = strconv.AppendUint(dst, uint64(v), 10)
	}
	dst = append(dst, ",2,"...)
	dst = strconv.AppendUint(dst, uint64(ap.Port()>>8), 10)
	dst = append(dst, ',')
	return strconv.AppendUint(dst, uint64(ap.Port()&0xff), 10)
}

// findLong finds the RFC 1639 form in the text of a 228 reply.
func findLong(b []byte) (ap netip.AddrPort, at span, r Reason) {
	r = ReasonSyntax
	for i := 0; i < len(b); i++ {
		if !startsList(b, i) {
			continue
		}
		v, n, why := parseLong(b[i:])
		if why == ReasonPlain {
			return v, span{i, i + n}, ReasonPlain
		}
		if why != ReasonSyntax {
			r = why
		}
	}
	return ap, at, r
}
