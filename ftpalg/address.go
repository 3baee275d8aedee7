// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"net/netip"
	"strconv"
)

// span is a part of a line: line[from:to].
type span struct{ from, to int }

// parseHostPort reads the six numbers h1,h2,h3,h4,p1,p2 of RFC 959 section
// 4.1.2 at the start of b. It returns their length in bytes; the byte after
// them is not looked at, but it must not continue the list.
func parseHostPort(b []byte) (ap netip.AddrPort, n int, r Reason) {
	var v [6]byte
	r = ReasonPlain
	for i := range v {
		if i > 0 {
			if n >= len(b) || b[n] != ',' {
				return ap, 0, ReasonSyntax
			}
			n++
		}
		x, m := parseNumber(b[n:])
		if m == 0 {
			return ap, 0, ReasonSyntax
		}
		if x > 255 {
			r = ReasonOctet
		}
		v[i] = byte(x)
		n += m
	}
	if n < len(b) && (b[n] == ',' || isDigit(b[n])) {
		return ap, 0, ReasonSyntax
	}
	if r != ReasonPlain {
		return ap, 0, r
	}
	addr := netip.AddrFrom4([4]byte(v[:4]))
	return netip.AddrPortFrom(addr, uint16(v[4])<<8|uint16(v[5])), n, ReasonPlain
}

// appendHostPort appends the six numbers of RFC 959 for ap, which must be
// IPv4.
func appendHostPort(dst []byte, ap netip.AddrPort) []byte {
	for _, v := range ap.Addr().As4() {
		dst = strconv.AppendUint(dst, uint64(v), 10)
		dst = append(dst, ',')
	}
	dst = strconv.AppendUint(dst, uint64(ap.Port()>>8), 10)
	dst = append(dst, ',')
	return strconv.AppendUint(dst, uint64(ap.Port()&0xff), 10)
}

// findHostPort finds the six numbers in the text of a 227 reply. RFC 1123
// section 4.1.2.6 asks to scan for them, as neither the words nor the
// parentheses are fixed.
func findHostPort(b []byte) (ap netip.AddrPort, at span, r Reason) {
	r = ReasonSyntax
	for i := 0; i < len(b); i++ {
		if !startsList(b, i) {
			continue
		}
		v, n, why := parseHostPort(b[i:])
		if why == ReasonPlain {
			return v, span{i, i + n}, ReasonPlain
		}
		if why == ReasonOctet {
			r = why
		}
	}
	return ap, at, r
}

// startsList reports whether a list of numbers starts at b[i], rather than the
// rest of one.
func startsList(b []byte, i int) bool {
	return isDigit(b[i]) && !(i > 0 && isDigit(b[i-1])) && !(i > 1 && b[i-1] == ',' && isDigit(b[i-2]))
}

// extended is an address in the form of RFC 2428: <d>af<d>addr<d>port<d>.
type extended struct {
	AddrPort   netip.AddrPort // Addr invalid when the field was empty
	addr, port span           // where the fields are
}

// parseExtended reads the RFC 2428 form at the start of b. The delimiter is
// any character of the range 33 to 126 that is not a digit.
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
	e.addr, e.port = f[1], f[2]
	addr, r := parseFamily(b[f[0].from:f[0].to], b[f[1].from:f[1].to])
	e.AddrPort = netip.AddrPortFrom(addr, uint16(port))
	return e, n, r
}

// parseFamily reads address family number and address of RFC 2428 section 2.
// Both empty, as in a 229 reply, give the invalid address.
func parseFamily(af, text []byte) (netip.Addr, Reason) {
	if len(af) == 0 && len(text) == 0 {
		return netip.Addr{}, ReasonPlain
	}
	if len(text) > len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255") {
		return netip.Addr{}, ReasonSyntax
	}
	addr, err := netip.ParseAddr(string(text))
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, ReasonSyntax
	}
	if string(af) == "1" && addr.Is4() || string(af) == "2" && addr.Is6() {
		return addr, ReasonPlain
	}
	return netip.Addr{}, ReasonFamily
}

// parseNumber reads a decimal number of at most five digits at the start of
// b and returns its length, 0 if there is none.
func parseNumber(b []byte) (v, n int) {
	for n < len(b) && n < 5 && isDigit(b[n]) {
		v = v*10 + int(b[n]-'0')
		n++
	}
	if n < len(b) && isDigit(b[n]) {
		return 0, 0
	}
	return v, n
}

func isDigit(c byte) bool { return c-'0' < 10 }

// unusable reports whether nobody on another host can reach the address.
func unusable(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() ||
		a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240)
}

var sharedSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

// private reports whether the address has a meaning inside one network only.
func private(a netip.Addr) bool {
	return a.IsPrivate() || sharedSpace.Contains(a)
}

func appendPort(dst []byte, port uint16) []byte {
	return strconv.AppendUint(dst, uint64(port), 10)
}
