// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"github.com/pasvport/pasvport/cmd/pasvport/balance"
	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/rules"
)

// plan is how this kernel is used.
type plan struct {
	kernel.Choice
	found kernel.Found
	rules rules.Config

	// unable is why data connections cannot be opened, which is no problem while
	// everything is only monitored.
	unable error
}

// choose probes the kernel and chooses among what it supports.
func choose(cfg config.Config) (plan, error) {
	found, err := kernel.Probe(cfg.Queue == rules.QueueXT)
	if err != nil {
		return plan{}, err
	}
	p := plan{found: found, rules: cfg.Rules()}
	p.rules.VirtualServers = balance.Rules(cfg.VirtualServers)
	if p.Choice, err = found.Choose(cfg); err != nil {
		if !cfg.Monitor || p.Queue == rules.QueueAuto {
			return plan{}, err
		}
		p.unable, p.Carrier, p.Claims = err, rules.CarrierNone, false
	}
	p.Apply(&p.rules)
	return p, nil
}
