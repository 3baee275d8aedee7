// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/rules"
)

// report says what the kernel can do. The daemon decides the same way.
func (k kernel) report(r *Report, cfg config.Config) {
	say := func(level Level, text string, hints ...string) {
		r.add(Finding{Level: level, Topic: topicKernel, Text: text, Hint: hints})
	}
	if k.err != nil {
		say(Problem, fmt.Sprintf("nftables cannot be used: %v", k.err), "the kernel needs CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET (module nf_tables)")
		return
	}
	k.queue(say, cfg.Queue)
	if k.ctErr != nil {
		say(Problem, fmt.Sprintf("the connection tracker cannot be spoken to: %v", k.ctErr), "modprobe nf_conntrack_netlink (CONFIG_NF_CT_NETLINK)")
		return
	}
	k.strategy(say, cfg.Strategy, cfg.Carrier)
	k.adjustment(say)
	k.small(say)
	if k.zones == nil {
		say(OK, "a queued packet tells its conntrack zone: connections in zones are served")
	} else {
		say(OK, "a queued packet does not tell its conntrack zone (CONFIG_NETFILTER_NETLINK_GLUE_CT): connections in other zones than the default one are left alone")
	}
}

// queue says how packets come to the daemon.
func (k kernel) queue(say func(Level, string, ...string), wanted config.Queue) {
	forced := map[config.Queue]string{config.QueueNative: "modprobe nft_queue (CONFIG_NFT_QUEUE), or use --queue auto",
		config.QueueXT: "modprobe xt_NFQUEUE and nft_compat, or use --queue auto"}
	switch {
	case wanted == config.QueueXT && k.forcedXT != nil:
		say(Problem, fmt.Sprintf("--queue xt: packets cannot be queued so: %v", k.forcedXT), forced[wanted])
	case wanted == config.QueueXT:
		say(OK, "packets are queued by the NFQUEUE target of xtables, as --queue says")
	case k.nft.NativeQueue:
		say(OK, "packets are queued by nft's queue expression")
	case wanted == config.QueueNative:
		say(Problem, fmt.Sprintf("--queue native: packets cannot be queued so: %v", k.nft.Missing["NativeQueue"]), forced[wanted])
	case k.nft.XTQueue:
		say(OK, "packets are queued by the NFQUEUE target of xtables; nft's queue expression is not there")
	default:
		say(Problem, fmt.Sprintf("packets cannot be queued: %v, %v", k.nft.Missing["NativeQueue"], k.nft.Missing["XTQueue"]),
			"modprobe nft_queue (CONFIG_NFT_QUEUE), or xt_NFQUEUE and nft_compat")
	}
}

// strategy says how data connections are made known to the tracker.
func (k kernel) strategy(say func(Level, string, ...string), wanted config.Strategy, carrier config.Carrier) {
	sane := k.sane()
	if carrier == config.CarrierBare || carrier == config.CarrierNone {
		wanted = config.StrategyClaim
	}
	claim := k.ct.Claim4.OK && k.ct.Claim6.OK
	module := "modprobe nf_conntrack_sane (CONFIG_NF_CONNTRACK_SANE)"
	switch {
	case (wanted == config.StrategyExpectation || carrier == config.CarrierSane) && !sane:
		say(Problem, fmt.Sprintf("--strategy expectation or --carrier sane: no expectations: %v", k.noSane()), module+", or use auto for both")
	case wanted == config.StrategyClaim && !claim, !sane && !claim:
		say(Problem, fmt.Sprintf("no data connection can be made known to the tracker: %v; %v", k.noSane(), k.ct.Claim4.Err), module)
	case sane && wanted == config.StrategyAuto && claim:
		say(OK, "expectations are accepted, with the helper sane as carrier; claims too, for connections older than the daemon")
	case sane && wanted != config.StrategyClaim:
		say(OK, "expectations are accepted, with the helper sane as carrier")
	case carrier == config.CarrierBare && !k.nft.Bare:
		say(Problem, fmt.Sprintf("--carrier bare: %v", k.nft.Missing["Bare"]), "use --carrier auto")
	case k.nft.Bare && carrier != config.CarrierNone:
		say(OK, "data connections are claimed at their first packet; carrier: an expectation object of size 0")
	default:
		say(Warn, "data connections are claimed at their first packet; without a carrier lines that change their length are adjusted in userspace", module)
	}
}

// sane tells whether there is a carrier for expectations.
func (k kernel) sane() bool {
	return k.nft.SaneIPv4 && k.nft.SaneIPv6 && k.ct.Sane4.OK && k.ct.Sane6.OK
}

// carrier is the one that control connections get where the settings want this one.
func (k kernel) carrier(wanted rules.Carrier) rules.Carrier {
	if wanted == rules.CarrierSane && !k.sane() {
		wanted = rules.CarrierBare
	}
	if wanted == rules.CarrierBare && !k.nft.Bare {
		wanted = rules.CarrierNone
	}
	return wanted
}

// noSane is why there is no carrier for expectations.
func (k kernel) noSane() error {
	for _, err := range []error{k.nft.Missing["SaneIPv4"], k.nft.Missing["SaneIPv6"], k.ct.Sane4.Err, k.ct.Sane6.Err} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (k kernel) adjustment(say func(Level, string, ...string)) {
	if k.more.SeqAdj.OK {
		say(OK, "sequence numbers are adjusted by the kernel")
		return
	}
	say(Warn, fmt.Sprintf("sequence numbers are adjusted in userspace: %v", k.more.SeqAdj.Err),
		"a connection with a line that changed its length hangs when the daemon stops; modprobe nf_nat and nf_conntrack_sane")
}

// small says what the table needs besides.
func (k kernel) small(say func(Level, string, ...string)) {
	for _, f := range []struct {
		ok        bool
		name      string
		have      string
		miss, cfg string
	}{
		{k.more.Mark.OK, "", "connections keep a mark", "connections keep no mark", "CONFIG_NF_CONNTRACK_MARK"},
		{k.nft.InnerHeader, "InnerHeader", "only packets with payload are queued (inner header match)",
			"rules cannot look behind the TCP header", "Linux 5.10 or newer"},
		{k.nft.Hash, "Hash", "both directions of a connection come to one queue (jhash ct id)", "rules cannot hash the connection's id", "CONFIG_NFT_HASH"},
		{k.nft.MaxSegment, "MaxSegment", "the segment size of control connections can be lowered",
			"rules cannot set the segment size", "CONFIG_NFT_EXTHDR"},
	} {
		err := k.nft.Missing[f.name]
		if f.name == "" {
			err = k.more.Mark.Err
		}
		if f.ok {
			say(OK, f.have)
			continue
		}
		say(Problem, fmt.Sprintf("%s: %v", f.miss, err), "the kernel needs "+f.cfg)
	}
}
