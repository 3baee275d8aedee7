// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/rules"
)

// A Choice is how a kernel is used.
type Choice struct {
	Strategy config.Strategy // StrategyExpectation or StrategyClaim
	Carrier  rules.Carrier
	Queue    rules.QueueKind
	Claims   bool // data connections can be claimed, whatever the strategy is
	OneZone  bool // a queued packet comes without its conntrack zone

}

// A MissingError means that the kernel lacks what the settings need.
type MissingError struct {
	What    string // what cannot be done, "--queue native"
	Needs   string // what it needs, "the NFQUEUE target"
	Option  string // the kernel's options and modules that provide it
	Instead string // settings that may work without it; empty: none
	Err     error  // the kernel's error
}

// Error implements error.
func (e *MissingError) Error() string {
	text := e.What + " needs " + e.Needs + " (" + e.Option + "), which this kernel does not have: " + e.Err.Error()
	if e.Instead != "" {
		text += "; " + e.Instead + " works without it"
	}
	return text
}

// Unwrap returns the kernel's error.
func (e *MissingError) Unwrap() error { return e.Err }

// Descriptions of what the choices need.
const (
	nativeOption = "CONFIG_NFT_QUEUE, module nft_queue"
	xtOption     = "CONFIG_NETFILTER_XT_TARGET_NFQUEUE and CONFIG_NFT_COMPAT, modules xt_NFQUEUE and nft_compat"
	saneOption   = "CONFIG_NF_CONNTRACK_SANE, module nf_conntrack_sane"
	claimOption  = "CONFIG_NF_CT_NETLINK and CONFIG_NF_NAT"
)

// Choose chooses for the settings. The error is a *MissingError. Strategy and
// carrier of the settings are consistent: the configuration has been checked.
//
// IPv4 decides. Where IPv6 supports less, its sessions are served less well.
func (f Found) Choose(cfg config.Config) (Choice, error) {
	c := Choice{OneZone: !f.Has(Zones)}
	if err := f.chooseQueue(&c, cfg.Queue); err != nil {
		return c, err
	}
	if err := f.chooseStrategy(&c, cfg.Strategy, cfg.Carrier); err != nil {
		return c, err
	}
	return c, nil
}

func (f Found) chooseQueue(c *Choice, wanted rules.QueueKind) error {
	native, xt := f.Missing(QueueNative), f.Missing(QueueXT)
	switch {
	case wanted == rules.QueueNative && native != nil:
		return &MissingError{"--queue native", "nft's queue expression", nativeOption, "--queue xt or auto", native}
	case wanted == rules.QueueXT && xt != nil:
		return &MissingError{"--queue xt", "the NFQUEUE target", xtOption, "--queue native or auto", xt}
	case wanted != rules.QueueXT && native == nil:
		c.Queue = rules.QueueNative
	case xt == nil:
		c.Queue = rules.QueueXT
	default:
		return &MissingError{"queueing packets", "nft's queue expression or the NFQUEUE target", nativeOption + ", or " + xtOption, "", native}
	}
	return nil
}

func (f Found) chooseStrategy(c *Choice, wanted config.Strategy, carrier rules.Carrier) error {
	noExpect, noClaim := f.Missing(CarrierSane, Expectation), f.Missing(Claim)
	c.Claims = wanted != config.StrategyExpectation && noClaim == nil
	const sane = "the conntrack helper sane"
	switch {
	case noExpect != nil && wanted == config.StrategyExpectation:
		return &MissingError{"--strategy expectation", sane, saneOption, "--strategy claim or auto", noExpect}
	case noExpect != nil && carrier == rules.CarrierSane:
		return &MissingError{"--carrier sane", sane, saneOption, "--carrier auto", noExpect}
	case noClaim != nil && (wanted == config.StrategyClaim || carrier == rules.CarrierBare || carrier == rules.CarrierNone):
		return &MissingError{"--strategy claim (as --carrier bare and none)", "conntrack entries created by netlink", claimOption, "--strategy auto", noClaim}
	case carrier == rules.CarrierBare && !f.Has(CarrierBare):
		return &MissingError{"--carrier bare", "objects of type ct expectation", "Linux 5.3 or newer", "--carrier none or auto", f.Missing(CarrierBare)}
	case noExpect == nil && wanted != config.StrategyClaim && (carrier == rules.CarrierAuto || carrier == rules.CarrierSane):
		c.Strategy, c.Carrier = config.StrategyExpectation, rules.CarrierSane
	case noClaim == nil:
		c.Strategy, c.Carrier = config.StrategyClaim, rules.CarrierNone
		if f.Has(CarrierBare) && carrier != rules.CarrierNone {
			c.Carrier = rules.CarrierBare
		}
	default:
		return &MissingError{"opening data connections", "expectations or conntrack entries created by netlink",
			saneOption + "; " + claimOption, "", noExpect}
	}
	return nil
}

// Apply puts the choice into the description of our table.
func (c Choice) Apply(r *rules.Config) {
	r.Queue, r.Carrier, r.Claim, r.OneZone = c.Queue, c.Carrier, c.Claims, c.OneZone
}

// Running is the choice of a running daemon, from its status and the strategy
// that it was asked for.
func Running(s control.Status, asked config.Strategy) Choice {
	c := Choice{
		Strategy: config.Strategy(s.Strategy), Carrier: rules.ParseCarrier(s.Carrier), Queue: rules.QueueNative,
		Claims: asked != config.StrategyExpectation && s.Features[string(Claim)], OneZone: !s.Features[string(Zones)],
	}
	if s.QueueKind == rules.QueueXT.String() {
		c.Queue = rules.QueueXT
	}
	return c
}
