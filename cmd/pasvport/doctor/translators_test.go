// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/ftpalg"
)

// TestTranslators: a program named tayga runs, here or in another network namespace.
func TestTranslators(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	tayga := filepath.Join(t.TempDir(), "tayga")
	if err := os.WriteFile(tayga, program, 0o755); err != nil {
		t.Fatal(err)
	}
	prefix, pool := netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("192.168.255.0/24")
	start := func() func() {
		cmd := exec.Command(tayga, "60")
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return func() {}
		}
		return func() { cmd.Process.Kill(); cmd.Wait() }
	}
	for _, tt := range []struct {
		name  string
		here  bool
		nat64 []ftpalg.NAT64
		level Level
		want  string
	}{
		{"told of both sides", true, []ftpalg.NAT64{{Prefix: prefix, Pool: pool}}, OK, "tayga runs here: both sides of what it translates pass our rules, and --nat64 says which they are"},
		{"told of the prefix", true, []ftpalg.NAT64{{Prefix: prefix}}, Warn, "tayga runs here, and --nat64 names no POOL: it is taken for one on another machine, and active mode is not translated"},
		{"not told", true, nil, Warn, "tayga runs here: without --nat64 FTP through it works with EPSV alone, where the server knows it"},
		{"elsewhere", false, nil, OK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.here {
				defer start()()
			}
			cfg := settings()
			cfg.NAT64 = tt.nat64
			e := examination{report: new(Report), cfg: cfg}
			inNamespace(t, "", nil, func() error {
				if tt.here {
					defer start()()
				}
				e.translators()
				return nil
			})
			var got []string
			for _, f := range e.report.Findings {
				if strings.Contains(f.Text, "tayga") {
					got = append(got, f.Text)
					if f.Level != tt.level {
						t.Errorf("level %v, want %v", f.Level, tt.level)
					}
				}
			}
			if strings.Join(got, "") != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
