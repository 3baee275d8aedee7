// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"

	"github.com/pasvport/pasvport/rules"
)

// Rules returns what the settings alone say about our table. The carrier, the
// claim chain and the queue expression are those of a kernel that has everything,
// and a caller that has probed one replaces them.
//
// With auto the claim chain is there beside the expectation carrier, for
// sessions that are older than the carrier.
func (c Config) Rules() rules.Config {
	r := rules.Config{
		Table:          c.Table,
		Ports:          slices.Concat(c.Ports, c.TLSPorts),
		QueueNum:       c.QueueNum,
		Queues:         c.Queues,
		FailClosed:     c.FailClosed,
		Control:        c.Control(),
		Opaque:         c.Opaque(),
		Carrier:        rules.CarrierSane,
		Claim:          c.Strategy != StrategyExpectation,
		Queue:          rules.QueueNative,
		Chains:         c.Chains,
		PinholeTimeout: c.PinholeTimeout,
		Stale:          c.ResetStale,
		Bare:           c.Keepalive > 0 || c.SessionIdle > 0,
	}
	if c.FastPath == FastPathAuto && !r.Bare {
		r.FastPath = rules.FastPathAny
	}
	if c.TLS == TLSRange {
		r.PeerPorts = c.TLSRange
	}
	if c.Queue == QueueXT {
		r.Queue = rules.QueueXT
	}
	if c.Strategy == StrategyClaim || c.Carrier == CarrierBare {
		r.Carrier = rules.CarrierBare
	}
	if c.Carrier == CarrierNone {
		r.Carrier = rules.CarrierNone
	}
	return r
}
