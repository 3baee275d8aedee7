// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// A proxy in front of a server may announce the client for which it connects:
// HAProxy's PROXY protocol, a line of text (version 1) or a binary header
// (version 2) before the client's first command. The engine skips it. Anyone who
// connects can write one, so nothing is opened for the addresses in it.

// isProxyHeader reads the text form, if it is the client's first line.
func (c *dialogue) isProxyHeader(line []byte) bool {
	if c.spoken || !c.started || c.proxied || c.stream[Original].returns != 1 {
		return false
	}
	f, ok := parseProxyLine(line)
	if ok {
		c.forward(f)
	}
	return ok
}

func (c *dialogue) forward(f Forwarded) {
	c.proxied = true
	c.events = append(c.events, Event{Kind: EventForwarded, Forwarded: &f})
}

// maxProxyLine is the longest text form without its line end.
const maxProxyLine = 105

// parseProxyLine reads PROXY TCP4 or TCP6 with two addresses and two ports, or
// PROXY UNKNOWN with anything, each after one space.
func parseProxyLine(line []byte) (f Forwarded, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("PROXY "))
	if !ok || len(line) > maxProxyLine {
		return f, false
	}
	family, rest, more := bytes.Cut(rest, []byte{' '})
	if string(family) == "UNKNOWN" {
		return f, true
	}
	if four := string(family) == "TCP4"; more && (four || string(family) == "TCP6") {
		w := bytes.Split(rest, []byte{' '})
		if len(w) != 4 {
			return f, false
		}
		f.Source, ok = parseProxyEnd(w[0], w[2], four)
		if ok {
			f.Dest, ok = parseProxyEnd(w[1], w[3], four)
		}
		return f, ok
	}
	return f, false
}

func parseProxyEnd(addr, port []byte, four bool) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(string(addr))
	n, m := parseNumber(port)
	ok := err == nil && a.Is4() == four && a.Zone() == "" && m > 0 && m == len(port) && n <= 65535 && (port[0] != '0' || m == 1)
	return netip.AddrPortFrom(a, uint16(n)), ok
}

// proxySignature begins the binary form.
var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

const (
	proxyFixed = 16  // the signature, version and command, family, length
	maxProxy   = 536 // with addresses and extensions
)

// stepOverProxy cuts the binary form off the client's first bytes and returns
// what follows. While it is incomplete it is kept as if it were the start of a
// line.
func (c *Conn) stepOverProxy(s *stream, p []byte) []byte {
	if c.cur.dir != Original || c.spoken || !c.started || c.proxied || !c.startSet || s.lineStart() != c.start {
		return p
	}
	kept := len(s.line)
	b := p
	if kept > 0 {
		b = append(s.line[:kept:kept], p...)
	}
	switch f, size, ok := parseProxy(b); {
	case ok && size <= len(b):
		c.forward(f)
		s.next += uint32(size - kept)
		s.line = s.line[:0]
		return p[size-kept:]
	// Where commands are denied the bytes must not turn out to be something else.
	case ok && (len(b) >= proxyFixed || !c.judges):
		s.keep(p)
		return nil
	case kept > 0 && s.line[0] == proxySignature[0]: // there are line ends among what was kept
		s.next = c.start
		s.line = s.line[:0]
		return b
	}
	return p
}

// parseProxy reads the binary form at the start of b and returns its size, which
// may exceed b. ok is false if it is something else.
func parseProxy(b []byte) (f Forwarded, size int, ok bool) {
	n := min(len(b), len(proxySignature))
	if n == 0 || !bytes.Equal(b[:n], proxySignature[:n]) {
		return f, 0, false
	}
	if len(b) < proxyFixed {
		return f, proxyFixed, len(b) <= n || b[n] == 0x20 || b[n] == 0x21
	}
	command, family := b[12], b[13]
	size = proxyFixed + int(binary.BigEndian.Uint16(b[14:]))
	addr := map[byte]int{0x00: 0, 0x11: 4, 0x21: 16}
	bytesOf, known := addr[family]
	if command != 0x20 && command != 0x21 || !known || size > maxProxy || size < proxyFixed+2*bytesOf+min(bytesOf, 4) {
		return f, 0, false
	}
	if command == 0x21 && bytesOf > 0 && len(b) >= size {
		a := b[proxyFixed:]
		src, _ := netip.AddrFromSlice(a[:bytesOf])
		dst, _ := netip.AddrFromSlice(a[bytesOf : 2*bytesOf])
		f.Source = netip.AddrPortFrom(src, binary.BigEndian.Uint16(a[2*bytesOf:]))
		f.Dest = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(a[2*bytesOf+2:]))
	}
	return f, size, true
}
