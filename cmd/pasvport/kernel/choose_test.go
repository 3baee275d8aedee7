// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/rules"
)

// without is a kernel that lacks some features.
func without(features ...Feature) Found {
	f := Everything()
	for _, name := range features {
		f[name] = unix.ENOENT
	}
	return f
}

// untried is a kernel in which some features were not probed.
func untried(features ...Feature) Found {
	f := Everything()
	for _, name := range features {
		delete(f, name)
	}
	return f
}

func TestChooseQueue(t *testing.T) {
	for _, tc := range []struct {
		name   string
		kernel Found
		wanted rules.QueueKind
		want   string
		says   string // the error names it
	}{
		{"all", Everything(), rules.QueueAuto, "native", ""},
		{"all, xt wanted", Everything(), rules.QueueXT, "xt", ""},
		{"xt not tried", untried(QueueXT), rules.QueueAuto, "native", ""},
		{"no native", without(QueueNative), rules.QueueAuto, "xt", ""},
		{"no native, wanted", without(QueueNative), rules.QueueNative, "", "module nft_queue"},
		{"no xt, wanted", without(QueueXT), rules.QueueXT, "", "xt_NFQUEUE"},
		{"neither", without(QueueNative, QueueXT), rules.QueueAuto, "", "nft_queue"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config.Default()
			cfg.Queue = tc.wanted
			c, err := tc.kernel.Choose(cfg)
			if !failed(t, err, tc.says) && c.Queue.String() != tc.want {
				t.Errorf("queue %s, want %s", c.Queue.String(), tc.want)
			}
		})
	}
}

func TestChooseStrategy(t *testing.T) {
	const (
		auto, expectation, claim = config.StrategyAuto, config.StrategyExpectation, config.StrategyClaim
		any, sane, bare, none    = rules.CarrierAuto, rules.CarrierSane, rules.CarrierBare, rules.CarrierNone
	)
	for _, tc := range []struct {
		name     string
		kernel   Found
		strategy config.Strategy
		carrier  rules.Carrier
		want     config.Strategy
		gives    string
		claims   bool
		says     string
	}{
		{"all", Everything(), auto, any, expectation, "sane", true, ""},
		{"all, no claims wanted", Everything(), expectation, any, expectation, "sane", false, ""},
		{"all, sane and no claims wanted", Everything(), expectation, sane, expectation, "sane", false, ""},
		{"all, claims wanted", Everything(), claim, any, claim, "bare", true, ""},
		{"all, sane wanted", Everything(), auto, sane, expectation, "sane", true, ""},
		{"all, bare wanted", Everything(), auto, bare, claim, "bare", true, ""},
		{"all, no carrier wanted", Everything(), auto, none, claim, "none", true, ""},
		{"claims without a carrier wanted", Everything(), claim, none, claim, "none", true, ""},
		{"no sane", without(CarrierSane), auto, any, claim, "bare", true, ""},
		{"no sane, wanted", without(CarrierSane), auto, sane, "", "", false, "nf_conntrack_sane"},
		{"no expectations, wanted", without(Expectation), expectation, any, "", "", false, "nf_conntrack_sane"},
		{"no sane, no bare", without(CarrierSane, CarrierBare), auto, any, claim, "none", true, ""},
		{"no bare, wanted", without(CarrierBare), claim, bare, "", "", false, "Linux 5.3"},
		{"no claims", without(Claim), auto, any, expectation, "sane", false, ""},
		{"no claims, wanted", without(Claim), claim, any, "", "", false, "CONFIG_NF_CT_NETLINK"},
		{"no claims, and no carrier wanted", without(Claim), auto, none, "", "", false, "CONFIG_NF_CT_NETLINK"},
		{"nothing", without(Claim, Expectation), auto, any, "", "", false, "expectations or conntrack entries"},
		{"IPv6 is off", untried(ExpectationIPv6, ClaimIPv6), auto, any, expectation, "sane", true, ""},
		{"IPv6 can nothing", without(ExpectationIPv6, ClaimIPv6), auto, any, expectation, "sane", true, ""},
		{"IPv6 can nothing, claims wanted", without(ExpectationIPv6, ClaimIPv6), claim, any, claim, "bare", true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config.Default()
			cfg.Strategy, cfg.Carrier = tc.strategy, tc.carrier
			c, err := tc.kernel.Choose(cfg)
			if failed(t, err, tc.says) {
				return
			}
			if c.Strategy != tc.want || c.Carrier.String() != tc.gives || c.Claims != tc.claims {
				t.Errorf("%s, carrier %s, claims %v; want %s, %s, %v", c.Strategy, c.Carrier.String(), c.Claims, tc.want, tc.gives, tc.claims)
			}
			var r rules.Config
			if c.Apply(&r); r.Carrier != c.Carrier || r.Claim != tc.claims || r.OneZone {
				t.Errorf("applied: %+v", r)
			}
		})
	}
}

