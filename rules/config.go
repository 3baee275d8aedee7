// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// A Carrier is what a control connection's conntrack entry gets on its first
// packet so that the kernel permits expectations and sequence adjustments on it.
type Carrier uint8

const (
	// CarrierAuto is CarrierSane, unless the caller has found that the kernel
	// lacks it.
	CarrierAuto Carrier = iota

	// CarrierSane is the in-kernel helper "sane", which does not speak FTP.
	// The kernel accepts expectations and sequence adjustment with it.
	CarrierSane

	// CarrierBare is a help extension without a helper, made by a "ct
	// expectation" object of size 0: sequence adjustment, no expectations.
	CarrierBare

	// CarrierNone sets nothing.
	CarrierNone
)

var carrierNames = [...]string{CarrierAuto: "auto", CarrierSane: "sane", CarrierBare: "bare", CarrierNone: "none"}

// String returns "auto", "sane", "bare" or "none".
func (c Carrier) String() string { return carrierNames[c] }

// ParseCarrier returns the carrier with that name, or CarrierAuto.
func ParseCarrier(name string) Carrier {
	return Carrier(max(0, slices.Index(carrierNames[:], name)))
}

// A QueueKind is how the kernel is told to queue a packet.
type QueueKind uint8

const (
	// QueueAuto is QueueNative, unless the caller has found that the kernel
	// lacks it.
	QueueAuto QueueKind = iota

	// QueueNative is nft's own queue expression (CONFIG_NFT_QUEUE).
	QueueNative

	// QueueXT is the NFQUEUE target of xtables through nft's compat layer
	// (CONFIG_NETFILTER_XT_TARGET_NFQUEUE, CONFIG_NFT_COMPAT).
	QueueXT
)

// String returns "auto", "native" or "xt".
func (k QueueKind) String() string { return [...]string{"auto", "native", "xt"}[k] }

// A PortRange is an inclusive range of TCP ports.
type PortRange struct{ Low, High uint16 }

// String returns "N" or "N-M".
func (r PortRange) String() string {
	if r.Low == r.High {
		return fmt.Sprint(r.Low)
	}
	return fmt.Sprintf("%d-%d", r.Low, r.High)
}

// A Config says what Install puts into the kernel. The zero value of a field is
// the default given in its comment.
type Config struct {
	Table      string      // name of our table, family inet; default "pasvport"
	Ports      []PortRange // control ports; default 21
	QueueNum   uint16      // first queue number; default 2121
	Queues     int         // number of queues; default 1
	FailClosed bool        // control packets are dropped when no one listens on the queue

	// Mark is a bit that is set in the ct mark of control connections, and so of
	// their data connections. 0: no mark is changed.
	Mark uint32

	// Stale queues packets in the middle of a control connection without a
	// conntrack entry to the first queue; see resetRules.
	Stale bool

	// OneZone leaves out connections in a conntrack zone other than the default:
	// the kernel does not report the zone of a queued packet (nfq.ProbeZones).
	OneZone bool

	// Bare also queues bare acknowledgements of control connections, including
	// opaque sessions.
	Bare bool

	// FastPath is the descriptor of an eBPF socket filter: packets with data that
	// it matches are not queued. 0: none. FastPathAny stands for any filter where
	// nothing is installed.
	FastPath int

	// FewEvents makes conntrack report only that an expected data connection
	// begins, is answered, established and gone, and not each step of its end.
	// This affects all listeners.
	FewEvents bool

	// Watch queues packets and does nothing else: no carrier, no drop, no clamp,
	// no mark, no claim, no chain of the administrator's, whatever the other
	// fields say.
	Watch bool

	Carrier Carrier   // CarrierSane
	Claim   bool      // pinhole sets and raw chains that queue the SYNs of data connections
	Queue   QueueKind // QueueNative

	// PeerPorts are the ports that the peers of AllowPeer may open; zero: none.
	// Only with Claim.
	PeerPorts PortRange

	// Block makes sets of clients whose packets to the control ports are dropped,
	// see Firewall.Block.
	Block bool

	// OneWay limits the payload of data connections to one direction, where a
	// pinhole or DirectData says so.
	OneWay bool

	// VirtualServers spread control connections over servers.
	VirtualServers []VirtualServer

	// Translate keeps a nat chain even without virtual servers: without any nat
	// chain the kernel stops translating the packets of connections that it has
	// translated so far (nf_nat_unregister_fn).
	Translate bool

	Chains         []ChainRef    // the administrator's chains that must accept data connections
	PinholeTimeout time.Duration // of a pinhole that names none; default 60 s

	// NetNS is a file descriptor of the network namespace to work in; 0 is the
	// calling thread's.
	NetNS int
}

