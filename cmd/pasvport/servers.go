// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

const serversHelp = `servers asks the running daemon for the servers of its virtual servers (see
virtual-servers in the configuration file): one line for each address, with its
weight, whether it is up, since when, its sessions, its share of new sessions, and
what the last check found.

servers drain takes a server out: it gets no new sessions, and those that it has
stay. servers undrain puts it back. A server stays drained when the daemon
reloads its file, crashes or is stopped; weight 0 in the file is for good.`

const serversExample = `  pasvport servers
  pasvport servers drain ftp2
  pasvport servers undrain balanced/ftp2`

func newServers() *cobra.Command {
	cmd := newQuestion("servers", "List the servers of virtual servers, take one out or put it back", serversHelp,
		func(ctx context.Context, c *control.Client) ([]control.Server, error) { return c.Servers(ctx) }, control.WriteServers)
	cmd.Example = serversExample
	cmd.AddCommand(newDrain("drain", "Take a server out: no new sessions", true),
		newDrain("undrain", "Put a server back that was drained", false))
	return cmd
}

// newDrain is a command that takes a server out or puts it back.
func newDrain(name, short string, drain bool) *cobra.Command {
	cmd := &cobra.Command{Use: name + " NAME", Short: short, Args: oneServer,
		Long: short + ". NAME is a server in every virtual server that has it, VIRTUAL/NAME in one."}
	flags := config.Bind(cmd.Flags(), "control-socket")
	cmd.ValidArgsFunction = completeAnswer(flags, serverNames)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		daemon, err := loadClient(flags)
		if err != nil {
			return err
		}
		return failed(daemon.Drain(cmd.Context(), args[0], drain))
	}
	return cmd
}

// oneServer wants one name.
func oneServer(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return fmt.Errorf("%s with %d arguments: want the name of one server", cmd.CommandPath(), len(args))
	}
	return nil
}
