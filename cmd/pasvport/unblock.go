// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

const unblockHelp = `unblock lets a client in again that --login-failures has blocked; pasvport status
lists those that are. Of an IPv6 client its network of 64 bits was blocked.`

func newUnblock() *cobra.Command {
	cmd := &cobra.Command{Use: "unblock ADDRESS", Short: "Unblock a client whose logins failed", Long: unblockHelp,
		Example: "  pasvport unblock 192.0.2.7", Args: oneAddress}
	flags := config.Bind(cmd.Flags(), "control-socket")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		daemon, err := loadClient(flags)
		if err != nil {
			return err
		}
		a, _ := netip.ParseAddr(args[0]) // oneAddress has tried
		return failed(daemon.Unblock(cmd.Context(), a))
	}
	return cmd
}

// oneAddress wants one address.
func oneAddress(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		if a, err := netip.ParseAddr(args[0]); err == nil && a.Zone() == "" {
			return nil
		}
	}
	return fmt.Errorf("%s %s: want the address of one client", cmd.CommandPath(), strings.Join(args, " "))
}
