// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"

	"github.com/pasvport/pasvport/cmd/pasvport/balance"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/rules"
	"github.com/pasvport/pasvport/rules/walk"
)

// Run examines this host for a daemon. It returns an error if it cannot:
// unix.EPERM without CAP_NET_ADMIN.
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
			return r, nil // there is no nftables, and that is reported
		}
		return nil, fmt.Errorf("reading the ruleset: %w", err)
	}
	e := examination{report: r, cfg: cfg, ends: ends, rules: cfg.Rules(), set: set, nft: newLister(ctx), firewalls: findFirewalls(set), sysfs: "/sys",
		sysctl: kernel.Sysctl, counted: countExpectations, complete: tableComplete}
	choice.Apply(&e.rules)
	e.local = localAddresses()
	e.routed = routedBy(cfg.CTMark)
	e.rules.VirtualServers = balance.Rules(cfg.VirtualServers)
	e.daemon(q, running, set.Ours(rules.FamilyINet, cfg.Table))
	for _, f := range kernel.FaultsOfFile(cfg) {
		e.found(Problem, topicDaemon, f.Error(), "the daemon does not start with it")
	}
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
