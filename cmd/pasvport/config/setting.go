// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// maxLimit is the highest value of a limit: more control connections than a
// tracker's table has entries for.
const maxLimit = 1 << 20

// setting is one flag and one key of the file.
type setting struct {
	name  string // of the flag and of the key
	value string // what stands for the value in the help text
	usage string // help text
	want  string // what is allowed, the end of an error line

	// many settings may be given more than once, and as a list in the file;
	// of the others the last one counts.
	many bool

	// toggle settings need no value on the command line.
	toggle bool

	// reset, where there is one, takes the default away before the first value.
	reset func(*Config)

	// add takes one value as it was written. A *wantError says what is allowed
	// when the text of want is too general; any other error is not printed.
	add func(*Config, string) error

	// parse reads the value of a key that is mappings, and no flag; add and
	// text are nil then.
	parse func(name string, n *yaml.Node) ([]mapping, error)

	// text is the value of a Config as it would be written.
	text func(Config) []string
}

// wantError says what is allowed in place of one particular value.
type wantError struct{ want string }

func (e *wantError) Error() string { return "want " + e.want }

// errValue is a value that the general text of its setting explains.
var errValue = errors.New("not allowed")

// settings are all settings in the order of the help text and of the reference
// file. docs/pasvport.yaml is checked against this table by a test.
var settings = []setting{
	{
		name: "port", value: "N[,N][,N-M]", many: true,
		usage: "control ports, one, a range or a list; repeatable",
		want:  "a port from 1 to 65535, a range such as 8021-8025, or a list of them",
		reset: func(c *Config) { c.Ports = nil },
		add:   addPorts,
		text:  func(c Config) []string { return []string{strings.Join(c.PortList(), ",")} },
	},
	{
		name: "control-socket", value: "PATH",
		usage: "unix socket for status, sessions and servers; empty: none",
		want:  fmt.Sprintf("a path of at most %d bytes, or nothing for no socket", maxSocketPath),
		add:   setControlSocket,
		text:  func(c Config) []string { return []string{c.ControlSocket} },
	},
	{
		name: "metrics", value: "HOST:PORT",
		usage: "address of the Prometheus listener; empty: none",
		want:  "HOST:PORT such as 127.0.0.1:9121, [::1]:9121 or :9121, or nothing for no listener",
		add:   setMetrics,
		text:  func(c Config) []string { return []string{c.Metrics} },
	},
	{
		name: "allow", value: "WAY", many: true,
		usage: "how the ruleset accepts data connections: related (it has ct state related), mark (it accepts our ct mark), chain=FAMILY/TABLE/CHAIN[,...] (a rule of ours at the head of these chains)",
		want:  "related, mark, or chain=FAMILY/TABLE/CHAIN[,FAMILY/TABLE/CHAIN...] with family inet, ip or ip6",
		reset: func(c *Config) { c.Allow, c.Chains = "", nil },
		add:   addAllow,
		text:  func(c Config) []string { return []string{c.AllowText()} },
	},
	word("strategy", "how the kernel learns of data connections", func(c *Config) *Strategy { return &c.Strategy },
		StrategyAuto, StrategyExpectation, StrategyClaim),
	word("carrier", "what control connections are given for it; auto tries the kernel", func(c *Config) *Carrier { return &c.Carrier },
		CarrierAuto, CarrierSane, CarrierBare, CarrierNone),
	word("queue", "how packets are queued: nft's queue expression or the NFQUEUE target of xtables; auto tries the kernel",
		func(c *Config) *Queue { return &c.Queue }, QueueAuto, QueueNative, QueueXT),
	word("fast-path", "lines that nothing depends on pass in the kernel, unread: auto (where it lets us load an eBPF program), off", func(c *Config) *FastPath { return &c.FastPath },
		FastPathAuto, FastPathOff),
	{
		name: "third-party", value: "deny|allow",
		usage: "pinholes for addresses that are not the control peer's (FXP)",
		want:  "deny or allow",
		add:   func(c *Config, v string) error { return setEither(&c.ThirdParty, v, "deny", "allow") },
		text:  func(c Config) []string { return []string{either(c.ThirdParty, "deny", "allow")} },
	},
	{
		name: "advertise", value: "INSIDE=OUTSIDE", many: true,
		usage: "address to announce for a server or client behind somebody else's NAT; repeatable",
		want:  "INSIDE=OUTSIDE, two unicast addresses of one family, such as 10.0.0.5=203.0.113.5",
		reset: func(c *Config) { c.Advertise = nil },
		add:   addAdvertise,
		text:  advertiseText,
	},
	word("repair", "foreign announced addresses to replace by the control peer's", func(c *Config) *Repair { return &c.Repair },
		RepairNone, RepairUnusable, RepairPrivate, RepairAll),
	number("min-data-port", "PORT", "lowest port that an offer may name", 1, 65535,
		func(c *Config) *uint16 { return &c.MinDataPort }),
	{
		name: "checks", value: "LIST", many: true,
		usage: "checks of the protocol: lenient, normal or strict, then names to add, or to leave out with a '-' in front; repeatable",
		want:  "lenient, normal, strict, or the name of a check of docs/protocol.md with or without '-' in front, or a list of them",
		reset: func(c *Config) { c.Checks = ftpalg.Normal },
		add:   addChecks,
		text:  func(c Config) []string { return []string{c.Checks.String()} },
	},
	{
		name: "deny-command", value: "VERB[,VERB]", many: true,
		usage: "commands that are made to fail, such as SITE; repeatable",
		want:  "commands of three or four letters, such as SITE,DELE",
		reset: func(c *Config) { c.DenyCommands = nil },
		add:   addDenied,
		text:  deniedText,
	},
	number("max-offers", "N", "announcements that a control connection may make in a minute", 1, maxLimit,
		func(c *Config) *int { return &c.MaxOffers }),
	number("max-sessions", "N", "control connections that are read at once", 1, maxLimit,
		func(c *Config) *int { return &c.MaxSessions }),
	number("max-client-sessions", "N", "control connections of one client that are read at once", 1, maxLimit,
		func(c *Config) *int { return &c.MaxClientSessions }),
	number("max-pinholes", "N", "pinholes that are open at once", 1, maxLimit,
		func(c *Config) *int { return &c.MaxPinholes }),
	number("max-client-pinholes", "N", "pinholes that are open at once for one client's sessions", 1, maxLimit,
		func(c *Config) *int { return &c.MaxClientPinholes }),
	{
		name: "strict-active-port", value: "on|off", toggle: true,
		usage: "active data must come from control port - 1",
		want:  "on or off",
		add:   func(c *Config, v string) error { return setToggle(&c.StrictActivePort, v) },
		text:  func(c Config) []string { return []string{either(c.StrictActivePort, "off", "on")} },
	},
	{
		name: "pinhole-timeout", value: "DURATION",
		usage: "how long an unused pinhole stays",
		want:  "a duration such as 60s or 2m, from 1ms to 1h",
		add:   setPinholeTimeout,
		text:  func(c Config) []string { return []string{durationText(c.PinholeTimeout)} },
	},
	{
		name: "reset-stale", value: "on|off",
		usage: "end with a TCP reset what still sends on a control connection that the tracker has lost and that cannot go on",
		want:  "on or off",
		add:   func(c *Config, v string) error { return setToggle(&c.ResetStale, v) },
		text:  func(c Config) []string { return []string{either(c.ResetStale, "off", "on")} },
	},
	idle("keepalive", "probe both ends of a control connection that is idle for that long (needs CAP_NET_RAW)",
		func(c *Config) *time.Duration { return &c.Keepalive }),
	idle("session-idle", "reset both ends of a control connection that is idle for that long (needs CAP_NET_RAW)",
		func(c *Config) *time.Duration { return &c.SessionIdle }),
	{
		name: "tls", value: "WAY",
		usage: "FTPS sessions: pass (leave them alone), deny, or range=LOW-HIGH (data ports for them)",
		want:  "pass, deny, or range=LOW-HIGH with ports from 1 to 65535",
		add:   setTLS,
		text:  func(c Config) []string { return []string{c.TLSText()} },
	},
	number("tls-parallel", "N", "data connections that an FTPS session may have at once with --tls range", 1, 1000,
		func(c *Config) *int { return &c.TLSParallel }),
	{
		name: "tls-port", value: "N[,N][,N-M]", many: true,
		usage: "control ports of implicit TLS, such as 990; repeatable",
		want:  "a port from 1 to 65535, a range such as 990-992, or a list of them",
		reset: func(c *Config) { c.TLSPorts = nil },
		add:   addTLSPorts,
		text: func(c Config) []string {
			if len(c.TLSPorts) == 0 {
				return nil
			}
			return []string{strings.Join(portNames(c.TLSPorts), ",")}
		},
	},
	{
		name: "fail", value: "open|closed",
		usage: "what happens to control packets without a daemon",
		want:  "open or closed",
		add:   func(c *Config, v string) error { return setEither(&c.FailClosed, v, "open", "closed") },
		text:  func(c Config) []string { return []string{either(c.FailClosed, "open", "closed")} },
	},
	number("queue-num", "N", "first queue number", 1, 65534, func(c *Config) *uint16 { return &c.QueueNum }),
	number("queues", "N", "how many queues, from the first number up (default: number of cores)", 1, MaxQueues,
		func(c *Config) *int { return &c.Queues }),
	{
		name: "table", value: "NAME",
		usage: "name of our nftables table",
		want:  fmt.Sprintf("a letter or '_', then letters, digits, '_', '-' or '.', at most %d in all", maxTable),
		add:   setTable,
		text:  func(c Config) []string { return []string{c.Table} },
	},
	{
		name: "ct-mark", value: "BITS",
		usage: "the two ct mark bits that are ours: control connection, opaque",
		want:  "a 32 bit number with exactly two bits set, such as 0x0c000000",
		add:   setCTMark,
		text:  func(c Config) []string { return []string{fmt.Sprintf("0x%08x", c.CTMark)} },
	},
	{
		name: "user", value: "NAME",
		usage: "user to become when root starts it, keeping CAP_NET_ADMIN alone; empty: none",
		want:  "the name of a user, or nothing",
		add:   setUser,
		text:  func(c Config) []string { return []string{c.User} },
	},
	word("log-format", "form of a log line", func(c *Config) *LogFormat { return &c.LogFormat }, LogText, LogJSON),
	{
		name: "log-level", value: "LEVEL",
		usage: "lowest level that is logged: debug, info, warn, error",
		want:  "debug, info, warn or error",
		add:   setLogLevel,
		text:  func(c Config) []string { return []string{levelText(c.LogLevel)} },
	},
}

