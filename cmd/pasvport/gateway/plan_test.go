// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/rules"
)

// stock are the features of a kernel that has everything.
func stock() map[string]bool {
	return map[string]bool{featureQueueNative: true, featureQueueXT: true, featureCarrierSane: true, featureCarrierBare: true,
		featureExpectation: true, featureClaim: true}
}

// without is a kernel that lacks some of it.
func without(features ...string) map[string]bool {
	m := stock()
	maps.DeleteFunc(m, func(name string, _ bool) bool { return slices.Contains(features, name) })
	return m
}

func TestChooseQueue(t *testing.T) {
	for _, tc := range []struct {
		name   string
		kernel map[string]bool
		wanted config.Queue
		want   rules.QueueKind
		says   string // the error names it
	}{
		{"all", stock(), config.QueueAuto, rules.QueueNative, ""},
		{"all, xt wanted", stock(), config.QueueXT, rules.QueueXT, ""},
		{"no native", without(featureQueueNative), config.QueueAuto, rules.QueueXT, ""},
		{"no native, wanted", without(featureQueueNative), config.QueueNative, 0, "module nft_queue"},
		{"no xt, wanted", without(featureQueueXT), config.QueueXT, 0, "xt_NFQUEUE"},
		{"neither", without(featureQueueNative, featureQueueXT), config.QueueAuto, 0, "nft_queue"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := plan{features: tc.kernel}
			err := p.chooseQueue(tc.wanted)
			if failed(t, err, tc.says) {
				return
			}
			if p.rules.Queue != tc.want {
				t.Errorf("queue %v, want %v", p.rules.Queue, tc.want)
			}
		})
	}
}

func TestChooseStrategy(t *testing.T) {
	const (
		auto, expectation, claim = config.StrategyAuto, config.StrategyExpectation, config.StrategyClaim
		any, sane, bare, none    = config.CarrierAuto, config.CarrierSane, config.CarrierBare, config.CarrierNone
	)
	for _, tc := range []struct {
		name     string
		kernel   map[string]bool
		strategy config.Strategy
		carrier  config.Carrier
		want     config.Strategy
		gives    rules.Carrier
		claims   bool
		says     string
	}{
		{"all", stock(), auto, any, expectation, rules.CarrierSane, true, ""},
		{"all, no claims wanted", stock(), expectation, any, expectation, rules.CarrierSane, false, ""},
		{"all, claims wanted", stock(), claim, any, claim, rules.CarrierBare, true, ""},
		{"all, sane wanted", stock(), auto, sane, expectation, rules.CarrierSane, true, ""},
		{"all, bare wanted", stock(), auto, bare, claim, rules.CarrierBare, true, ""},
		{"all, no carrier wanted", stock(), auto, none, claim, rules.CarrierNone, true, ""},
		{"no sane", without(featureCarrierSane), auto, any, claim, rules.CarrierBare, true, ""},
		{"no sane, wanted", without(featureCarrierSane), auto, sane, "", 0, false, "nf_conntrack_sane"},
		{"no expectations, wanted", without(featureExpectation), expectation, any, "", 0, false, "nf_conntrack_sane"},
		{"no sane, no bare", without(featureCarrierSane, featureCarrierBare), auto, any, claim, rules.CarrierNone, true, ""},
		{"no bare, wanted", without(featureCarrierBare), claim, bare, "", 0, false, "Linux 5.3"},
		{"no claims", without(featureClaim), auto, any, expectation, rules.CarrierSane, false, ""},
		{"no claims, wanted", without(featureClaim), claim, any, "", 0, false, "CONFIG_NF_CT_NETLINK"},
		{"no claims, and no carrier wanted", without(featureClaim), auto, none, "", 0, false, "CONFIG_NF_CT_NETLINK"},
		{"nothing", without(featureClaim, featureExpectation), auto, any, "", 0, false, "neither expectations"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := plan{features: tc.kernel}
			if failed(t, p.chooseStrategy(tc.strategy, tc.carrier), tc.says) {
				return
			}
			if p.strategy != tc.want || p.rules.Carrier != tc.gives || p.rules.Claim != tc.claims {
				t.Errorf("%s, carrier %s, claims %v; want %s, %s, %v",
					p.strategy, carrierWords[p.rules.Carrier], p.rules.Claim, tc.want, carrierWords[tc.gives], tc.claims)
			}
		})
	}
}

// failed compares an error with what it is to say; with nothing there is to be none.
func failed(t *testing.T, err error, says string) bool {
	t.Helper()
	if (err != nil) != (says != "") || err != nil && !strings.Contains(err.Error(), says) {
		t.Errorf("error %v, want one that says %q", err, says)
	}
	return err != nil
}
