// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"net/netip"
	"time"
)

// Status is the daemon as a whole.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`

	Table string   `json:"table"`
	Ports []string `json:"ports"` // "21", "8021-8025"
	Allow string   `json:"allow"` // as given to --allow
	Fail  string   `json:"fail"`  // "open" or "closed"

	// Monitor says that everything is read, and nothing changed or opened.
	Monitor bool `json:"monitor"`

	// ConfigFile is the file that the settings come from besides flags; empty: none.
	ConfigFile string `json:"config_file"`
	// Settings are the values of the settings that are not the default, by name; of
	// policies, virtual servers, commands and files it is how many there are.
	Settings map[string][]string `json:"settings"`

	TLS       string   `json:"tls"`       // as given to --tls
	TLSPorts  []string `json:"tls_ports"` // of implicit TLS
	Checks    string   `json:"checks"`    // as given to --checks
	Repair    string   `json:"repair"`    // as given to --repair
	Advertise []string `json:"advertise"` // "10.0.0.5=203.0.113.5"
	// Outside are the names and interfaces of Advertise, with the addresses that they
	// have now.
	Outside []Outside `json:"outside,omitempty"`
	CTMark  string    `json:"ct_mark"` // the bits that are ours; "none" without --allow mark

	// Keepalive and SessionIdle are times of silence; "off" if there are none.
	// KeepaliveError says why neither is possible though one was asked for.
	Keepalive      string `json:"keepalive"`
	SessionIdle    string `json:"session_idle"`
	KeepaliveError string `json:"keepalive_error,omitempty"`

	Limits Limits `json:"limits"`

	LoginFailures string    `json:"login_failures"` // as given to --login-failures
	Blocked       []Blocked `json:"blocked,omitempty"`
	Heals         uint64    `json:"heals"` // times our rules were put back

	Strategy string `json:"strategy"` // "expectation" or "claim": the one in use
	Carrier  string `json:"carrier"`  // "sane", "bare" or "none"

	// QueueKind is the expression that queues packets, "native" or "xt".
	QueueKind string  `json:"queue_kind"`
	Queues    []Queue `json:"queues"`

	// Features are what the probe at start found in the kernel, by name.
	Features map[string]bool `json:"features"`

	Sessions     int `json:"sessions"`      // control connections now
	PinholesOpen int `json:"pinholes_open"` // now

	// Expectations are those that the kernel has in this network namespace, of
	// whatever helper, and ExpectationsMax is how many it has room for; 0 if that is
	// not known.
	Expectations    int `json:"expectations"`
	ExpectationsMax int `json:"expectations_max"`
	// LinesUnread are the lines that passed in the kernel, since the start.
	LinesUnread uint64 `json:"lines_unread"`

	// Peer is the other firewall of a pair; nil without one.
	Peer *Peer `json:"peer,omitempty"`

	// Decisions counts what the engine decided, by reason, since the start.
	Decisions map[string]uint64 `json:"decisions"`

	// Notes are sentences for the administrator, such as what is missing.
	Notes []string `json:"notes,omitempty"`
}

// Peer is the daemon of the other firewall of a pair.
type Peer struct {
	Address string    `json:"address"` // as given to --peer
	Wait    string    `json:"wait"`    // as given to --peer-wait
	Link    PeerLink  `json:"link"`
	Since   time.Time `json:"since"`            // since when it has been up, or has not
	Reason  string    `json:"reason,omitempty"` // why it is not up, as far as that is known
	Hint    string    `json:"hint,omitempty"`   // what can be done about it
	Skew    float64   `json:"clock_ahead_seconds"`

	Lag   float64 `json:"lag_seconds"` // from telling it something to its answer, last
	Told  int     `json:"told"`        // sessions of this machine of which it is told
	Held  int     `json:"held"`        // sessions that are held here for the other machine
	Waits uint64  `json:"waits"`       // announcements that have waited for it

	Adopted  uint64    `json:"adopted"` // sessions of the other machine that became live here
	TakeOver *TakeOver `json:"take_over,omitempty"`
}

