// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pasvport/pasvport/cmd/pasvport/balance"
	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/rules"
)

const rulesHelp = `rules prints the nftables table that "pasvport run" with the same flags and the
same file would install, in nft syntax. It needs no privileges and changes nothing.

As it does not probe the kernel, it assumes one with every feature: it prints nft's own
queue statement, and expectations unless --strategy claim is given.`

func newRules() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rules",
		Short:   "Print what run would install, in nft syntax",
		Long:    rulesHelp,
		Example: "  pasvport rules --port 21,2121 --allow chain=inet/filter/forward",
		Args:    noArgs,
	}
	flags := config.Bind(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := flags.Load()
		if err != nil {
			return err
		}
		r := cfg.Rules()
		choice, err := kernel.Everything().Choose(cfg)
		if err != nil {
			return failed(err)
		}
		choice.Apply(&r)
		r.VirtualServers = balance.Rules(cfg.VirtualServers)
		_, err = fmt.Fprint(cmd.OutOrStdout(), rules.Text(r))
		return failed(err)
	}
	return cmd
}
