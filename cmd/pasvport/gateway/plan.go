// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"

	"github.com/pasvport/pasvport/cmd/pasvport/balance"
	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// plan is how this kernel is used.
type plan struct {
	strategy config.Strategy
	rules    rules.Config
	features map[string]bool
}

// The features as status shows them.
const (
	featureQueueNative  = "queue-native"
	featureQueueXT      = "queue-xt"
	featureCarrierSane  = "carrier-sane"
	featureCarrierBare  = "carrier-bare"
	featureInnerHeader  = "inner-header"
	featureExpectation  = "expectation"
	featureExpectation6 = "expectation-ipv6"
	featureClaim        = "claim"
	featureClaim6       = "claim-ipv6"
	featureHash         = "hash"
	featureMSS          = "mss-clamp"
	featureZones        = "zones"
	featureFastPath     = "fast-path"
)

// choose tries what the kernel can do and chooses among it.
func choose(cfg config.Config) (plan, error) {
	nft, err := rules.Probe()
	if err != nil {
		return plan{}, fmt.Errorf("nftables: %w (is the kernel built with CONFIG_NF_TABLES?)", err)
	}
	ct, err := expect.Probe()
	if err != nil {
		return plan{}, fmt.Errorf("conntrack netlink: %w (is the kernel built with CONFIG_NF_CT_NETLINK?)", err)
	}
	p := plan{features: map[string]bool{
		featureQueueNative: nft.NativeQueue, featureQueueXT: nft.XTQueue,
		featureCarrierSane: nft.SaneIPv4 && nft.SaneIPv6, featureCarrierBare: nft.Bare,
		featureInnerHeader: nft.InnerHeader, featureHash: nft.Hash, featureMSS: nft.MaxSegment,
		featureExpectation: ct.Sane4.OK, featureExpectation6: ct.Sane6.OK,
		featureClaim: ct.Claim4.OK, featureClaim6: ct.Claim6.OK,
		featureZones: nfq.ProbeZones() == nil,
	}}
	p.rules = cfg.Rules()
	p.rules.VirtualServers = balance.Rules(cfg.VirtualServers)
	p.rules.OneZone = !p.features[featureZones]
	if cfg.Queue == config.QueueXT {
		p.features[featureQueueXT] = rules.ProbeXTQueue() == nil
	}
	if err := p.chooseQueue(cfg.Queue); err != nil {
		return plan{}, err
	}
	return p, p.chooseStrategy(cfg.Strategy, cfg.Carrier)
}

func (p *plan) chooseQueue(wanted config.Queue) error {
	const needNative = "nft's queue expression (CONFIG_NFT_QUEUE, module nft_queue)"
	const needXT = "the NFQUEUE target (CONFIG_NETFILTER_XT_TARGET_NFQUEUE and CONFIG_NFT_COMPAT, modules xt_NFQUEUE and nft_compat)"
	native, xt := p.features[featureQueueNative], p.features[featureQueueXT]
	switch {
	case wanted == config.QueueNative && !native:
		return errors.New("queue native needs " + needNative + ", which this kernel does not give; --queue xt or auto may work without")
	case wanted == config.QueueXT && !xt:
		return errors.New("queue xt needs " + needXT + ", which this kernel does not give; --queue native or auto may work without")
	case wanted != config.QueueXT && native:
		p.rules.Queue = rules.QueueNative
	case xt:
		p.rules.Queue = rules.QueueXT
	default:
		return errors.New("this kernel queues no packets for userspace: it has neither " + needNative + " nor " + needXT)
	}
	return nil
}

// chooseStrategy chooses among what was found; the configuration has been
// checked, so that strategy and carrier go together.
func (p *plan) chooseStrategy(wanted config.Strategy, carrier config.Carrier) error {
	canExpect := p.features[featureCarrierSane] && p.features[featureExpectation]
	canClaim := p.features[featureClaim]
	switch {
	case !canExpect && (wanted == config.StrategyExpectation || carrier == config.CarrierSane):
		return errors.New("strategy expectation and carrier sane need the connection tracking helper sane " +
			"(CONFIG_NF_CONNTRACK_SANE, module nf_conntrack_sane), which this kernel does not give; --strategy claim or auto works without")
	case !canClaim && (wanted == config.StrategyClaim || carrier == config.CarrierBare || carrier == config.CarrierNone):
		return errors.New("strategy claim needs conntrack entries to be made by netlink (CONFIG_NF_CT_NETLINK), which this kernel refuses")
	case !p.features[featureCarrierBare] && carrier == config.CarrierBare:
		return errors.New("carrier bare needs objects of type ct expectation (Linux 5.3 or newer), which this kernel does not give; --carrier none or auto works without")
	case wanted != config.StrategyClaim && canExpect && (carrier == config.CarrierAuto || carrier == config.CarrierSane):
		p.strategy, p.rules.Carrier = config.StrategyExpectation, rules.CarrierSane
		p.rules.Claim = wanted == config.StrategyAuto && canClaim
	case canClaim:
		p.strategy, p.rules.Claim, p.rules.Carrier = config.StrategyClaim, true, rules.CarrierNone
		if p.features[featureCarrierBare] && carrier != config.CarrierNone {
			p.rules.Carrier = rules.CarrierBare
		}
	default:
		return errors.New("this kernel accepts neither expectations (module nf_conntrack_sane) nor conntrack entries " +
			"by netlink (CONFIG_NF_CT_NETLINK): no data connection could be opened")
	}
	return nil
}
