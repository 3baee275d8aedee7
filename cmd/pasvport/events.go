// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

const eventsHelp = `events prints what happened lately, a JSON object a line: pinholes opened, used,
expired and closed, offers refused with reason and hint, logins and transfers where
they are logged, sessions that began and ended. Each has "time", "event" (the message
of the same line in the log), "level" and, if it belongs to a session, "session",
"client" and "server".

With --follow it goes on with what happens from then on, until it is interrupted. A
reader that is too slow gets an event "events lost" that says how many it missed.`

const eventsExample = `  pasvport events --follow --client 192.0.2.7
  pasvport events --event 'offer refused' | jq -r .reason | sort | uniq -c`

func newEvents() *cobra.Command {
	cmd := &cobra.Command{Use: "events", Short: "Print what happened, and follow what happens", Long: eventsHelp, Example: eventsExample, Args: noArgs}
	flags := config.Bind(cmd.Flags(), "control-socket")
	follow := cmd.Flags().BoolP("follow", "f", false, "keep printing events as they happen")
	client := cmd.Flags().String("client", "", "only sessions of this client's address")
	server := cmd.Flags().String("server", "", "only sessions of this server's own address")
	var filter control.EventFilter
	cmd.Flags().Uint64Var(&filter.Session, "session", 0, "only the session with this id")
	// It fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("session", completeAnswer(flags, sessionIDs))
	cmd.Flags().StringVar(&filter.Name, "event", "", "only events of this name")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := flags.Load()
		if err == nil {
			filter.Client, err = addressFlag("client", *client)
		}
		if err == nil {
			filter.Server, err = addressFlag("server", *server)
		}
		if err != nil {
			return err
		}
		daemon, err := newClient(cfg)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
		defer stop()
		return failed(daemon.Events(ctx, filter, *follow, func(event []byte) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", event)
			return err
		}))
	}
	return cmd
}
