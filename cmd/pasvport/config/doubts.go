// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// A Doubt is about settings that are valid together but probably not intended.
type Doubt struct{ Text, Hint string }

// manyPorts is how many data ports an encrypted session may open without a doubt:
// servers usually get some hundreds.
const manyPorts = 16384

// Doubts are the doubts about a configuration, which a daemon, check and doctor
// report.
func (c Config) Doubts() (list []Doubt) {
	say := func(hint, format string, args ...any) { list = append(list, Doubt{fmt.Sprintf(format, args...), hint}) }
	for _, p := range c.Ports {
		for _, t := range c.TLSPorts {
			if low, high := max(p.Low, t.Low), min(p.High, t.High); low <= high {
				say("take it out of port or of tls-port", "control port %s is one of tls-port as well: its sessions are taken to be encrypted, and none of their lines is read",
					rules.PortRange{Low: low, High: high})
			}
		}
	}
	c.doubtPolicies(say)
	c.doubtAllowed("commands", say)
	c.doubtDataPorts("data-ports", say)
	for i := range c.Policies {
		if p := c.Policies[i].Config; !maps.Equal(p.Commands.Allow, c.Commands.Allow) || !maps.Equal(p.Commands.Deny, c.Commands.Deny) {
			p.doubtAllowed(fmt.Sprintf("policy %d: commands", i+1), say)
		}
		if own := c.Policies[i].Config; own.OneWay != c.OneWay || own.TLS != c.TLS {
			own.doubtDirection(fmt.Sprintf("policy %d: ", i+1), say)
		}
		if p := c.Policies[i].Config; p.DataPorts != c.DataPorts || p.MinDataPort != c.MinDataPort {
			p.doubtDataPorts(fmt.Sprintf("policy %d: data-ports", i+1), say)
		}
	}
	c.doubtDirection("", say)
	for _, v := range c.VirtualServers {
		if !slices.ContainsFunc(v.Servers, func(s Server) bool { return s.Weight > 0 }) {
			say("give one a weight", "virtual server %q has no server with a weight above 0, so connections to it are reset", v.Name)
		}
	}
	if c.TLS == TLSRange {
		c.doubtRange(say)
	}
	if _, err := c.Paired(); err != nil {
		say("the daemon does not start with it", "%v", err)
	}
	if c.Monitor {
		c.doubtMonitor(say)
		return list
	}
	if c.FastPath == FastPathAuto {
		c.doubtFastPath(say)
	}
	return list
}

// doubtAllowed looks for commands that a session needs.
func (c Config) doubtAllowed(where string, say func(hint, format string, args ...any)) {
	allow := c.Commands.Allow
	if len(allow) == 0 {
		return
	}
	for _, verb := range []string{"USER", "PASS"} {
		if !allow[verb] {
			say("add it, or use deny in place of allow", "%s allow has no %s, so no one can log in", where, verb)
		}
	}
	c.doubtBoth(where, say)
}

// doubtBoth looks for commands that are allowed in vain.
func (c Config) doubtBoth(where string, say func(hint, format string, args ...any)) {
	for _, verb := range slices.Sorted(maps.Keys(c.Commands.Allow)) {
		if c.Commands.Deny[verb] || c.DenyCommands[verb] {
			say("take it out of one of the two", "%s %s is allowed and denied: it is denied", where, verb)
		}
	}
}

// doubtDirection looks for sessions whose commands are not read.
func (c Config) doubtDirection(where string, say func(hint, format string, args ...any)) {
	if c.OneWay && (c.TLS == TLSRequire || c.TLS == TLSRange) {
		say("use tls deny if nothing may get around it", "%sdata-direction strict does not hold for encrypted sessions, which tls %s is for", where, c.TLS)
	}
}