// TestZones: connections in zones are left alone if the kernel does not report
// the zones of queued packets.
func TestZones(t *testing.T) {
	for name, f := range map[string]Found{"no": without(Zones), "not tried": untried(Zones)} {
		c, err := f.Choose(config.Default())
		if err != nil || !c.OneZone {
			t.Errorf("%s: %+v, %v, want one zone", name, c, err)
		}
	}
}

func TestNames(t *testing.T) {
	n := without(Hash).With(FastPath, nil).Names()
	if has, ok := n["hash"]; !ok || has {
		t.Error("hash is not named as missing")
	}
	if !n["fast-path"] || !n["claim"] {
		t.Errorf("%v lacks an available feature", n)
	}
	if _, ok := untried(ClaimIPv6).Names()["claim-ipv6"]; ok {
		t.Error("an impossible feature is named")
	}
}

// failed compares an error with the expected text; empty: there must be no error.
// The kernel's own error is part of it.
func failed(t *testing.T, err error, says string) bool {
	t.Helper()
	if (err != nil) != (says != "") || err != nil && !strings.Contains(err.Error(), says) {
		t.Errorf("error %v, want one that says %q", err, says)
	}
	if err != nil && (!errors.Is(err, unix.ENOENT) || strings.Contains(err.Error(), "nil")) {
		t.Errorf("error %q does not give the kernel's answer", err)
	}
	return err != nil
}

// choosable are the features that Choose looks at.
var choosable = []Feature{QueueNative, QueueXT, CarrierSane, CarrierBare, Expectation, Claim}

// everyKernel yields a kernel for each set of choosable features that it may lack.
func everyKernel(yield func(Found) bool) {
	for set := range 1 << len(choosable) {
		f := Everything()
		for i, name := range choosable {
			if set>>i&1 == 1 {
				f[name] = unix.ENOENT
			}
		}
		if !yield(f) {
			return
		}
	}
}

// TestChooseAll: for every kernel and every setting, what is chosen is there and is what
// was asked for; nothing is refused that the kernel can do; expectations go before
// claims, and a carrier before none, unless the settings say otherwise.
func TestChooseAll(t *testing.T) {
	for f := range everyKernel {
		for _, cfg := range everySetting() {
			c, err := f.Choose(cfg)
			what := fmt.Sprintf("%v with --strategy %s --carrier %s --queue %s", f.Names(), cfg.Strategy, cfg.Carrier, cfg.Queue)
			if possible := len(ways(f, cfg)) > 0; (err == nil) != possible {
				t.Fatalf("%s: error %v, possible: %t", what, err, possible)
			}
			if err != nil {
				if missing := (*MissingError)(nil); !errors.As(err, &missing) || !errors.Is(err, unix.ENOENT) {
					t.Fatalf("%s: %v", what, err)
				}
				continue
			}
			// ways has the best one first.
			if got := (way{c.Queue, c.Strategy, c.Carrier}); got != ways(f, cfg)[0] {
				t.Fatalf("%s: chose %+v, want %+v", what, got, ways(f, cfg)[0])
			}
			if c.Claims != (f.Has(Claim) && cfg.Strategy != config.StrategyExpectation) {
				t.Fatalf("%s: claims: %t", what, c.Claims)
			}
		}
	}
}

// everySetting are the settings that a configuration may have.
func everySetting() (list []config.Config) {
	for _, s := range []config.Strategy{config.StrategyAuto, config.StrategyExpectation, config.StrategyClaim} {
		for _, c := range []rules.Carrier{rules.CarrierAuto, rules.CarrierSane, rules.CarrierBare, rules.CarrierNone} {
			for _, q := range []rules.QueueKind{rules.QueueAuto, rules.QueueNative, rules.QueueXT} {
				if s == config.StrategyExpectation && c != rules.CarrierAuto && c != rules.CarrierSane || s == config.StrategyClaim && c == rules.CarrierSane {
					continue // refused by the configuration
				}
				cfg := config.Default()
				cfg.Strategy, cfg.Carrier, cfg.Queue = s, c, q
				list = append(list, cfg)
			}
		}
	}
	return list
}

