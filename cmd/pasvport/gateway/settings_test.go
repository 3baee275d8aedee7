// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// load is the configuration of a command line.
func load(t *testing.T, args ...string) config.Config {
	t.Helper()
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	flags := config.Bind(fs)
	if err := fs.Parse(append(args, "--config", "/dev/null")); err != nil {
		t.Fatal(err)
	}
	cfg, err := flags.Load()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Of two configurations that differ in everything that a reload changes, and in
// what it does not, the former is taken over and the latter is not.
func TestAdjusted(t *testing.T) {
	old := load(t)
	next := load(t, "--port=2121", "--allow=chain=inet/filter/forward", "--third-party=allow", "--advertise=10.0.0.5=203.0.113.5",
		"--repair=all", "--min-data-port=1", "--checks=strict", "--deny-command=SITE", "--strict-active-port=on", "--pinhole-timeout=5s", "--tls=range=50000-50100", "--tls-parallel=3", "--tls-port=990", "--log-level=debug",
		"--max-offers=1", "--max-sessions=2", "--max-client-sessions=1", "--max-pinholes=2", "--max-client-pinholes=1",
		"--queue-num=7", "--table=other", "--strategy=claim", "--fail=closed", "--ct-mark=0x3", "--metrics=127.0.0.1:1")
	next.Policies = []config.Policy{{Config: &config.Config{}}}
	next.VirtualServers = []config.VirtualServer{{Name: "ftp"}}
	cfg := adjusted(old, next)
	if d := cmp.Diff(adjustable, config.Changed(old, cfg), cmp.Transformer("sorted", sorted)); d != "" {
		t.Errorf("taken over (-want +got):\n%s", d)
	}
	rest := []string{"ct-mark", "fail", "metrics", "queue-num", "strategy", "table"}
	if d := cmp.Diff(rest, config.Changed(cfg, next), cmp.Transformer("sorted", sorted)); d != "" {
		t.Errorf("left for a restart (-want +got):\n%s", d)
	}
}

func sorted(names []string) map[string]bool {
	set := map[string]bool{}
	for _, n := range names {
		set[n] = true
	}
	return set
}
