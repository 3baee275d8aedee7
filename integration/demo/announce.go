// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// The demo reads and writes announcements itself, and not with ftpalg: it is to
// be an independent witness of what pasvport does to them.

var (
	// RFC 959 4.1.2: h1,h2,h3,h4,p1,p2, in PORT and in the 227 reply.
	sixNumbers = regexp.MustCompile(`^(?:PORT |227 .*?)\(?(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)\)?`)
	// RFC 2428 2: EPRT |1|132.235.1.2|6275|
	eprtFields = regexp.MustCompile(`^EPRT \|[12]\|([^|]+)\|(\d+)\|`)
	// RFC 2428 3: 229 text (|||6446|); the address is the server's.
	epsvReply = regexp.MustCompile(`^229 .*\(\|\|\|(\d+)\|\)`)
)

// announcement is the PORT or EPRT command for an address.
func announcement(verb string, a netip.AddrPort) string {
	if verb == "EPRT" {
		family := 1
		if a.Addr().Is6() {
			family = 2
		}
		return fmt.Sprintf("EPRT |%d|%s|%d|", family, a.Addr(), a.Port())
	}
	return fmt.Sprintf("PORT %s,%d,%d", strings.ReplaceAll(a.Addr().String(), ".", ","), a.Port()>>8, a.Port()&0xff)
}

// parseAnnouncement finds the address in a line that announces one. server is
// the address that a 229 reply, which carries only a port, speaks of.
func parseAnnouncement(line string, server netip.Addr) (netip.AddrPort, bool) {
	if m := sixNumbers.FindStringSubmatch(line); m != nil {
		addr, err := netip.ParseAddr(strings.Join(m[1:5], "."))
		high, errHigh := strconv.ParseUint(m[5], 10, 8)
		low, errLow := strconv.ParseUint(m[6], 10, 8)
		return netip.AddrPortFrom(addr, uint16(high<<8|low)), err == nil && errHigh == nil && errLow == nil
	}
	if m := eprtFields.FindStringSubmatch(line); m != nil {
		addr, err := netip.ParseAddr(m[1])
		port, errPort := strconv.ParseUint(m[2], 10, 16)
		return netip.AddrPortFrom(addr, uint16(port)), err == nil && errPort == nil
	}
	if m := epsvReply.FindStringSubmatch(line); m != nil {
		port, err := strconv.ParseUint(m[1], 10, 16)
		return netip.AddrPortFrom(server, uint16(port)), err == nil
	}
	return netip.AddrPort{}, false
}
