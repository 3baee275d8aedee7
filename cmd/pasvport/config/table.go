// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// settings are all settings in the order of the help text and of the reference
// file. Tests check docs/pasvport.yaml and docs/operations.md against this table.
var settings = keys{
	{
		name: "port", value: "N[,N][,N-M]", many: true, facts: live | inRules,
		usage:  "control ports, one, a range or a list; repeatable",
		want:   "a port from 1 to 65535, a range such as 8021-8025, or a list of them",
		fields: func(c *Config) []any { return []any{&c.Ports} },
		reset:  func(c *Config) { c.Ports = nil },
		add:    addPorts,
		text:   func(c Config) []string { return []string{strings.Join(c.PortList(), ",")} },
	},
	{
		name: "control-socket", value: "PATH", facts: restart,
		usage:  "unix socket for status, sessions and servers; empty: none",
		want:   fmt.Sprintf("a path of at most %d bytes, or nothing for no socket", maxSocketPath),
		fields: func(c *Config) []any { return []any{&c.ControlSocket} },
		add:    setControlSocket,
		text:   func(c Config) []string { return []string{c.ControlSocket} },
	},
	{
		name: "metrics", value: "HOST:PORT", facts: restart,
		usage:  "address of the Prometheus listener; empty: none",
		want:   "HOST:PORT such as 127.0.0.1:9121, [::1]:9121 or :9121, or nothing for no listener",
		fields: func(c *Config) []any { return []any{&c.Metrics} },
		add:    setMetrics,
		text:   func(c Config) []string { return []string{c.Metrics} },
	},
	{
		name: "allow", value: "WAY", many: true, words: []string{"related", "mark", "chain="}, facts: live | inRules,
		usage:  "how the ruleset accepts data connections: related (it has ct state related), mark (it accepts our ct mark), chain=FAMILY/TABLE/CHAIN[,...] (a rule of ours at the head of these chains)",
		want:   "related, mark, or chain=FAMILY/TABLE/CHAIN[,FAMILY/TABLE/CHAIN...] with family inet, ip or ip6",
		fields: func(c *Config) []any { return []any{&c.Allow, &c.Chains} },
		reset:  func(c *Config) { c.Allow, c.Chains = "", nil },
		add:    addAllow,
		text:   func(c Config) []string { return []string{c.AllowText()} },
	},
	word("strategy", "how the kernel learns of data connections", restart, func(c *Config) *Strategy { return &c.Strategy },
		StrategyAuto, StrategyExpectation, StrategyClaim),
	word("carrier", "how control connections are prepared to carry expectations; auto probes the kernel", restart, func(c *Config) *rules.Carrier { return &c.Carrier },
		rules.CarrierAuto, rules.CarrierSane, rules.CarrierBare, rules.CarrierNone),
	word("queue", "how packets are queued: nft's queue expression or the NFQUEUE target of xtables; auto tries the kernel", restart,
		func(c *Config) *rules.QueueKind { return &c.Queue }, rules.QueueAuto, rules.QueueNative, rules.QueueXT),
	word("fast-path", "let lines that cannot affect a data connection bypass the daemon (eBPF): auto (where the kernel permits it), off", restart|inRules,
		func(c *Config) *FastPath { return &c.FastPath }, FastPathAuto, FastPathOff),
	either("third-party", "pinholes for addresses that are not the control peer's (FXP)", live|inPolicy,
		func(c *Config) *bool { return &c.ThirdParty }, "deny", "allow"),
	{
		name: "advertise", value: "INSIDE=OUTSIDE", many: true, facts: live | inPolicy,
		usage:  "address to announce for a server or client behind someone else's NAT, or a DNS name or interface:NAME that has it; repeatable",
		want:   "INSIDE=OUTSIDE, two unicast addresses of one family, such as 10.0.0.5=203.0.113.5, or for OUTSIDE a DNS name or interface:NAME",
		fields: func(c *Config) []any { return []any{&c.Advertise} },
		reset:  func(c *Config) { c.Advertise = nil },
		add:    addAdvertise,
		text:   advertiseText,
	},
	{
		name: "nat64", value: "PREFIX[,POOL]", many: true, facts: live | inPolicy,
		usage:  "translator between IPv6 clients and IPv4 servers (RFC 6384): the prefix that stands for IPv4 servers, and, if it is on this machine, the IPv4 addresses that stand for IPv6 clients; repeatable",
		want:   "PREFIX or PREFIX,POOL, an IPv6 prefix of RFC 6052 and an IPv4 network, such as 64:ff9b::/96,192.168.255.0/24",
		fields: func(c *Config) []any { return []any{&c.NAT64} },
		reset:  func(c *Config) { c.NAT64 = nil },
		add:    addNAT64,
		text:   nat64Text,
	},
	word("repair", "foreign announced addresses to replace by the control peer's", live|inPolicy, func(c *Config) *ftpalg.Repair { return &c.Repair },
		ftpalg.RepairNone, ftpalg.RepairUnusable, ftpalg.RepairPrivate, ftpalg.RepairAll),
	number("min-data-port", "PORT", "lowest port that an offer may name", live|inPolicy, 1, 65535,
		func(c *Config) *uint16 { return &c.MinDataPort }),
	{
		name: "checks", value: "LIST", many: true, words: checkWords(), facts: live | inPolicy,
		usage:  "checks of the protocol: lenient, normal or strict, then names to add, or to leave out with a '-' in front; repeatable",
		want:   "lenient, normal, strict, or the name of a check of docs/protocol.md with or without '-' in front, or a list of them",
		fields: func(c *Config) []any { return []any{&c.Checks} },
		reset:  func(c *Config) { c.Checks = ftpalg.Normal },
		add:    addChecks,
		text:   func(c Config) []string { return []string{c.Checks.String()} },
	},
	{
		name: "deny-command", value: "VERB[,VERB]", many: true, facts: live | inPolicy,
		usage:  "commands that are made to fail, such as SITE; repeatable",
		want:   "commands of three or four letters, such as SITE,DELE, or SITE CHMOD",
		fields: func(c *Config) []any { return []any{&c.DenyCommands} },
		reset:  func(c *Config) { c.DenyCommands = nil },
		add:    addDenied,
		text:   deniedText,
	},
	{
		name: commandsKey, facts: live | inPolicy,
		fields: func(c *Config) []any { return []any{&c.Commands} },
		reset:  func(c *Config) { c.Commands = Commands{} },
		text:   commandsText,
		parse:  parseCommands, addMapping: (*Config).addCommands,
	},
	{
		name: filesKey, facts: live | inPolicy,
		fields: func(c *Config) []any { return []any{&c.Files} },
		reset:  func(c *Config) { c.Files = nil },
		text:   filesText,
		parse:  parseFiles, addMapping: (*Config).addFiles,
	},
	{
		name: "modes", value: "MODE[,MODE]", many: true, some: true, words: []string{"active", "passive"}, facts: live | inPolicy,
		usage:  "modes of data connections that are permitted; the commands of another one are made to fail",
		want:   "active, passive or both",
		fields: func(c *Config) []any { return []any{&c.Modes} },
		reset:  func(c *Config) { c.Modes = Modes{} },
		add:    addModes,
		text:   func(c Config) []string { return wordsText(c.Modes.Active, c.Modes.Passive, "active", "passive") },
	},
	{
		name: "families", value: "FAMILY[,FAMILY]", many: true, some: true, words: []string{"ipv4", "ipv6"}, facts: live | inPolicy,
		usage:  "address families whose control connections may have data connections",
		want:   "ipv4, ipv6 or both",
		fields: func(c *Config) []any { return []any{&c.Families} },
		reset:  func(c *Config) { c.Families = Families{} },
		add:    addFamilies,
		text:   func(c Config) []string { return wordsText(c.Families.IPv4, c.Families.IPv6, "ipv4", "ipv6") },
	},
	{
		name: "data-ports", value: "[SIDE=]LOW-HIGH", many: true, facts: live | inPolicy,
		usage:  "ports that an offer may name; active=LOW-HIGH: those of clients, passive=LOW-HIGH: those of servers; repeatable",
		want:   "LOW-HIGH with ports from 1 to 65535, active=LOW-HIGH or passive=LOW-HIGH, or a list of them",
		fields: func(c *Config) []any { return []any{&c.DataPorts} },
		reset:  func(c *Config) { c.DataPorts = DataPorts{} },
		add:    addDataPorts,
		text:   dataPortsText,
	},
	{
		name: "map-data-ports", value: "LOW-HIGH", facts: live | inRules | inPolicy,
		usage:  "ports of which one is announced for each data connection in place of its own, and translated to it: what a firewall further out has to let in; empty: none",
		want:   "LOW-HIGH with ports from 1024 to 65535, or nothing",
		fields: func(c *Config) []any { return []any{&c.MapDataPorts} },
		add:    setMapDataPorts,
		text:   mapDataPortsText,
	},
	either("data-direction", "which way payload may go on a data connection: any, or strict (to the client in downloads and lists, to the server in uploads; what goes the other way ends it)",
		live|inRules|inPolicy, func(c *Config) *bool { return &c.OneWay }, "any", "strict"),
	{
		name: "mark", value: "BITS", facts: live | inPolicy,
		usage:  "ct mark bits that data connections get, from their first packet on, for QoS or another uplink; 0: none",
		want:   "a 32 bit number such as 0x10",
		fields: func(c *Config) []any { return []any{&c.Mark} },
		add:    setMark,
		text:   func(c Config) []string { return []string{markText(c.Mark)} },
	},
	word("anonymous", "anonymous logins; those that are not permitted are made to fail", live|inPolicy,
		func(c *Config) *ftpalg.Anonymous { return &c.Anonymous }, ftpalg.AnonymousAny, ftpalg.AnonymousOnly, ftpalg.AnonymousNever),
	number("max-line", "BYTES", "longest line of a client; a longer command is made to fail; 0: no limit", live|inPolicy, 0, maxLength,
		func(c *Config) *int { return &c.MaxLine }),
	number("max-argument", "BYTES", "longest argument of a command; 0: no limit", live|inPolicy, 0, maxLength,
		func(c *Config) *int { return &c.MaxArgument }),
	number("max-path", "BYTES", "longest argument that is a path; 0: no limit", live|inPolicy, 0, maxLength,
		func(c *Config) *int { return &c.MaxPath }),
	{
		name: policiesKey, facts: live,
		fields: func(c *Config) []any { return []any{&c.Policies} },
		parse:  parsePolicies, addMapping: (*Config).addPolicy,
	},
	{
		name: virtualServersKey, facts: live | inRules,
		fields: func(c *Config) []any { return []any{&c.VirtualServers} },
		parse:  parseVirtualServers, addMapping: (*Config).addVirtualServer,
	},
	number("max-offers", "N", "announcements that a control connection may make in a minute", live|inPolicy, 1, maxLimit,
		func(c *Config) *int { return &c.MaxOffers }),
	number("max-sessions", "N", "control connections that are read at once", live, 1, maxLimit,
		func(c *Config) *int { return &c.MaxSessions }),
	number("max-client-sessions", "N", "control connections of one client that are read at once", live, 1, maxLimit,
		func(c *Config) *int { return &c.MaxClientSessions }),
	number("max-pinholes", "N", "pinholes that are open at once", live, 1, maxLimit,
		func(c *Config) *int { return &c.MaxPinholes }),
	number("max-client-pinholes", "N", "pinholes that are open at once for one client's sessions; 0: a quarter of nf_conntrack_expect_max, at most 1024", live, 0, maxLimit,
		func(c *Config) *int { return &c.MaxClientPinholes }),
	number("client-prefix", "BITS", "leading bits of an IPv6 address that are one client's, in the limits of a client", restart, 1, 128,
		func(c *Config) *int { return &c.ClientPrefix }),
	{
		name: "login-failures", value: "N in DURATION, block DURATION", facts: live | inRules,
		usage:  "block a client whose logins fail that often on the control ports, for a time: \"5 in 1m, block 10m\"; off: never",
		want:   wantFailures,
		fields: func(c *Config) []any { return []any{&c.LoginFailures} },
		add:    setFailures,
		text:   func(c Config) []string { return []string{c.LoginFailures.String()} },
	},
	toggle("strict-active-port", "active data must come from control port - 1", live, func(c *Config) *bool { return &c.StrictActivePort }),
	{
		name: "pinhole-timeout", value: "DURATION", facts: live | inRules,
		usage:  "how long an unused pinhole stays",
		want:   "a duration such as 60s or 2m, from 1ms to 1h",
		fields: func(c *Config) []any { return []any{&c.PinholeTimeout} },
		add:    setPinholeTimeout,
		text:   func(c Config) []string { return []string{durationText(c.PinholeTimeout)} },
	},
	toggle("reset-stale", "send a TCP reset on control connections that conntrack lost and that cannot be resumed", restart|inRules,
		func(c *Config) *bool { return &c.ResetStale }),
	idle("keepalive", "probe both ends of a control connection that is idle for that long (needs CAP_NET_RAW)", restart|inRules,
		func(c *Config) *time.Duration { return &c.Keepalive }),
	idle("session-idle", "reset both ends of a control connection that is idle for that long (needs CAP_NET_RAW)", restart|inRules,
		func(c *Config) *time.Duration { return &c.SessionIdle }),
	toggle("monitor", "read, judge and log everything; change nothing and open nothing", live|inRules|inPolicy,
		func(c *Config) *bool { return &c.Monitor }),
	{
		name: "tls", value: "WAY", words: []string{"pass", "deny", "require", "range="}, facts: live | inRules | inPolicy,
		usage:  "FTPS sessions: pass (leave them alone), deny, require (plain logins are made to fail), or range=LOW-HIGH (data ports for them)",
		want:   "pass, deny, require, or range=LOW-HIGH with ports from 1 to 65535",
		fields: func(c *Config) []any { return []any{&c.TLS, &c.TLSRange} },
		add:    setTLS,
		text:   func(c Config) []string { return []string{c.TLSText()} },
	},
	number("tls-parallel", "N", "data connections that an FTPS session may have at once with --tls range", live, 1, 1000,
		func(c *Config) *int { return &c.TLSParallel }),
	{
		name: "tls-port", value: "N[,N][,N-M]", many: true, facts: live | inRules,
		usage:  "control ports of implicit TLS, such as 990; repeatable",
		want:   "a port from 1 to 65535, a range such as 990-992, or a list of them",
		fields: func(c *Config) []any { return []any{&c.TLSPorts} },
		reset:  func(c *Config) { c.TLSPorts = nil },
		add:    addTLSPorts,
		text: func(c Config) []string {
			if len(c.TLSPorts) == 0 {
				return nil
			}
			return []string{strings.Join(portNames(c.TLSPorts), ",")}
		},
	},
	either("fail", "what happens to control packets without a daemon", restart|inRules,
		func(c *Config) *bool { return &c.FailClosed }, "open", "closed"),
	number("queue-num", "N", "first queue number", restart|inRules, 1, 65534, func(c *Config) *uint16 { return &c.QueueNum }),
	number("queues", "N", "how many queues, from the first number up (default: number of cores)", restart|inRules, 1, MaxQueues,
		func(c *Config) *int { return &c.Queues }),
	{
		name: "table", value: "NAME", facts: restart | inRules,
		usage:  "name of our nftables table",
		want:   fmt.Sprintf("a letter or '_', then letters, digits, '_', '-' or '.', at most %d in all", maxTable),
		fields: func(c *Config) []any { return []any{&c.Table} },
		add:    setTable,
		text:   func(c Config) []string { return []string{c.Table} },
	},
	{
		name: "ct-mark", value: "BITS", facts: restart | inRules,
		usage:  "two ct mark bits for --allow mark, of which data connections carry the lower one; no mark is touched without it",
		want:   "a 32 bit number with exactly two bits set, such as 0x0c000000",
		fields: func(c *Config) []any { return []any{&c.CTMark} },
		add:    setCTMark,
		text:   func(c Config) []string { return []string{fmt.Sprintf("0x%08x", c.CTMark)} },
	},
	{
		name: "peer", value: "HOST:PORT", facts: restart,
		usage:  "where the other firewall of a pair listens (its --peer-listen); empty: none",
		want:   "HOST:PORT with a numeric address, such as 10.99.0.2:2121, [fd99::2]:2121 or [fe80::2%eth1]:2121, or nothing for no pair",
		fields: func(c *Config) []any { return []any{&c.Peer} },
		add:    func(c *Config, v string) error { return setPeerAddr(&c.Peer, v) },
		text:   func(c Config) []string { return []string{c.Peer} },
	},
	{
		name: "peer-listen", value: "HOST:PORT", facts: restart,
		usage:  "where the other firewall of a pair is listened for, on the dedicated link; empty: nowhere",
		want:   "HOST:PORT with a numeric address, such as 10.99.0.1:2121, [fd99::1]:2121 or [fe80::1%eth1]:2121, or nothing for no pair",
		fields: func(c *Config) []any { return []any{&c.PeerListen} },
		add:    func(c *Config, v string) error { return setPeerAddr(&c.PeerListen, v) },
		text:   func(c Config) []string { return []string{c.PeerListen} },
	},
	{
		name: "peer-key", value: "FILE", facts: restart,
		usage:  "file with the key that both firewalls of a pair have, at least 32 characters; the daemon's user reads it",
		want:   "an absolute path, or nothing for no pair",
		fields: func(c *Config) []any { return []any{&c.PeerKey} },
		add:    setPeerKey,
		text:   func(c Config) []string { return []string{c.PeerKey} },
	},
	word("peer-wait", "which announcements wait until the other firewall of a pair has them: always, nat (those of translated sessions), never", restart,
		func(c *Config) *PeerWait { return &c.PeerWait }, PeerAlways, PeerNAT, PeerNever),
	{
		name: "user", value: "NAME", facts: restart,
		usage:  "user to become when root starts it, keeping CAP_NET_ADMIN alone; empty: none",
		want:   "the name of a user, or nothing",
		fields: func(c *Config) []any { return []any{&c.User} },
		add:    setUser,
		text:   func(c Config) []string { return []string{c.User} },
	},
	word("log-format", "form of a log line", restart, func(c *Config) *LogFormat { return &c.LogFormat }, LogText, LogJSON),
	{
		name: "log-level", value: "LEVEL", words: levelNames(), facts: live,
		usage:  "lowest level that is logged: debug, info, warn, error; ready is always logged",
		want:   "debug, info, warn or error",
		fields: func(c *Config) []any { return []any{&c.LogLevel} },
		add:    setLogLevel,
		text:   func(c Config) []string { return []string{levelText(c.LogLevel)} },
	},
	toggle("log-sessions", "log the begin, the logins and the end of control connections", live|inRules,
		func(c *Config) *bool { return &c.LogSessions }),
	toggle("log-transfers", "log every transfer: user, file, direction, bytes, result", live|inRules,
		func(c *Config) *bool { return &c.LogTransfers }),
	{
		name: "xferlog", value: "FILE", facts: restart | inRules,
		usage:  "file with a line for each transfer, in the format of xferlog(5); opened again by SIGHUP",
		want:   "an absolute path, or nothing for no file",
		fields: func(c *Config) []any { return []any{&c.Xferlog} },
		add:    setXferlog,
		text:   func(c Config) []string { return []string{c.Xferlog} },
	},
}

