// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"net/netip"
	"slices"
)

// Repair says which foreign addresses in an offer are replaced by that of
// the control connection's peer.
type Repair uint8

const (
	// RepairUnusable replaces addresses that no other host can use: unspecified,
	// loopback, link-local. Passive offers only. The default.
	RepairUnusable Repair = iota
	// RepairNone replaces nothing.
	RepairNone
	// RepairPrivate replaces those and private addresses (RFC 1918, 4193 and
	// 6598), in active offers too.
	RepairPrivate
	// RepairAll replaces every foreign address, in active offers too.
	RepairAll
)

// String returns "unusable", "none", "private" or "all".
func (r Repair) String() string { return [...]string{"unusable", "none", "private", "all"}[r] }

// DefaultMinDataPort is the lowest port that an offer may name by default
// (RFC 2577 section 3).
const DefaultMinDataPort = 1024

// DefaultOffers is how many offers a connection may make in a minute by default:
// more than a mirror of many small files can need on a fast network.
const DefaultOffers = 60000

// Policy is what the administrator allows. The zero value is the default.
type Policy struct {
	// ThirdParty believes offers that name a third host (FXP).
	ThirdParty bool
	// Repair says which foreign addresses are replaced.
	Repair Repair
	// MinDataPort is the lowest port that an offer may name; 0 stands for
	// DefaultMinDataPort.
	MinDataPort uint16
	// Advertise maps an inside address to the one to announce for it, for a
	// translator further out that is not ours.
	Advertise Addresses
	// External maps a server's own address to an additional one: announcements
	// show it instead of the address that clients dial, and the data connection
	// goes to it.
	External map[netip.Addr]netip.Addr
	// NAT64 are the translators between IPv6 clients and IPv4 servers that
	// connections may pass through; the first that fits counts.
	NAT64 []NAT64
	// DenyTLS makes AUTH fail: the server gets an unknown command instead, and
	// answers it with an error.
	DenyTLS bool
	// RequireTLS makes logins without TLS fail; the error that the client gets
	// says that TLS is required.
	RequireTLS bool
	// Deny are commands, in upper case, that are made to fail in the same way.
	// "SITE CHMOD" is a subcommand of SITE.
	Deny map[string]bool
	// Allow are the only commands that are not made to fail, in the form of Deny;
	// empty: all. SITE allows all of its subcommands.
	Allow map[string]bool
	// NoActive and NoPassive deny a mode: its commands are made to fail, and
	// nothing is opened.
	NoActive, NoPassive bool
	// NoIPv4 and NoIPv6 deny data connections on control connections of a family.
	NoIPv4, NoIPv6 bool
	// ActivePorts and PassivePorts are the ports that offers of the client and of
	// the server may name; the zero value permits all.
	ActivePorts, PassivePorts PortRange
	// MapPorts are the ports that replace an offer's own port in announcements,
	// and are translated to it; the zero value keeps the own port. See
	// Offer.Ports.
	MapPorts PortRange
	// Anonymous says how anonymous logins are treated.
	Anonymous Anonymous
	// MaxLine, MaxArgument and MaxPath are the maximum lengths in bytes of a
	// client's line, a command's argument, and an argument that is a path; 0: no
	// limit.
	MaxLine, MaxArgument, MaxPath int
	// Files make commands fail because of the file that they name.
	Files []FileRule
	// OneWay reports the direction of transfers, see EventWay.
	OneWay bool
	// Checks are the checks that an offer has to pass; 0 stands for Normal.
	Checks Checks
	// Watch reads and judges everything but changes nothing: each segment is to
	// be forwarded as it came, and what would have happened to an offer or a
	// command is an event. The caller then calls neither Announce nor Rewrite.
	Watch bool
	// Offers is how many offers a connection may make in a minute; 0 stands for
	// DefaultOffers. It applies only if segments have a time.
	Offers int
}

// ports are the ports that an offer of mode m may name.
func (p *Policy) ports(m Mode) PortRange {
	if m == Active {
		return p.ActivePorts
	}
	return p.PassivePorts
}

func (p *Policy) checks() Checks {
	if p.Checks == 0 {
		return Normal
	}
	return p.Checks
}

func (p *Policy) offers() int {
	if p.Offers <= 0 {
		return DefaultOffers
	}
	return p.Offers
}

func (p *Policy) minPort() uint16 {
	if p.MinDataPort == 0 {
		return DefaultMinDataPort
	}
	return p.MinDataPort
}

