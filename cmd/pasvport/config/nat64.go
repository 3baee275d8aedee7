// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pasvport/pasvport/ftpalg"
)

// addNAT64 reads PREFIX or PREFIX,POOL.
func addNAT64(c *Config, v string) error {
	prefix, pool, local := strings.Cut(v, ",")
	var t ftpalg.NAT64
	var err error
	if t.Prefix, err = parseNAT64Prefix(strings.TrimSpace(prefix)); err != nil {
		return err
	}
	if local {
		if t.Pool, err = parsePool(strings.TrimSpace(pool)); err != nil {
			return err
		}
	}
	for _, o := range c.NAT64 {
		switch {
		case o == t:
			return nil
		case o.Prefix == t.Prefix && o.Pool.IsValid() != t.Pool.IsValid():
			return &wantError{fmt.Sprintf("a pool with %v or none, and it was given before the other way", t.Prefix)}
		case o.Prefix != t.Prefix && o.Prefix.Overlaps(t.Prefix):
			return &wantError{fmt.Sprintf("prefixes that do not overlap, and %v was given before", o.Prefix)}
		case o.Pool.IsValid() && t.Pool.IsValid() && o.Pool.Overlaps(t.Pool):
			return &wantError{fmt.Sprintf("pools that do not overlap, and %v was given before", o.Pool)}
		}
	}
	c.NAT64 = append(slices.Clip(c.NAT64), t)
	return nil
}

// parseNAT64Prefix reads a prefix of RFC 6052.
func parseNAT64Prefix(v string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(v)
	switch {
	case err != nil || !p.Addr().Is6() || p.Addr().Is4In6():
		return p, errValue
	case !slices.Contains(ftpalg.EmbeddedLens[:], p.Bits()):
		return p, &wantError{"an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits (RFC 6052)"}
	case p != p.Masked():
		return p, &wantError{fmt.Sprintf("no bits behind the prefix: %v", p.Masked())}
	case p.Addr().IsUnspecified() || p.Addr().IsMulticast():
		return p, &wantError{"a prefix of unicast addresses that are not reserved (RFC 4291 sections 2.5 and 2.7)"}
	case p.Addr().As16()[8] != 0:
		return p, &wantError{"zero in bits 64 to 71 of the prefix (RFC 6052 section 2.2)"}
	}
	return p, nil
}

// parsePool reads an IPv4 network, or one address.
func parsePool(v string) (netip.Prefix, error) {
	if a, err := parseUnicast(v); err == nil && a.Is4() {
		return netip.PrefixFrom(a, 32), nil
	}
	p, err := netip.ParsePrefix(v)
	switch {
	case err != nil || !p.Addr().Is4() || p.Bits() == 0:
		return p, errValue
	case p != p.Masked():
		return p, &wantError{fmt.Sprintf("no bits behind the pool's network: %v", p.Masked())}
	}
	return p, nil
}

func nat64Text(c Config) []string {
	var list []string
	for _, t := range c.NAT64 {
		text := t.Prefix.String()
		if t.Pool.IsValid() {
			text += "," + t.Pool.String()
		}
		list = append(list, text)
	}
	return list
}
