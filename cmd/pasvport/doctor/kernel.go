// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/rules"
)

// kernelReport reports what the kernel supports, and what a daemon would choose.
type kernelReport struct {
	report *Report
	found  kernel.Found
	choice kernel.Choice
}

// kernel reports the result of probing the kernel, and returns what a daemon
// would choose.
func (r *Report) kernel(cfg config.Config, found kernel.Found, err error) kernel.Choice {
	k := kernelReport{report: r, found: found}
	if err != nil {
		k.say(Problem, err.Error(), "modprobe nf_tables nf_conntrack_netlink")
		return k.choice
	}
	k.chosen(cfg)
	return k.choice
}

func (k *kernelReport) say(level Level, text string, hints ...string) {
	k.report.add(Finding{Level: level, Topic: topicKernel, Text: text, Hint: hints})
}

func (k *kernelReport) chosen(cfg config.Config) {
	var err error
	if k.choice, err = k.found.Choose(cfg); err != nil {
		k.refused(err)
	} else {
		k.queue()
		k.strategy()
	}
	k.ipv6()
	k.adjustment()
	k.small()
	if !k.choice.OneZone {
		k.say(OK, "a queued packet comes with its conntrack zone: connections in zones are served")
	} else {
		k.say(OK, "a queued packet comes without its conntrack zone (CONFIG_NETFILTER_NETLINK_GLUE_CT): connections in zones other than the default one are left alone")
	}
}

// refused reports why a daemon would not start.
func (k *kernelReport) refused(err error) {
	var missing *kernel.MissingError
	if !errors.As(err, &missing) {
		k.say(Problem, err.Error())
		return
	}
	hints := []string{"the kernel has to have " + missing.Option}
	if missing.Instead != "" {
		hints = append(hints, "or use "+missing.Instead)
	}
	k.say(Problem, fmt.Sprintf("%s needs %s, which this kernel does not have: %v", missing.What, missing.Needs, missing.Err), hints...)
}

// queue reports how packets get to the daemon.
func (k *kernelReport) queue() {
	switch {
	case k.choice.Queue == rules.QueueNative:
		k.say(OK, "packets are queued by nft's queue expression")
	case k.found.Has(kernel.QueueNative):
		k.say(OK, "packets are queued by the NFQUEUE target of xtables, as --queue says")
	default:
		k.say(OK, "packets are queued by the NFQUEUE target of xtables; the kernel does not have nft's queue expression")
	}
}

// strategy reports how conntrack learns of data connections.
func (k *kernelReport) strategy() {
	c := k.choice
	switch {
	case c.Strategy == config.StrategyExpectation && c.Claims:
		k.say(OK, "expectations are accepted, with the helper sane as carrier; claims too, for connections older than the daemon")
	case c.Strategy == config.StrategyExpectation:
		k.say(OK, "expectations are accepted, with the helper sane as carrier")
	case c.Carrier == rules.CarrierBare:
		k.say(OK, "data connections are claimed at their first packet; carrier: an expectation object of size 0")
	default:
		k.say(Warn, "data connections are claimed at their first packet; without a carrier lines that change their length are adjusted in userspace",
			"modprobe nf_conntrack_sane (CONFIG_NF_CONNTRACK_SANE)")
	}
}

// ipv6 reports where IPv6 supports less than what was chosen for IPv4.
func (k *kernelReport) ipv6() {
	need := kernel.ClaimIPv6
	if k.choice.Strategy == config.StrategyExpectation {
		need = kernel.ExpectationIPv6
	}
	err, tried := k.found[need]
	switch {
	case !tried:
		k.say(OK, "IPv6 is off in this kernel (ipv6.disable=1)")
	case err != nil:
		k.say(Warn, fmt.Sprintf("IPv6 sessions get no data connections: %v", err), "the kernel needs CONFIG_NF_NAT, and IPv6 support in conntrack")
	}
}

func (k *kernelReport) adjustment() {
	err := k.found.Missing(kernel.SeqAdj)
	if err == nil {
		k.say(OK, "sequence numbers are adjusted by the kernel")
		return
	}
	k.say(Warn, fmt.Sprintf("sequence numbers are adjusted in userspace: %v", err),
		"a connection with a line that changed its length hangs when the daemon stops; modprobe nf_nat and nf_conntrack_sane")
}

// small reports the remaining features that the table needs.
func (k *kernelReport) small() {
	for _, f := range []struct {
		feature          kernel.Feature
		have, miss, need string
	}{
		{kernel.Mark, "connections keep a mark", "connections keep no mark", "CONFIG_NF_CONNTRACK_MARK"},
		{kernel.InnerHeader, "only packets with payload are queued (inner header match)", "rules cannot look behind the TCP header", "Linux 5.10 or newer"},
		{kernel.Hash, "both directions of a connection come to one queue (jhash ct id)", "rules cannot hash the connection's id", "CONFIG_NFT_HASH"},
		{kernel.MSS, "the segment size of control connections can be lowered", "rules cannot set the segment size", "CONFIG_NFT_EXTHDR"},
	} {
		if err := k.found.Missing(f.feature); err != nil {
			k.say(Problem, fmt.Sprintf("%s: %v", f.miss, err), "the kernel needs "+f.need)
			continue
		}
		k.say(OK, f.have)
	}
}
