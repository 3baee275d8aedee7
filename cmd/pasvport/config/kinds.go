// SPDX-License-Identifier: Apache-2.0

package config

import "log/slog"

// The kinds below are the words of the command line, so that they print as they
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
	StrategyAuto        Strategy = "auto"        // what a probe at start finds best
	StrategyExpectation Strategy = "expectation" // expectations on the control connection
	StrategyClaim       Strategy = "claim"       // conntrack entries made at the data SYN
)

// FastPath says whether lines may pass in the kernel, unread.
type FastPath string

// The values of --fast-path.
const (
	FastPathAuto FastPath = "auto" // where the kernel runs eBPF programs of ours
	FastPathOff  FastPath = "off"
)

// TLSKind is what happens to a session that turns to TLS.
type TLSKind string

// The values of --tls.
const (
	TLSPass    TLSKind = "pass"
	TLSDeny    TLSKind = "deny"
	TLSRequire TLSKind = "require" // plain logins are made to fail
	TLSRange   TLSKind = "range"
)

// LogFormat is the form of a log line.
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