// PeerLink is whether the two daemons of a pair hear each other.
type PeerLink string

// The states of a link.
const (
	PeerUp   PeerLink = "up"
	PeerDown PeerLink = "down"
	PeerDeaf PeerLink = "deaf" // it does not hear us, and we hear it
	PeerMute PeerLink = "mute" // the reverse
)

// TakeOver is the last time at which sessions of the other machine became live here.
type TakeOver struct {
	At       time.Time `json:"at"`
	Sessions int       `json:"sessions"`
	Seconds  float64   `json:"seconds"` // from the first session to the last one
}

// Outside is where an address to announce comes from.
type Outside struct {
	Of      string    `json:"of"`      // a DNS name, or "interface:eth0"
	Address string    `json:"address"` // that holds; empty: none was found yet
	Found   time.Time `json:"found"`   // when it was looked up last, and found
	Next    time.Time `json:"next"`    // when it is looked up again
	Error   string    `json:"error,omitempty"`
}

// Blocked is a client whose packets to the control ports are dropped.
type Blocked struct {
	Client string    `json:"client"` // an address with /32, or an IPv6 network
	Until  time.Time `json:"until"`
}

// Limits are those of the settings, and how full they are.
type Limits struct {
	Sessions       Limit `json:"sessions"`
	ClientSessions Limit `json:"client_sessions"` // of the client that has most
	Pinholes       Limit `json:"pinholes"`
	ClientPinholes Limit `json:"client_pinholes"` // of the client that has most
}

// Limit is how many there are of something now, and how many there may be.
type Limit struct {
	Now int `json:"now"`
	Max int `json:"max"`
}

// String returns "3 of 4096".
func (l Limit) String() string { return fmt.Sprintf("%d of %d", l.Now, l.Max) }

// Queue is one queue since it was bound.
type Queue struct {
	Num     uint16 `json:"num"`
	Packets uint64 `json:"packets"` // received by us
	Waiting uint64 `json:"waiting"` // in the kernel now
	Dropped uint64 `json:"dropped"` // by the kernel, with --fail closed: queue full, or no room in our socket
	ENOBUFS uint64 `json:"enobufs"` // times the kernel told us of a lost message
	Errors  uint64 `json:"errors"`  // packets that could not be read, and passed as they were
}

// NAT is what happens to a control connection on this machine.
type NAT string

// The kinds of NAT.
const (
	NATNone NAT = "none"
	NATSrc  NAT = "snat" // the server sees another client address
	NATDst  NAT = "dnat" // the client dialled another server address
	NATBoth NAT = "both"
)

// ServerState is whether a server of a virtual server gets new sessions.
type ServerState string

// The states of a server.
const (
	ServerUp       ServerState = "up"
	ServerDown     ServerState = "down"     // its checks fail
	ServerDraining ServerState = "draining" // taken out, with sessions still
	ServerDrained  ServerState = "drained"  // taken out

	// ServerSlowStart: it came back a short time ago, and gets less than its share.
	ServerSlowStart ServerState = "slow-start"
)

// Server is one address of a server of a virtual server.
type Server struct {
	Virtual  string           `json:"virtual"` // name of the virtual server
	Listen   []netip.AddrPort `json:"listen"`  // what clients dial, of the address's family
	Method   string           `json:"method"`
	Name     string           `json:"name"`
	Address  netip.AddrPort   `json:"address"`
	Weight   int              `json:"weight"`
	State    ServerState      `json:"state"`
	Up       bool             `json:"up"`    // by its checks, whether drained or not
	Since    time.Time        `json:"since"` // up or down; zero before the first check
	Sessions int              `json:"sessions"`
	Share    float64          `json:"share"`   // of new sessions, from 0 to 1
	Check    string           `json:"check"`   // "ok", or what was wrong; empty before the first
	Checked  time.Time        `json:"checked"` // when that was
}

