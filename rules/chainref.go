// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// A Family is the family of an nftables table (NFPROTO_*).
type Family uint8

// Families that can hold FTP packets.
const (
	FamilyINet Family = unix.NFPROTO_INET
	FamilyIPv4 Family = unix.NFPROTO_IPV4
	FamilyIPv6 Family = unix.NFPROTO_IPV6
)

// String returns nft's word for f.
func (f Family) String() string {
	switch f {
	case FamilyINet:
		return "inet"
	case FamilyIPv4:
		return "ip"
	case FamilyIPv6:
		return "ip6"
	case unix.NFPROTO_NETDEV: // others' alone
		return "netdev"
	}
	return fmt.Sprintf("family %d", uint8(f))
}

// has reports whether tables of family f see packets of family ip, which is
// FamilyIPv4 or FamilyIPv6.
func (f Family) Has(ip Family) bool { return f == FamilyINet || f == ip }

// A ChainRef names a chain of the administrator's ruleset.
type ChainRef struct {
	Family       Family
	Table, Chain string
}

// String returns the form that ParseChainRef parses.
func (r ChainRef) String() string {
	return r.Family.String() + "/" + r.Table + "/" + r.Chain
}

// words is r in nft syntax.
func (r ChainRef) words() string {
	return r.Family.String() + " " + r.Table + " " + r.Chain
}

// ParseChainRef parses "family/table/chain", for instance "inet/filter/forward".
// Install finds out whether the chain exists.
func ParseChainRef(s string) (ChainRef, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return ChainRef{}, fmt.Errorf("chain %q: want family/table/chain, like inet/filter/forward", s)
	}
	r := ChainRef{Table: parts[1], Chain: parts[2]}
	switch parts[0] {
	case "inet":
		r.Family = FamilyINet
	case "ip":
		r.Family = FamilyIPv4
	case "ip6":
		r.Family = FamilyIPv6
	case "bridge":
		// Bridged packets have no routing decision and, without
		// br_netfilter, no conntrack entry that could be expected.
		return ChainRef{}, fmt.Errorf("chain %q: family bridge cannot hold pinholes; use inet, ip or ip6", s)
	default:
		return ChainRef{}, fmt.Errorf("chain %q: family %q is not inet, ip or ip6", s, parts[0])
	}
	for _, name := range parts[1:] {
		if err := checkName(name); err != nil {
			return ChainRef{}, fmt.Errorf("chain %q: %w", s, err)
		}
	}
	return r, nil
}

// maxName keeps "pasvport <table>" within the 128 bytes that nft allows a
// comment (NFTNL_UDATA_COMMENT_MAXLEN).
const maxName = 100

// checkName reports whether name is an identifier of the nft language.
func checkName(name string) error {
	if name == "" {
		return fmt.Errorf("a name is empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("name %.20q... is longer than %d bytes", name, maxName)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.'):
		default:
			return fmt.Errorf("name %q has characters that nft does not allow", name)
		}
	}
	return nil
}
