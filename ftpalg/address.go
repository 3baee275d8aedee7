// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"net/netip"
	"strconv"
)

// span is a part of a line: line[from:to].
type span struct{ from, to int }

// parseHostPort reads the six numbers h1,h2,h3,h4,p1,p2 of RFC 959 section 4.1.2
// at the start of b, with blanks around the commas if they are permitted. It
// returns the length of the list in bytes.
func parseHostPort(b []byte, blanks bool) (ap netip.AddrPort, n int, r Reason) {
	var v [7]int
	count, n := parseList(b, v[:], blanks)
	if count != 6 {
		return ap, 0, ReasonSyntax
	}
	var octets [6]byte
	for i := range octets {
		if v[i] > 255 {
			return ap, 0, ReasonOctet
		}
		octets[i] = byte(v[i])
	}
	addr := netip.AddrFrom4([4]byte(octets[:4]))
	return netip.AddrPortFrom(addr, uint16(octets[4])<<8|uint16(octets[5])), n, ReasonPlain
}

// parseList reads numbers separated by commas at the start of b. It returns their
// count and their length in bytes, 0 if the list does not end after a number or
// has more numbers than v.
func parseList(b []byte, v []int, blanks bool) (count, n int) {
	for count < len(v) {
		x, m := parseNumber(b[n:])
		if m == 0 {
			return 0, 0
		}
		v[count] = x
		count++
		n += m
		next := n
		if blanks {
			next += skipBlanks(b[next:])
		}
		if next == len(b) || b[next] != ',' {
			return count, n
		}
		n = next + 1
		if blanks {
			n += skipBlanks(b[n:])
		}
	}
	return 0, 0
}

// findList finds a list of numbers that parse can read in the text of a 227 or
// 228 reply. RFC 1123 section 4.1.2.6 asks to scan for them, as neither the words
// nor the parentheses are fixed. A list without blanks has precedence over one
// with blanks.
func findList(b []byte, parse func([]byte, bool) (netip.AddrPort, int, Reason)) (ap netip.AddrPort, at span, r Reason) {
	r = ReasonSyntax
	for _, blanks := range [...]bool{false, true} {
		for i := range b {
			if !startsList(b[:i], blanks) {
				continue
			}
			v, n, why := parse(b[i:], blanks)
			if why == ReasonPlain {
				return v, span{i, i + n}, ReasonPlain
			}
			if why != ReasonSyntax {
				r = why
			}
		}
	}
	return ap, at, r
}

// startsList reports whether a list of numbers may start after a text, rather
// than be continued there.
func startsList(before []byte, blanks bool) bool {
	if n := len(before); n > 0 && isDigit(before[n-1]) {
		return false
	}
	if blanks {
		before = trimBlanks(before)
	}
	before, list := bytes.CutSuffix(before, []byte{','})
	if blanks {
		before = trimBlanks(before)
	}
	return !list || len(before) == 0 || !isDigit(before[len(before)-1])
}

// hostPortNumbers are the six numbers of RFC 959 for ap, which must be IPv4.
func hostPortNumbers(ap netip.AddrPort) []byte {
	return append(ap.Addr().AsSlice(), byte(ap.Port()>>8), byte(ap.Port()))
}

// replaceNumbers appends a list with other numbers in it.
func replaceNumbers(dst, list, numbers []byte) []byte {
	for i := 0; i < len(list); {
		_, n := parseNumber(list[i:])
		if n == 0 {
			dst = append(dst, list[i])
			i++
			continue
		}
		dst = strconv.AppendUint(dst, uint64(numbers[0]), 10)
		numbers = numbers[1:]
		i += n
	}
	return dst
}

// extended is an address in the form of RFC 2428: <d>af<d>addr<d>port<d>.
type extended struct {
	AddrPort           netip.AddrPort // Addr invalid when the field was empty
	family, addr, port span           // where the fields are
}

// parseExtended reads the RFC 2428 form at the start of b. The delimiter is any
// character of the range 33 to 126 that is not a digit.
func parseExtended(b []byte) (e extended, n int, r Reason) {
	if len(b) == 0 || b[0] < 33 || b[0] > 126 || isDigit(b[0]) {
		return e, 0, ReasonSyntax
	}
	var f [3]span
	n = 1
	for i := range f {
		m := bytes.IndexByte(b[n:], b[0])
		if m < 0 {
			return e, 0, ReasonSyntax
		}
		f[i] = span{n, n + m}
		n += m + 1
	}
	port, m := parseNumber(b[f[2].from:f[2].to])
	if m == 0 || m != f[2].to-f[2].from || port > 65535 {
		return e, 0, ReasonSyntax
	}
	e.family, e.addr, e.port = f[0], f[1], f[2]
	addr, r := parseFamily(b[f[0].from:f[0].to], b[f[1].from:f[1].to])
	e.AddrPort = netip.AddrPortFrom(addr, uint16(port))
	return e, n, r
}

// parseFamily reads address family number and address of RFC 2428 section 2.
// Without an address, as in a 229 reply, it returns the invalid one; the family
// may then be missing, too.
func parseFamily(af, text []byte) (netip.Addr, Reason) {
	if len(text) == 0 {
		if v, n := parseNumber(af); n != len(af) || n > 0 && v == 0 {
			return netip.Addr{}, ReasonSyntax
		}
		return netip.Addr{}, ReasonPlain
	}
	addr, ok := parseAddr(text)
	if !ok {
		return netip.Addr{}, ReasonSyntax
	}
	switch family, n := parseNumber(af); {
	case n != len(af):
		return netip.Addr{}, ReasonFamily
	case n == 0 || family == 1 && addr.Is4() || family == 2 && addr.Is6():
		return addr, ReasonPlain
	}
	return netip.Addr{}, ReasonFamily
}

// parseAddr reads an address. The numbers of an IPv4 address are decimal (RFC
// 2428 section 2), even with leading zeros, which some clients write.
func parseAddr(text []byte) (netip.Addr, bool) {
	if len(text) > len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255") {
		return netip.Addr{}, false
	}
	if a, err := netip.ParseAddr(string(text)); err == nil {
		return a, a.Zone() == ""
	}
	var octets [4]byte
	for i := range octets {
		x, n := parseNumber(text)
		if n == 0 || x > 255 {
			return netip.Addr{}, false
		}
		octets[i], text = byte(x), text[n:]
		if i < len(octets)-1 {
			if len(text) == 0 || text[0] != '.' {
				return netip.Addr{}, false
			}
			text = text[1:]
		}
	}
	return netip.AddrFrom4(octets), len(text) == 0
}

// parseNumber reads a decimal number at the start of b and returns its length, 0
// if there is no number or it has more than five digits, not counting leading
// zeros.
func parseNumber(b []byte) (v, n int) {
	for n < len(b) && b[n] == '0' {
		n++
	}
	for digits := 0; n < len(b) && isDigit(b[n]); n++ {
		if digits++; digits > 5 {
			return 0, 0
		}
		v = v*10 + int(b[n]-'0')
	}
	return v, n
}

func isDigit(c byte) bool { return c-'0' < 10 }

// unusable reports whether no other host can reach the address.
func unusable(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() ||
		a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240)
}

var sharedSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

// private reports whether the address has a meaning inside one network only.
func private(a netip.Addr) bool {
	return a.IsPrivate() || sharedSpace.Contains(a)
}

// skipBlanks returns how many spaces and tabs b starts with.
func skipBlanks(b []byte) (n int) {
	for n < len(b) && isBlank(b[n]) {
		n++
	}
	return n
}

// trimBlanks returns b without the spaces and tabs at its end.
func trimBlanks(b []byte) []byte {
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