// repairs reports whether a foreign address in an offer of mode m is to be
// replaced.
func (p *Policy) repairs(m Mode, a netip.Addr) bool {
	switch p.Repair {
	case RepairUnusable:
		return m == Passive && unusable(a)
	case RepairPrivate:
		return unusable(a) || private(a)
	case RepairAll:
		return true
	}
	return false
}

// advertise returns what Advertise maps the first mapped address to, otherwise
// fallback.
func (p *Policy) advertise(fallback netip.Addr, inside ...netip.Addr) netip.Addr {
	if p.Advertise == nil {
		return fallback
	}
	for _, a := range inside {
		if out, ok := p.Advertise.Outside(a); ok {
			return out
		}
	}
	return fallback
}

// Endpoints are the addresses of a control connection as conntrack knows them.
// Without NAT Client equals SeenAs and Dialled equals Server.
type Endpoints struct {
	Client  netip.AddrPort // source of the original direction
	Dialled netip.AddrPort // destination of the original direction
	Server  netip.AddrPort // source of the reply direction
	SeenAs  netip.AddrPort // destination of the reply direction: the client as the server sees it
}

// NAT reports whether an address of the connection is translated here.
func (e *Endpoints) NAT() bool {
	return e.Client.Addr() != e.SeenAs.Addr() || e.Dialled.Addr() != e.Server.Addr()
}

// hasSub reports whether a list has a subcommand of SITE.
func (p *Policy) hasSub(list map[string]bool) bool {
	for name := range list {
		if len(name) > len(sitePrefix) && name[:len(sitePrefix)] == sitePrefix {
			return true
		}
	}
	return false
}

// denies reports whether the policy may make a command fail, or needs to see all
// of them.
func (p *Policy) denies() bool {
	return p.DenyTLS || p.RequireTLS || len(p.Deny) > 0 || len(p.Allow) > 0 || p.NoActive || p.NoPassive || p.NoIPv4 || p.NoIPv6 ||
		p.Anonymous != AnonymousAny || p.MaxLine > 0 || p.MaxArgument > 0 || p.MaxPath > 0 || len(p.Files) > 0 || p.OneWay
}

// Addresses map addresses to those to announce for them. They may change at any
// time.
type Addresses interface {
	Outside(inside netip.Addr) (outside netip.Addr, ok bool)
}

// AddressMap is a constant mapping of addresses.
type AddressMap map[netip.Addr]netip.Addr

// Outside implements Addresses.
func (m AddressMap) Outside(inside netip.Addr) (outside netip.Addr, ok bool) {
	outside, ok = m[inside]
	return outside, ok
}

// NAT64 is a translator between IPv6 clients and IPv4 servers.
type NAT64 struct {
	// Prefix is the prefix of the IPv6 addresses that stand for IPv4 ones (RFC
	// 6052).
	Prefix netip.Prefix
	// Pool is the prefix of the IPv4 addresses that stand for IPv6 clients, as
	// this machine sees them. It is the zero Prefix if the translator is another
	// machine further on.
	Pool netip.Prefix
}

// Embedded returns the IPv4 address that an address of the prefix stands for.
func (t *NAT64) Embedded(a netip.Addr) netip.Addr {
	b := a.As16()
	rest := slices.Delete(b[:], 8, 9) // bits 64 to 71 are zero
	at := t.Prefix.Bits() / 8
	if at > 8 {
		at--
	}
	return netip.AddrFrom4([4]byte(rest[at : at+4]))
}

// FileRule makes commands fail by the name of the file that they act on.
type FileRule struct {
	// Patterns are compared with the last element of the path, byte by byte: *
	// matches any number of bytes, ? one, any other byte itself.
	Patterns []string
	// Actions are the denied actions; 0 stands for all.
	Actions FileActions
	// FoldCase ignores the case of ASCII letters.
	FoldCase bool
}

// Anonymous says how anonymous logins (RFC 1635) are treated.
type Anonymous uint8

const (
	// AnonymousAny permits anonymous logins besides others.
	AnonymousAny Anonymous = iota
	// AnonymousOnly permits only anonymous logins.
	AnonymousOnly
	// AnonymousNever permits no anonymous logins.
	AnonymousNever
)

// String returns "any", "only" or "never".
func (a Anonymous) String() string { return [...]string{"any", "only", "never"}[a] }
