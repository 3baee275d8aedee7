// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/pasvport/pasvport/cmd/pasvport/balance"
	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// A Question is what the doctor is asked about.
type Question struct {
	// Config is that of the daemon that is meant. Unless it was Asked for, by a flag
	// or a file, the settings of a daemon that answers take its place.
	Config config.Config
	Asked  bool

	Ends Ends // makes verdicts surer

	Conntrackd, Keepalived string // the files of those, if there are any
}

// Run examines this host for a daemon. The error says that it cannot: unix.EPERM
// without CAP_NET_ADMIN.
func Run(ctx context.Context, q Question) (*Report, error) {
	running := ask(ctx, q.Config)
	cfg, ends := q.Config, q.Ends
	if !q.Asked && running.settings != nil {
		cfg = *running.settings
	}
	r := &Report{Table: cfg.Table, Ports: cfg.PortList(), Allow: cfg.AllowText()}
	found, where, probeErr := kernel.ProbeApart(cfg.Queue == rules.QueueXT)
	r.Probed = where
	choice := r.kernel(cfg, found, probeErr)
	set, err := walk.Read(0)
	if err != nil {
		if probeErr != nil {
			r.finish()
			return r, nil // there is no nftables, and that has been said
		}
		return nil, fmt.Errorf("reading the ruleset: %w", err)
	}
	e := examination{report: r, cfg: cfg, ends: ends, rules: cfg.Rules(), set: set, nft: newLister(ctx), firewalls: findFirewalls(set), sysfs: "/sys"}
	choice.Apply(&e.rules)
	e.local = localAddresses()
	e.routed = routedBy(cfg.CTMark)
	e.rules.VirtualServers = balance.Rules(cfg.VirtualServers)
	e.daemon(q, running)
	for _, d := range kernel.Doubts(cfg) {
		e.found(Warn, topicDaemon, d.Text, d.Hint)
	}
	e.queues()
	e.tracker()
	e.pair(q, running)
	e.conflicts()
	e.legacy()
	e.translators()
	e.verdicts()
	e.virtualServers()
	r.finish()
	return r, nil
}

// An examination is one run of the doctor.
type examination struct {
	report    *Report
	cfg       config.Config
	ends      Ends
	rules     rules.Config
	set       *walk.Ruleset
	nft       *lister
	firewalls firewalls
	local     []netip.Addr // of this host
	routed    []string     // rules of policy routing that ask for our bits of the packet mark
	running   bool         // a daemon has our table
	sysfs     string       // where the kernel says what it has loaded

	// general are the rules that may drop control connections, too, in the
	// position and family that are looked at.
	general [3]map[walk.RuleRef]bool // by way
}

// found adds a finding.
func (e *examination) found(level Level, topic, text string, hints ...string) {
	e.report.add(Finding{Level: level, Topic: topic, Text: text, Hint: hints})
}