// doubtDataPorts looks for ports that are permitted but refused.
func (c Config) doubtDataPorts(where string, say func(hint, format string, args ...any)) {
	for _, side := range []struct {
		name  string
		ports rules.PortRange
	}{{"active", c.DataPorts.Active}, {"passive", c.DataPorts.Passive}} {
		const hint = "lower min-data-port, or raise the range"
		switch r := side.ports; {
		case r == rules.PortRange{}:
		case r.High < c.MinDataPort:
			say(hint, "%s %s=%s is below min-data-port %d, so no such data connection is opened", where, side.name, r, c.MinDataPort)
		case r.Low < c.MinDataPort:
			say(hint, "%s %s=%s: those below min-data-port %d are refused all the same", where, side.name, r, c.MinDataPort)
		}
	}
}

func (c Config) doubtRange(say func(hint, format string, args ...any)) {
	r := c.TLSRange
	if r.Low < c.MinDataPort {
		say("raise its lower end, or lower min-data-port", "tls range=%s opens ports below min-data-port %d for encrypted sessions", r, c.MinDataPort)
	}
	for _, p := range c.Ports {
		if low, high := max(p.Low, r.Low), min(p.High, r.High); low <= high {
			say("give the range that the servers are configured with", "tls range=%s opens control port %s of a server for encrypted sessions", r, rules.PortRange{Low: low, High: high})
		}
	}
	if n := int(r.High) - int(r.Low) + 1; n > manyPorts {
		say("give the range that the servers are configured with", "tls range=%s lets an encrypted session open any of %d ports of its server, also those of services that are not FTP", r, n)
	}
}

// doubtMonitor names the settings that have no effect with monitor.
func (c Config) doubtMonitor(say func(hint, format string, args ...any)) {
	for _, e := range []struct {
		set     bool
		setting string
	}{
		{c.FailClosed, "fail closed"}, {c.FastPath == FastPathAuto, "fast-path auto"}, {c.Keepalive > 0, "keepalive"}, {c.SessionIdle > 0, "session-idle"},
		{c.TLS == TLSRange, "tls range"}, {c.OneWay, "data-direction strict"}, {c.Allow == AllowChain, "allow chain"}, {c.Allow == AllowMark, "allow mark"},
	} {
		if e.set {
			say("leave monitor off to have it", "%s has no effect with monitor, which changes and opens nothing", e.setting)
		}
	}
}

func (c Config) doubtFastPath(say func(hint, format string, args ...any)) {
	const off = "fast-path off says the same without trying"
	for _, e := range []struct {
		excludes bool
		setting  string
	}{
		{c.Checks&ftpalg.CheckRepeats != 0, "check repeats"}, {c.Checks&ftpalg.CheckAnswered != 0, "check answered"},
		{len(c.DenyCommands) > 0, "deny-command"}, {c.TLS == TLSDeny || c.TLS == TLSRequire, "tls " + string(c.TLS)},
		{len(c.Commands.Allow)+len(c.Commands.Deny) > 0, commandsKey}, {len(c.Files) > 0, filesKey},
		{c.Modes != Modes{true, true}, "modes"}, {c.Families != Families{true, true}, "families"},
		{c.Anonymous != ftpalg.AnonymousAny, "anonymous"}, {c.MaxLine > 0, "max-line"}, {c.MaxArgument > 0, "max-argument"}, {c.MaxPath > 0, "max-path"},
		{c.OneWay, "data-direction strict"},
		{c.Keepalive > 0, "keepalive"}, {c.SessionIdle > 0, "session-idle"},
		{c.LogTransfers, "log-transfers"}, {c.LogSessions, "log-sessions"}, {c.Xferlog != "", "xferlog"},
	} {
		if e.excludes {
			say(off, "fast-path auto has no effect with %s, which has to see every line", e.setting)
		}
	}
	if c.User != "" {
		say("have systemd start the daemon as that user with CAP_BPF, or leave fast-path off", "fast-path auto has no effect with user %s where root starts the daemon: CAP_BPF is given up", c.User)
	}
}