// Mode says which side opens data connections.
type Mode string

// The modes of a session, by its last offer; empty before the first.
const (
	ModeActive  Mode = "active"  // the server (PORT, EPRT)
	ModePassive Mode = "passive" // the client (PASV, EPSV)
)

// Pinhole is what became of the permission for one data connection.
type Pinhole string

// The states of a pinhole.
const (
	PinholeOpen      Pinhole = "open"
	PinholeUsed      Pinhole = "used"      // the data connection came
	PinholeExpired   Pinhole = "expired"   // it did not come in time
	PinholeDropped   Pinhole = "dropped"   // it came, and the ruleset did not let it through
	PinholeClosed    Pinhole = "closed"    // the offer was replaced or taken back
	PinholeMonitored Pinhole = "monitored" // nothing is opened, as the session is only monitored
	PinholeRefused   Pinhole = "refused"   // the offer was not believed; nothing was opened
)

// Session is one control connection. Its four addresses are what each end sees
// of itself and of the other; without NAT they are two.
type Session struct {
	ID      uint64         `json:"id"`      // of the conntrack entry, as conntrack -o id shows it
	Client  netip.AddrPort `json:"client"`  // the client's own address
	Dialled netip.AddrPort `json:"dialled"` // the server, as the client sees it
	Server  netip.AddrPort `json:"server"`  // the server's own address
	SeenAs  netip.AddrPort `json:"seen_as"` // the client, as the server sees it
	NAT     NAT            `json:"nat"`
	Zone    uint16         `json:"zone,omitempty"` // of conntrack; 0 is the default one

	Mode     Mode      `json:"mode"`
	State    string    `json:"state"`
	Strategy string    `json:"strategy"` // the one in use for this session
	User     string    `json:"user,omitempty"`
	Started  time.Time `json:"started"`

	// Login is "none", "asked", "accepted" or "failed"; User is that of an accepted one.
	Login          string   `json:"login"`
	LastCommand    string   `json:"last_command"` // the verb alone
	RecentCommands []string `json:"recent_commands,omitempty"`

	// BytesDown and BytesUp are what data connections have carried to the client and
	// from it, without headers; 0 without accounting, see Data.
	BytesDown    uint64   `json:"bytes_down"`
	BytesUp      uint64   `json:"bytes_up"`
	Transferring bool     `json:"transferring"` // it has an open data connection
	Idle         Duration `json:"idle"`         // since its last packet, 0 while it transfers

	Offer  *Offer `json:"offer,omitempty"` // the last one, if any
	Data   Data   `json:"data"`            // all data connections so far
	Opaque bool   `json:"opaque"`          // TLS or stood aside: not looked at any more
	Note   string `json:"note,omitempty"`  // a sentence for the administrator

	Encrypted bool `json:"encrypted"` // it went over to TLS
	Monitor   bool `json:"monitor"`   // nothing is changed or opened for it
}

// Duration is a time.Duration that is text in JSON, such as "1m30s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).Truncate(time.Second).String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Offer is the announcement of a data port.
type Offer struct {
	Verb       string         `json:"verb"`       // PORT, EPRT, PASV, EPSV
	Announced  netip.AddrPort `json:"announced"`  // by its sender
	Translated netip.AddrPort `json:"translated"` // what went out instead; the same if nothing changed
	Target     netip.AddrPort `json:"target"`     // where the data connection ends
	Time       time.Time      `json:"time"`
	Reason     string         `json:"reason"`
	Pinhole    Pinhole        `json:"pinhole"`
}

// Data sums up the data connections of a session.
type Data struct {
	Connections   int    `json:"connections"`
	BytesOriginal uint64 `json:"bytes_original"` // from the side that opened them
	BytesReply    uint64 `json:"bytes_reply"`
	Accounting    bool   `json:"accounting"` // nf_conntrack_acct is on; the bytes are 0 without
}
