// SPDX-License-Identifier: Apache-2.0

package config

import (
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// DefaultFile is read if it exists and no other file is named.
const DefaultFile = "/etc/pasvport/pasvport.yaml"

// DefaultControlSocket is where a daemon answers by default.
const DefaultControlSocket = "/run/pasvport/control.sock"

// MaxQueues is the highest number of queues, and so of packet goroutines.
const MaxQueues = 64

// MaxPinholeTimeout is the longest that an unused pinhole may stay: no one needs
// a pinhole that was not used for an hour.
const MaxPinholeTimeout = time.Hour

// Config is the configuration of the daemon. Default returns the documented
// defaults; Flags.Load is the only other source of one.
type Config struct {
	// Ports are the control ports, sorted, without overlap. Default: 21.
	Ports []rules.PortRange

	// ControlSocket is the path of the unix socket for status and the like;
	// empty: none. Default: DefaultControlSocket.
	ControlSocket string

	// Metrics is the host:port of the Prometheus listener. Default: empty, none.
	Metrics string

	// Allow is how the administrator's ruleset accepts data connections. Default:
	// AllowRelated.
	Allow AllowKind

	// Chains are the administrator's chains that get a rule; only with AllowChain.
	Chains []rules.ChainRef

	// Strategy is how the kernel learns of a data connection. Default:
	// StrategyAuto.
	Strategy Strategy

	// Carrier and Queue override what is otherwise chosen by probing the kernel.
	// Default: rules.CarrierAuto and rules.QueueAuto.
	Carrier rules.Carrier
	Queue   rules.QueueKind

	// FastPath lets lines that cannot affect a data connection bypass the daemon. Default:
	// FastPathOff.
	FastPath FastPath

	// ThirdParty opens pinholes for addresses that are not the control peer's
	// (FXP). Default: false.
	ThirdParty bool

	// Advertise maps the address of a server or client to the one to announce
	// for it, which is of the same family. Default: empty.
	Advertise map[netip.Addr]Outside

	// NAT64 are the translators between IPv6 clients and IPv4 servers, on this machine
	// or further on. Default: empty.
	NAT64 []ftpalg.NAT64

	// Repair says which foreign announced addresses are replaced by the control
	// peer's. Default: ftpalg.RepairUnusable.
	Repair ftpalg.Repair

	// MinDataPort is the lowest port an offer may name. Default: 1024.
	MinDataPort uint16

	// Checks are the checks of the protocol that an offer has to pass.
	// Default: ftpalg.Normal.
	Checks ftpalg.Checks

	// DenyCommands are commands, in upper case, that are made to fail. Default:
	// empty.
	DenyCommands map[string]bool

	// Commands are the permitted commands. Only in the file. Default: all.
	Commands Commands

	// Files make commands fail by the file that they name. Only in the file.
	// Default: none.
	Files []ftpalg.FileRule

	// Modes and Families are the permitted ones. Default: all.
	Modes    Modes
	Families Families

	// DataPorts are the ports that an announcement of either side may name.
	// Default: all.
	DataPorts DataPorts

	// MapDataPorts are ports, one of which replaces each data connection's own
	// port in its announcement, and is translated to it. Default: none, keep the
	// own port.
	MapDataPorts rules.PortRange

	// OneWay ends data connections with payload in the direction opposite to
	// their transfer. Default: false.
	OneWay bool

	// Mark is the ct mark bits that data connections get in addition to those of
	// their control connection. Default: 0, none.
	Mark uint32

	// Anonymous says how anonymous logins are treated. Default:
	// ftpalg.AnonymousAny.
	Anonymous ftpalg.Anonymous

	// MaxLine, MaxArgument and MaxPath are maximum lengths of commands. Default:
	// 0, no limit.
	MaxLine, MaxArgument, MaxPath int

	// Policies change settings for some control connections; the first match
	// applies. Only in the file. Default: empty.
	Policies []Policy

	// VirtualServers spread control connections over servers. Only in the
	// file. Default: empty.
	VirtualServers []VirtualServer

	// MaxOffers is how many offers a control connection may make in a minute.
	// Default: 60000.
	MaxOffers int

	// MaxSessions and MaxClientSessions are how many control connections are read
	// at once, in all and per client. Default: 16384 and 4096.
	MaxSessions, MaxClientSessions int

	// MaxPinholes and MaxClientPinholes are how many pinholes are open at once,
	// in all and for the sessions of one client. Default: 4096, and 0, which is a
	// quarter of the kernel's nf_conntrack_expect_max, at most 1024.
	MaxPinholes, MaxClientPinholes int

	// ClientPrefix is how many leading bits of an IPv6 address identify a client
	// for the limits. Default: 64.
	ClientPrefix int

	// LoginFailures is when a client is blocked. Default: never.
	LoginFailures LoginFailures

	// StrictActivePort requires active data to come from control port - 1.
	// Default: false.
	StrictActivePort bool

	// PinholeTimeout is how long an unused pinhole stays. Default: 60 s.
	PinholeTimeout time.Duration

	// ResetStale sends a TCP reset on control connections that conntrack lost and
	// that cannot be resumed. Default: true.
	ResetStale bool

	// Keepalive is the idle time after which both ends of a control connection
	// are probed; 0: never. Default: 0.
	Keepalive time.Duration

	// SessionIdle is the idle time after which both ends of a control connection
	// are reset; 0: never. Default: 0.
	SessionIdle time.Duration

	// TLS is what happens to a session that starts TLS. Default: TLSPass.
	TLS TLSKind

	// TLSRange are the data ports of TLS sessions; only with TLSRange as kind.
	TLSRange rules.PortRange

	// TLSParallel is how many data connections an encrypted session may have
	// at once in TLSRange. Default: 8.
	TLSParallel int

	// TLSPorts are control ports of implicit TLS, sorted, without overlap.
	// Default: none.
	TLSPorts []rules.PortRange

	// Monitor reads, judges and logs control connections, and changes and opens
	// nothing. Default: false.
	Monitor bool

	// FailClosed drops control packets while no daemon is running. Default:
	// false.
	FailClosed bool

	// QueueNum is the first queue number. Default: 2121.
	QueueNum uint16

	// Queues is the number of queues, from QueueNum up; 1 to MaxQueues. Default:
	// the number of cores.
	Queues int

	// Table is the name of our nftables table. Default: "pasvport".
	Table string

	// CTMark has exactly two bits set, our ct mark bits with AllowMark; see
	// Control. Default: 0x0c000000.
	CTMark uint32

	// Peer is the address on which the other firewall of a pair listens,
	// PeerListen the one on which this daemon listens for it, and PeerKey the
	// file of their common key. Default: empty, not one of a pair.
	Peer, PeerListen, PeerKey string

	// PeerWait says which announcements wait until the other firewall has them.
	// Default: PeerAlways.
	PeerWait PeerWait

	// User is the user that the daemon becomes when root starts it. Default:
	// empty: it stays root.
	User string

	// LogFormat is the format of a log line. Default: LogText.
	LogFormat LogFormat

	// LogLevel is the lowest level that is logged. Default: info.
	LogLevel slog.Level

	// LogSessions and LogTransfers log the begin, logins and end of control
	// connections, and every transfer. Default: false.
	LogSessions, LogTransfers bool

	// Xferlog is the path of a file with a line for each transfer, in the format of
	// xferlog(5). Default: empty, none.
	Xferlog string
}

// Default returns the documented defaults.
func Default() Config {
	return Config{
		Ports:         []rules.PortRange{{Low: 21, High: 21}},
		ControlSocket: DefaultControlSocket,
		Allow:         AllowRelated,
		Strategy:      StrategyAuto,
		Carrier:       rules.CarrierAuto,
		Queue:         rules.QueueAuto,
		FastPath:      FastPathOff,
		Repair:        ftpalg.RepairUnusable,
		MinDataPort:   1024,
		Checks:        ftpalg.Normal,
		Modes:         Modes{true, true},
		Families:      Families{true, true},
		MaxOffers:     60000,
		MaxSessions:   16384, MaxClientSessions: 4096,
		MaxPinholes: 4096, ClientPrefix: 64,
		PinholeTimeout: time.Minute,
		ResetStale:     true,
		TLS:            TLSPass,
		TLSParallel:    8,
		QueueNum:       2121,
		Queues:         min(runtime.NumCPU(), MaxQueues),
		Table:          "pasvport",
		CTMark:         0x0c000000,
		PeerWait:       PeerAlways,
		LogFormat:      LogText,
		LogLevel:       slog.LevelInfo,
	}
}

// Control returns the ct mark bit of a control connection, which its data
// connections inherit: the lower one of CTMark, and 0 without --allow mark.
func (c Config) Control() uint32 {
	if c.Allow != AllowMark {
		return 0
	}
	return c.CTMark & -c.CTMark
}

// ControlPort reports whether a port is a control port.
func (c Config) ControlPort(port uint16) bool {
	return slices.ContainsFunc(c.Ports, contains(port)) || c.EncryptedPort(port)
}

// EncryptedPort reports whether a control port is one of implicit TLS.
func (c Config) EncryptedPort(port uint16) bool {
	return slices.ContainsFunc(c.TLSPorts, contains(port))
}

func contains(port uint16) func(rules.PortRange) bool {
	return func(r rules.PortRange) bool { return r.Low <= port && port <= r.High }
}
