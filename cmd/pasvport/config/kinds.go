// SPDX-License-Identifier: Apache-2.0

package config

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/pasvport/pasvport/rules"
)

// The types below are the words of the command line, so that they print as they
// were written.

// AllowKind is how the administrator's ruleset accepts data connections.
type AllowKind string

// The ways of --allow.
const (
	AllowRelated AllowKind = "related" // the ruleset accepts ct state related
	AllowMark    AllowKind = "mark"    // the ruleset accepts the Control bit of the ct mark
	AllowChain   AllowKind = "chain"   // a rule of ours at the head of the named chains
)

// Strategy is how the kernel learns of a data connection.
type Strategy string

// The strategies of --strategy.
const (
	StrategyAuto        Strategy = "auto"        // the best that a probe at start finds
	StrategyExpectation Strategy = "expectation" // expectations on the control connection
	StrategyClaim       Strategy = "claim"       // conntrack entries made at the data SYN
)

// FastPath says whether lines may pass in the kernel, unread.
type FastPath string

// The values of --fast-path.
const (
	FastPathAuto FastPath = "auto" // if the kernel supports eBPF programs
	FastPathOff  FastPath = "off"
)

// TLSKind is what happens to a session that starts TLS.
type TLSKind string

// The values of --tls.
const (
	TLSPass    TLSKind = "pass"
	TLSDeny    TLSKind = "deny"
	TLSRequire TLSKind = "require" // logins without TLS are made to fail
	TLSRange   TLSKind = "range"
)

// LogFormat is the format of a log line.
type LogFormat string

// The values of --log-format.
const (
	LogText LogFormat = "text" // key=value
	LogJSON LogFormat = "json"
)

// levels are the values of --log-level.
var levels = []struct {
	name  string
	level slog.Level
}{
	{"debug", slog.LevelDebug},
	{"info", slog.LevelInfo},
	{"warn", slog.LevelWarn},
	{"error", slog.LevelError},
}

// Commands are the permitted commands, in upper case; "SITE CHMOD" is a
// subcommand of SITE.
type Commands struct {
	Allow map[string]bool // the only permitted ones; empty: all
	Deny  map[string]bool // those that are made to fail, besides Config.DenyCommands
}

// Modes are the permitted modes of data connections.
type Modes struct{ Active, Passive bool }

// Families are the address families whose control connections may have data
// connections.
type Families struct{ IPv4, IPv6 bool }

// DataPorts are the ports that an announcement may name; the zero value permits all.
type DataPorts struct{ Active, Passive rules.PortRange }

// LoginFailures is how many failed logins in a time block a client, and for how
// long. The zero value blocks no one.
type LoginFailures struct {
	Most   int
	Within time.Duration
	Block  time.Duration
}

// Outside is an address to announce, or where to find it: exactly one of its fields.
type Outside struct {
	Addr      netip.Addr
	Name      string // in the DNS
	Interface string // of this machine
}

// String formats it as in a configuration.
func (o Outside) String() string {
	switch {
	case o.Name != "":
		return o.Name
	case o.Interface != "":
		return interfacePrefix + o.Interface
	}
	return o.Addr.String()
}

const interfacePrefix = "interface:"

// AdvertisedInterfaces are the interfaces whose addresses are announced, by the
// configuration or one of its policies, in order.
func (c Config) AdvertisedInterfaces() []string {
	var names []string
	add := func(c *Config) {
		for _, o := range c.Advertise {
			if o.Interface != "" {
				names = append(names, o.Interface)
			}
		}
	}
	add(&c)
	for i := range c.Policies {
		add(c.Policies[i].Config)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// PeerWait says which announcements wait until the other firewall has them.
type PeerWait string

// The values of --peer-wait.
const (
	PeerAlways PeerWait = "always"
	PeerNAT    PeerWait = "nat" // announcements of translated sessions
	PeerNever  PeerWait = "never"
)

// Method is how a virtual server chooses a server.
type Method string

// The methods.
const (
	RoundRobin    Method = "round-robin"
	SourceHash    Method = "source-hash"    // by the client's address
	LeastSessions Method = "least-sessions" // relative to weight
)

// VirtualServer spreads the control connections to its addresses over servers.
type VirtualServer struct {
	Name    string
	Listen  []netip.Addr
	Port    uint16 // default: 21
	Method  Method // default: RoundRobin
	Check   Check
	Servers []Server

	// SlowStart is how long a server that comes back gets less than its share,
	// with a growing share. Default: 0, all of it at once.
	SlowStart time.Duration
}

// Server is one server of a virtual server.
type Server struct {
	Name  string       // default: its first address
	Addrs []netip.Addr // at most one of each family
	Port  uint16       // default: that of the virtual server

	// Weight is its share of new sessions, from 0, no sessions, to maxWeight.
	// Default: 1.
	Weight int

	// Backup gives it new sessions only while no regular server of its family
	// accepts any. Default: false.
	Backup bool

	// Advertise are its external addresses, of the families of Addrs, which its
	// announcements show and to which its data connections come. Default: none.
	Advertise []netip.Addr
}

// Check is how servers are checked.
type Check struct {
	Interval time.Duration // 0: no checks. Default: 5 s
	Timeout  time.Duration // of one check. Default: 2 s, or half the interval if that is less
	Rise     int           // how many successful checks in a row bring a server back. Default: 2
	Fall     int           // how many failed checks in a row take one out. Default: 3

	// User and Password log in; without a user the greeting is enough.
	User, Password string
}

// Policy changes settings for some control connections. An empty list of ports,
// clients or servers matches all.
type Policy struct {
	Ports   []rules.PortRange // control ports, as the client dials them
	Clients []netip.Prefix    // the client's own address
	Servers []netip.Prefix    // the server's own address

	// Config has the settings that a policy may change, with their effective
	// values: those for all, changed by the policy. The others are zero.
	Config *Config
}

// Matches reports whether the policy applies to a control connection.
func (p *Policy) Matches(port uint16, client, server netip.Addr) bool {
	has := func(list []netip.Prefix, a netip.Addr) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(n netip.Prefix) bool { return n.Contains(a) })
	}
	ports := len(p.Ports) == 0 || slices.ContainsFunc(p.Ports, contains(port))
	return ports && has(p.Clients, client) && has(p.Servers, server)
}
