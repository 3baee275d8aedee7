// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
)

// TestKernelAgrees: the doctor reports a problem with a kernel exactly if a
// daemon would not start on it, and each missing feature has a reason.
func TestKernelAgrees(t *testing.T) {
	features := []kernel.Feature{kernel.QueueNative, kernel.QueueXT, kernel.CarrierSane, kernel.CarrierBare,
		kernel.Expectation, kernel.ExpectationIPv6, kernel.Claim, kernel.ClaimIPv6, kernel.Zones, kernel.SeqAdj}
	for bits := range 1 << len(features) {
		found := kernel.Everything()
		for i, f := range features {
			if bits>>i&1 == 1 {
				found[f] = unix.ENOENT
			}
		}
		for _, s := range []config.Strategy{config.StrategyAuto, config.StrategyExpectation, config.StrategyClaim} {
			cfg := config.Default()
			cfg.Strategy = s
			want, err := found.Choose(cfg)
			var r Report
			if got := r.kernel(cfg, found, nil); got != want {
				t.Fatalf("%s, %v: doctor chooses %+v, a daemon %+v", s, found, got, want)
			}
			problem := slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Level == Problem })
			if problem != (err != nil) {
				t.Fatalf("%s, %v: problem %v, a daemon says %v", s, found, problem, err)
			}
			for _, f := range r.Findings {
				if text := f.Text + strings.Join(f.Hint, " "); strings.Contains(text, "nil>") {
					t.Fatalf("%s, %v: %q", s, found, text)
				}
			}
		}
	}
}

// TestKernelWithoutIPv6: where IPv6 supports less, or is off, IPv4 is served.
func TestKernelWithoutIPv6(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		off   bool
		level Level
		says  string
	}{
		{"there", nil, false, OK, "expectations are accepted"},
		{"can nothing", unix.EOPNOTSUPP, false, Warn, "IPv6 sessions get no data connections: operation not supported"},
		{"off", nil, true, OK, "IPv6 is off"},
	} {
		found := kernel.Everything().With(kernel.ExpectationIPv6, tt.err).With(kernel.ClaimIPv6, tt.err)
		if tt.off {
			delete(found, kernel.ExpectationIPv6)
			delete(found, kernel.ClaimIPv6)
		}
		var r Report
		r.kernel(config.Default(), found, nil)
		if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Level == tt.level && strings.Contains(f.Text, tt.says) }) {
			t.Errorf("%s: %+v lacks %s %q", tt.name, r.Findings, tt.level, tt.says)
		}
		if slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Level == Problem }) {
			t.Errorf("%s: %+v", tt.name, r.Findings)
		}
	}
}
