// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
)

const checkHelp = `check reads a configuration file as "pasvport run --config FILE" does, and says what is
wrong with it, with line and column; a user or a file that it names and the daemon could
not use on this machine is wrong, too. Settings that are allowed and hardly meant, here or
on this machine, are warnings; so are policies that never hold, because no connection is
theirs or because earlier policies have all of theirs. It needs no privilege, except
CAP_NET_ADMIN to look at the chains of allow, and touches nothing. Exit status: 0 the file
is good, 2 it is not.

--explain says what would hold for a control connection from client to server, by the
ends' own addresses and the port that the client dials (21 if none is given): which
policy, and for each setting that a policy may change its value and the line that says
so.`

const checkExample = "  pasvport check " + config.DefaultFile + `
  pasvport check FILE --explain client=192.0.2.7 server=10.0.0.5 port=2121`

func newCheck() *cobra.Command {
	var explain bool
	cmd := &cobra.Command{
		Use: "check FILE [--explain client=ADDRESS server=ADDRESS port=N]", Short: "Check a configuration file", Long: checkHelp,
		Example: checkExample, DisableFlagsInUseLine: true,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			switch {
			case len(args) == 0:
				return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
			case explain:
				return []string{"client=", "server=", "port="}, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 1 && !explain {
				return fmt.Errorf("check: %d arguments, want one, the name of a file", len(args))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&explain, "explain", false, "say what would hold for client=ADDRESS server=ADDRESS port=N, and which line says so")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := config.LoadFile(args[0])
		if err != nil {
			return err
		}
		if explain {
			c, err := parseConnection(args[1:])
			if err != nil {
				return err
			}
			return failed(config.Explain(cmd.OutOrStdout(), args[0], c.port, c.client, c.server))
		}
		if err := unfit(cfg); err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		for _, d := range kernel.Doubts(cfg) {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: warning: %s (%s)\n", args[0], d.Text, d.Hint); err != nil {
				return failed(err)
			}
		}
		return nil
	}
	return cmd
}

// unfit returns why a daemon cannot start with a configuration on this machine, or
// nil.
func unfit(cfg config.Config) error {
	if _, err := cfg.Paired(); err != nil {
		return err
	}
	if cfg.User != "" {
		if _, err := lookUpUser(cfg.User); err != nil {
			return fmt.Errorf("user %q: %w", cfg.User, err)
		}
	}
	if list := kernel.FaultsOfFile(cfg); len(list) > 0 {
		return list[0]
	}
	return nil
}

// connection is the subject of --explain.
type connection struct {
	client, server netip.Addr
	port           uint16
}

const wantConnection = "want client=ADDRESS and server=ADDRESS, and port=N from 1 to 65535 if it is not 21, once each"

func parseConnection(args []string) (connection, error) {
	c := connection{port: 21}
	said := map[string]bool{}
	for _, arg := range strings.Fields(strings.Join(args, " ")) {
		key, value, _ := strings.Cut(arg, "=")
		var err error
		switch key {
		case "client":
			c.client, err = parseEnd(value)
		case "server":
			c.server, err = parseEnd(value)
		case "port":
			var n uint64
			if n, err = strconv.ParseUint(value, 10, 16); n == 0 {
				err = strconv.ErrRange
			}
			c.port = uint16(n)
		default:
			err = strconv.ErrSyntax
		}
		if err != nil || said[key] {
			return c, fmt.Errorf("--explain %q: %s", arg, wantConnection)
		}
		said[key] = true
	}
	switch {
	case !c.client.IsValid() || !c.server.IsValid():
		return c, fmt.Errorf("--explain: %s", wantConnection)
	case c.client.Is4() && c.server.Is6(): // the opposite is NAT64
		return c, fmt.Errorf("--explain client=%v server=%v: an IPv4 client has no IPv6 server, want two addresses of one family", c.client, c.server)
	}
	return c, nil
}

// parseEnd reads an address without a zone.
func parseEnd(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err == nil && a.Zone() != "" {
		err = strconv.ErrSyntax
	}
	return a.Unmap(), err
}
