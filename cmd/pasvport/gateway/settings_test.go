// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"

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