// word is a setting with a few possible words.
func word[T comparable](name, usage string, f facts, field func(*Config) *T, values ...T) setting {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = fmt.Sprint(v)
	}
	return setting{
		name: name, value: strings.Join(words, "|"), usage: usage, want: orList(words), words: words, facts: f,
		fields: func(c *Config) []any { return []any{field(c)} },
		add: func(c *Config, v string) error {
			i := slices.Index(words, v)
			if i < 0 {
				return errValue
			}
			*field(c) = values[i]
			return nil
		},
		text: func(c Config) []string { return []string{fmt.Sprint(*field(&c))} },
	}
}

// either is a setting with a word for false and one for true.
func either(name, usage string, f facts, field func(*Config) *bool, no, yes string) setting {
	words := []string{no, yes}
	return setting{
		name: name, value: no + "|" + yes, usage: usage, want: orList(words), words: words, facts: f,
		fields: func(c *Config) []any { return []any{field(c)} },
		add: func(c *Config, v string) error {
			if !slices.Contains(words, v) {
				return errValue
			}
			*field(c) = v == yes
			return nil
		},
		text: func(c Config) []string {
			if *field(&c) {
				return []string{yes}
			}
			return []string{no}
		},
	}
}

// toggle is a setting that is on or off. It also accepts YAML's words for that,
// and one that is off by default needs no value on the command line.
func toggle(name, usage string, f facts, field func(*Config) *bool) setting {
	s := either(name, usage, f, field, "off", "on")
	set := s.add
	s.add = func(c *Config, v string) error {
		on, err := parseToggle(v)
		if err != nil {
			return err
		}
		return set(c, map[bool]string{false: "off", true: "on"}[on])
	}
	off := Default()
	s.value, s.want, s.words, s.toggle = "on|off", "on or off", []string{"on", "off"}, !*field(&off)
	return s
}