// lookup returns the setting of that name.
func lookup(name string) (*setting, bool) {
	for i := range settings {
		if settings[i].name == name {
			return &settings[i], true
		}
	}
	return nil, false
}

// word is a setting with a few words to choose from.
func word[T ~string](name, usage string, field func(*Config) *T, words ...T) setting {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	last := len(texts) - 1
	return setting{
		name: name, value: strings.Join(texts, "|"), usage: usage,
		want: strings.Join(texts[:last], ", ") + " or " + texts[last],
		add: func(c *Config, v string) error {
			for _, w := range words {
				if v == string(w) {
					*field(c) = w
					return nil
				}
			}
			return errValue
		},
		text: func(c Config) []string { return []string{string(*field(&c))} },
	}
}

// number is a setting with a decimal number from low to high.
func number[T int | uint16](name, value, usage string, low, high int, field func(*Config) *T) setting {
	return setting{
		name: name, value: value, usage: usage,
		want: fmt.Sprintf("a number from %d to %d", low, high),
		add: func(c *Config, v string) error {
			n, err := parseNumber(v, low, high)
			*field(c) = T(n)
			return err
		},
		text: func(c Config) []string { return []string{fmt.Sprint(*field(&c))} },
	}
}

// levelText is the name of a level of the table.
func levelText(l slog.Level) string {
	for _, e := range levels {
		if e.level == l {
			return e.name
		}
	}
	return l.String()
}

// PortList returns the control ports as they would be written, such as "21" and
// "8021-8025".
func (c Config) PortList() []string { return portNames(c.Ports) }

func portNames(ports []rules.PortRange) []string {
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = p.String()
	}
	return list
}

// AllowText returns the way of --allow as it would be written.
func (c Config) AllowText() string {
	if c.Allow != AllowChain {
		return string(c.Allow)
	}
	refs := make([]string, len(c.Chains))
	for i, r := range c.Chains {
		refs[i] = r.String()
	}
	return "chain=" + strings.Join(refs, ",")
}

// TLSText returns the way of --tls as it would be written.
func (c Config) TLSText() string {
	if c.TLS != TLSRange {
		return string(c.TLS)
	}
	return fmt.Sprintf("range=%d-%d", c.TLSRange.Low, c.TLSRange.High)
}
