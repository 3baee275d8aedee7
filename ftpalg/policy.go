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
	// Advertise maps an address inside to the one that is to be announced
	// for it, where a translator further out is not ours.
	Advertise Addresses
	// External maps a server's own address to one that it has besides the
	// one that clients dial: an announcement with an address shows it, and
	// the data connection comes to it.
	External map[netip.Addr]netip.Addr
	// NAT64 are the translators between IPv6 clients and IPv4 servers that
	// connections may come through; the first that fits counts.
	NAT64 []NAT64
	// DenyTLS makes AUTH fail: the server is sent a command that it does not
	// know in its place, and answers with an error itself.
	DenyTLS bool
	// RequireTLS makes logins in the clear fail; the error that the client gets says
	// that TLS is required.
	RequireTLS bool
	// Deny are commands, in upper case, that are made to fail in the same
	// way. "SITE CHMOD" is a subcommand of SITE.
	Deny map[string]bool
	// Allow are the only commands that are not made to fail, written as in Deny;
	// empty: all. SITE allows all of its subcommands.
	Allow map[string]bool
	// NoActive and NoPassive deny a mode: its commands are made to fail, and
	// nothing is opened.
	NoActive, NoPassive bool
	// NoIPv4 and NoIPv6 deny data connections on control connections of a family.
	NoIPv4, NoIPv6 bool
	// ActivePorts and PassivePorts are the ports that an offer may name, those of
	// the client and of the server; the zero value permits all.
	ActivePorts, PassivePorts PortRange
	// MapPorts are ports one of which is announced in place of an offer's own, and
	// translated to it; the zero value: its own is. See Offer.Ports.
	MapPorts PortRange
	// Anonymous says what becomes of anonymous logins.
	Anonymous Anonymous
	// MaxLine, MaxArgument and MaxPath are how many bytes a client's line, a
	// command's argument, and one that is a path may have; 0: no limit.
	MaxLine, MaxArgument, MaxPath int
	// Files are commands that are made to fail by the file that they name.
	Files []FileRule
	// OneWay has the caller told which way a transfer goes, see EventWay.
	OneWay bool
	// Checks are those that an offer has to pass; 0 stands for Normal.
	Checks Checks
	// Watch has everything read and judged, and nothing changed: each segment is
	// to be forwarded as it came, and what an offer or a command would meet is an event.
	// Then the caller calls neither Announce nor Rewrite.
	Watch bool
	// Offers is how many offers a connection may make in a minute; 0 stands for
	// DefaultOffers. It holds only where segments have a time.
	Offers int
}

// ports are those that an offer of mode m may name.
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

// advertise returns the first address that Advertise gives for one of the
// addresses, else fallback.
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

// denies reports whether the policy may have a command fail, or needs to see all of
// them.
func (p *Policy) denies() bool {
	return p.DenyTLS || p.RequireTLS || len(p.Deny) > 0 || len(p.Allow) > 0 || p.NoActive || p.NoPassive || p.NoIPv4 || p.NoIPv6 ||
		p.Anonymous != AnonymousAny || p.MaxLine > 0 || p.MaxArgument > 0 || p.MaxPath > 0 || len(p.Files) > 0 || p.OneWay
}

// Addresses are those to announce for others. They may change at any time.
type Addresses interface {
	Outside(inside netip.Addr) (outside netip.Addr, ok bool)
}

// AddressMap are addresses that do not change.
type AddressMap map[netip.Addr]netip.Addr

// Outside implements Addresses.
func (m AddressMap) Outside(inside netip.Addr) (outside netip.Addr, ok bool) {
	outside, ok = m[inside]
	return outside, ok
}

// NAT64 is a translator between IPv6 clients and IPv4 servers.
type NAT64 struct {
	// Prefix are the IPv6 addresses that stand for IPv4 ones (RFC 6052).
	Prefix netip.Prefix
	// Pool are the IPv4 addresses that stand for IPv6 clients, as this machine
	// sees them. It is the zero Prefix if the translator is another machine
	// further on.
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

// FileRule makes commands fail by the name of the file that they are about.
type FileRule struct {
	// Patterns are compared with the last element of the path, byte by byte: * is
	// any number of bytes, ? one, any other byte itself.
	Patterns []string
	// Actions are what is denied; 0 stands for all.
	Actions FileActions
	// FoldCase takes the letters of ASCII in upper and lower case for the same.
	FoldCase bool
}

// Anonymous says what becomes of anonymous logins (RFC 1635).
type Anonymous uint8

const (
	// AnonymousAny permits them beside others.
	AnonymousAny Anonymous = iota
	// AnonymousOnly permits no others.
	AnonymousOnly
	// AnonymousNever permits none.
	AnonymousNever
)

// String returns "any", "only" or "never".
func (a Anonymous) String() string { return [...]string{"any", "only", "never"}[a] }