// number is a setting with a decimal number from low to high.
func number[T int | uint16](name, value, usage string, f facts, low, high int, field func(*Config) *T) setting {
	return setting{
		name: name, value: value, usage: usage, facts: f,
		want:   fmt.Sprintf("a number from %d to %d", low, high),
		fields: func(c *Config) []any { return []any{field(c)} },
		add: func(c *Config, v string) error {
			n, err := parseNumber(v, low, high)
			*field(c) = T(n)
			return err
		},
		text: func(c Config) []string { return []string{fmt.Sprint(*field(&c))} },
	}
}

// levelNames are the values of --log-level.
func levelNames() []string {
	var names []string
	for _, l := range levels {
		names = append(names, l.name)
	}
	return names
}

// levelText is the name of a level.
func levelText(l slog.Level) string {
	for _, e := range levels {
		if e.level == l {
			return e.name
		}
	}
	return l.String()
}

// PortList returns the control ports in the form of the setting, such as "21" and
// "8021-8025".
func (c Config) PortList() []string { return portNames(c.Ports) }

// TLSPortList returns the control ports of implicit TLS in the form of the
// setting.
func (c Config) TLSPortList() []string { return portNames(c.TLSPorts) }

// AdvertiseList returns the addresses to announce in the form of the setting.
func (c Config) AdvertiseList() []string { return advertiseText(c) }

// MarkText names our ct mark bits.
func (c Config) MarkText() string {
	if c.Allow != AllowMark {
		return "none"
	}
	return fmt.Sprintf("0x%08x", c.CTMark)
}

// AllowText returns the way of --allow in the form of the setting.
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

// TLSText returns the way of --tls in the form of the setting.
func (c Config) TLSText() string {
	if c.TLS != TLSRange {
		return string(c.TLS)
	}
	return fmt.Sprintf("range=%d-%d", c.TLSRange.Low, c.TLSRange.High)
}

// Values are the possible values of a setting, or their beginnings; nil if they
// are not a fixed set.
func Values(name string) []string {
	s, ok := settings.lookup(name)
	if !ok {
		return nil
	}
	return s.words
}
