// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"

	"github.com/pasvport/pasvport/rules"
)

// Rules returns the part of our table's description that follows from the
// settings alone. kernel.Choice adds what depends on the kernel as well (the
// carrier, the claim chain, the queue expression, zones).
func (c Config) Rules() rules.Config {
	r := rules.Config{
		Table:          c.Table,
		Ports:          slices.Concat(c.Ports, c.TLSPorts),
		QueueNum:       c.QueueNum,
		Queues:         c.Queues,
		FailClosed:     c.FailClosed,
		Mark:           c.Control(),
		Chains:         c.Chains,
		PinholeTimeout: c.PinholeTimeout,
		Stale:          c.ResetStale,
		Bare:           c.Keepalive > 0 || c.SessionIdle > 0,
	}
	r.Watch = c.Monitor
	// With a range an encrypted session has several data connections at once,
	// which are counted until they end. In a pair that ends silent sessions
	// conntrackd has to know which data connections were closed.
	r.FewEvents = !c.LogSessions && !c.LogTransfers && c.Xferlog == "" && c.TLS != TLSRange && (c.Peer == "" || !r.Bare)
	if c.FastPath == FastPathAuto && !r.Bare {
		r.FastPath = rules.FastPathAny
	}
	r.Block = c.LoginFailures.Most > 0
	r.Translate = c.mapsPorts()
	r.OneWay = c.some(func(c *Config) bool { return c.OneWay })
	if c.TLS == TLSRange {
		r.PeerPorts = c.TLSRange
	}
	return r
}

// ReloadRules returns the description of a table, as chosen for this kernel, with
// the changes of a reload.
func (c Config) ReloadRules(r rules.Config) rules.Config {
	want := c.Rules()
	r.Ports, r.Chains, r.PinholeTimeout, r.PeerPorts = want.Ports, want.Chains, want.PinholeTimeout, want.PeerPorts
	r.Mark, r.Block, r.Watch, r.FewEvents = want.Mark, want.Block, want.Watch, want.FewEvents
	r.Translate = r.Translate || want.Translate // what was translated once stays translated
	r.OneWay = r.OneWay || want.OneWay          // and sessions keep their policy
	return r
}
