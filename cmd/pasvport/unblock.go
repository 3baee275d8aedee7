// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

const unblockHelp = `unblock lets a client in again that --login-failures has blocked; pasvport status
lists those that are, as networks. Of an IPv6 client its network of 64 bits was blocked:
any address of it does, and the network itself.`

func newUnblock() *cobra.Command {
	cmd := &cobra.Command{Use: "unblock ADDRESS", Short: "Unblock a client whose logins failed", Long: unblockHelp,
		Example: "  pasvport unblock 192.0.2.7\n  pasvport unblock 2001:db8:1:2::/64", Args: oneClient}
	flags := config.Bind(cmd.Flags(), "control-socket")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		daemon, err := loadClient(flags)
		if err != nil {
			return err
		}
		a, _ := parseClient(args[0]) // oneClient has tried
		return failed(daemon.Unblock(cmd.Context(), a))
	}
	return cmd
}

// oneClient wants one client.
func oneClient(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		if _, err := parseClient(args[0]); err == nil {
			return nil
		}
	}
	return wantArgument(cmd, args, "the address of one client, or its network as pasvport status shows it")
}

// parseClient reads an address without a zone, or a network, and returns one of its
// addresses.
func parseClient(text string) (netip.Addr, error) {
	if p, err := netip.ParsePrefix(text); err == nil && (p.IsSingleIP() || p.Addr().Is6()) {
		return p.Addr(), nil
	}
	a, err := netip.ParseAddr(text)
	if err == nil && a.Zone() != "" {
		err = strconv.ErrSyntax
	}
	return a.Unmap(), err
}

// wantArgument is the error about what follows a command.
func wantArgument(cmd *cobra.Command, args []string, want string) error {
	return fmt.Errorf("%s: want %s", strings.Join(append([]string{cmd.CommandPath()}, args...), " "), want)
}