// way is one way to use a kernel.
type way struct {
	queue    rules.QueueKind
	strategy config.Strategy
	carrier  rules.Carrier
}

// ways are those that a kernel has and the settings allow, the best one first.
func ways(f Found, cfg config.Config) (list []way) {
	for _, s := range []struct {
		strategy config.Strategy
		carrier  rules.Carrier
		needs    []Feature
	}{
		{config.StrategyExpectation, rules.CarrierSane, []Feature{Expectation, CarrierSane}},
		{config.StrategyClaim, rules.CarrierBare, []Feature{Claim, CarrierBare}},
		{config.StrategyClaim, rules.CarrierNone, []Feature{Claim}},
	} {
		for _, q := range []struct {
			kind  rules.QueueKind
			needs Feature
		}{{rules.QueueNative, QueueNative}, {rules.QueueXT, QueueXT}} {
			if f.Has(append(s.needs, q.needs)...) &&
				(cfg.Strategy == config.StrategyAuto || cfg.Strategy == s.strategy) &&
				(cfg.Carrier == rules.CarrierAuto || cfg.Carrier == s.carrier) &&
				(cfg.Queue == rules.QueueAuto || cfg.Queue == q.kind) {
				list = append(list, way{q.kind, s.strategy, s.carrier})
			}
		}
	}
	return list
}

// TestRunning: the choice of a daemon is read back from its status.
func TestRunning(t *testing.T) {
	for f := range everyKernel {
		for _, lacksZones := range []bool{false, true} {
			if lacksZones {
				f[Zones] = unix.ENOENT
			}
			for _, cfg := range everySetting() {
				c, err := f.Choose(cfg)
				if err != nil {
					continue
				}
				s := control.Status{Strategy: string(c.Strategy), Carrier: c.Carrier.String(), QueueKind: c.Queue.String(), Features: f.Names()}
				if got := Running(s, cfg.Strategy); got != c {
					t.Fatalf("%+v read back as %+v", c, got)
				}
			}
		}
	}
}

// TestModuleOf: the module of a hook is found among its attributes; what is cut short
// or is something else has none.
func TestModuleOf(t *testing.T) {
	attr := func(typ uint16, v string) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(v)))
		b = append(binary.NativeEndian.AppendUint16(b, typ), v...)
		return append(b, make([]byte, (4-len(b)%4)%4)...)
	}
	head := []byte{unix.NFPROTO_IPV6, 0, 0, 0}
	hook := slices.Concat(head, attr(nfnlaHookHooknum, "\x00\x00\x00\x00"), attr(4, "hook_ipv6\x00"), attr(nfnlaHookModule, "jool_common\x00"))
	for _, tt := range []struct {
		in   []byte
		want string
	}{
		{hook, "jool_common"}, {slices.Concat(head, attr(nfnlaHookModule, "nf_tables\x00")), "nf_tables"},
		{head, ""}, {nil, ""}, {hook[:3], ""}, {hook[:len(hook)-6], ""}, {slices.Concat(head, attr(4, "x\x00")), ""}, {append(head, 3, 0, 5, 0), ""},
	} {
		if got := moduleOf(tt.in); got != tt.want {
			t.Errorf("%q: module %q, want %q", tt.in, got, tt.want)
		}
	}
}

// TestDoubtInterface: an interface that does not exist is said, once.
func TestDoubtInterface(t *testing.T) {
	cfg := config.Default()
	inside := netip.MustParseAddr("192.0.2.5")
	own := cfg
	own.Advertise = map[netip.Addr]config.Outside{inside: {Interface: "lo"}, inside.Next(): {Interface: "not-there0"}}
	cfg.Policies = []config.Policy{{Config: &own}}
	cfg.Advertise = map[netip.Addr]config.Outside{inside: {Interface: "not-there0"}, inside.Next(): {Name: "ftp.example.org"}}
	var said []string
	for _, d := range Doubts(cfg) {
		if strings.HasPrefix(d.Text, "advertise ") {
			said = append(said, d.Text)
		}
	}
	if len(said) != 1 || !strings.HasPrefix(said[0], "advertise interface:not-there0: there is no such interface") {
		t.Errorf("%q", said)
	}
}