// FastPathAny is a Config.FastPath to print or to look for.
const FastPathAny = -1

// Defaults of Config.
const (
	defaultTable          = "pasvport"
	defaultPort           = 21
	defaultQueueNum       = 2121
	defaultPinholeTimeout = time.Minute
)

// WithDefaults returns c with defaults for zero fields, its ports sorted and
// merged and its chains without duplicates.
func (c Config) WithDefaults() Config {
	if c.Watch {
		c = c.watching()
	}
	c.Table = cmp.Or(c.Table, defaultTable)
	if len(c.Ports) == 0 {
		c.Ports = []PortRange{{defaultPort, defaultPort}}
	}
	c.Ports = MergePorts(c.Ports)
	c.Carrier = cmp.Or(c.Carrier, CarrierSane)
	c.Queue = cmp.Or(c.Queue, QueueNative)
	c.QueueNum = cmp.Or(c.QueueNum, defaultQueueNum)
	c.Queues = cmp.Or(c.Queues, 1)
	c.PinholeTimeout = cmp.Or(c.PinholeTimeout, defaultPinholeTimeout)
	c.Chains = slices.Clone(c.Chains)
	slices.SortFunc(c.Chains, func(a, b ChainRef) int { return cmp.Compare(a.String(), b.String()) })
	c.Chains = slices.Compact(c.Chains)
	return c
}

// watching returns c without what Watch leaves out.
func (c Config) watching() Config {
	c.Carrier, c.Claim, c.Chains, c.Mark, c.PeerPorts = CarrierNone, false, nil, 0, PortRange{}
	c.FailClosed, c.Stale, c.Bare, c.FastPath, c.Block, c.OneWay = false, false, false, 0, false, false
	return c
}

// Comment identifies rules and sets of this configuration's daemon in tables of
// others.
func (c Config) Comment() string { return "pasvport " + c.Table }

// hasPeers reports whether c has sets of peers.
func (c Config) hasPeers() bool { return c.Claim && c.PeerPorts != (PortRange{}) }

// validate checks what the kernel would refuse with a bare EINVAL, or worse,
// would accept.
func (c Config) validate() error {
	if err := checkName(c.Table); err != nil {
		return fmt.Errorf("table: %w", err)
	}
	for _, p := range c.Ports {
		if p.Low == 0 || p.Low > p.High {
			return fmt.Errorf("control ports %d-%d: not a range of ports", p.Low, p.High)
		}
	}
	if c.Queues < 1 || int(c.QueueNum)+c.Queues > 1<<16 {
		return fmt.Errorf("queue numbers %d to %d: outside 0 to 65535", c.QueueNum, int(c.QueueNum)+c.Queues-1)
	}
	if bits.OnesCount32(c.Mark) > 1 {
		return fmt.Errorf("ct mark bit %#x: want a single bit, or none", c.Mark)
	}
	if c.PinholeTimeout < time.Millisecond {
		return errors.New("pinhole timeout: less than a millisecond")
	}
	if p := c.PeerPorts; p.Low > p.High || p.Low == 0 && p.High != 0 {
		return fmt.Errorf("peer ports %s: not a range of ports", p)
	}
	for i := range c.VirtualServers {
		if err := c.VirtualServers[i].validate(); err != nil {
			return err
		}
	}
	for _, r := range c.Chains {
		if r.Family == FamilyINet && r.Table == c.Table {
			return fmt.Errorf("chain %s: is in our own table", r)
		}
	}
	return nil
}

// MergePorts returns the ranges sorted, with those merged that overlap or touch:
// an interval set of the kernel refuses overlapping elements.
func MergePorts(in []PortRange) []PortRange {
	var out []PortRange
	for _, r := range slices.SortedFunc(slices.Values(in), func(a, b PortRange) int { return cmp.Compare(a.Low, b.Low) }) {
		if n := len(out); n > 0 && int(r.Low) <= int(out[n-1].High)+1 {
			out[n-1].High = max(out[n-1].High, r.High)
			continue
		}
		out = append(out, r)
	}
	return out
}

// QuietData reports whether FewEvents applies to data connections: the rule knows
// them by the helper of their control connection.
func (c *Config) QuietData() bool {
	return c.FewEvents && !c.Watch && (c.Carrier == CarrierAuto || c.Carrier == CarrierSane)
}
