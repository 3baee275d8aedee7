// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

const statusHelp = `status asks the running daemon what it does: strategy and carrier in use, what the
kernel has, queues with their losses, sessions, open pinholes, and how often each
decision was taken and why.`

const sessionsHelp = `sessions asks the running daemon for the control connections it serves: the
addresses as each end sees them, what NAT makes of them, the last announcement of a
data port, what went out instead, what became of its pinhole, and the bytes of the
data connections (with sysctl net.netfilter.nf_conntrack_acct=1).`

// errNoSocket says that there is nothing to ask through.
var errNoSocket = errors.New("no daemon to ask: control-socket is empty")

func newStatus() *cobra.Command {
	return newQuestion("status", "Show what the daemon does", statusHelp,
		func(ctx context.Context, c *control.Client) (control.Status, error) { return c.Status(ctx) }, control.WriteStatus)
}

func newSessions() *cobra.Command {
	return newQuestion("sessions", "List the control connections", sessionsHelp,
		func(ctx context.Context, c *control.Client) ([]control.Session, error) { return c.Sessions(ctx) }, control.WriteSessions)
}

// newQuestion is a command that asks the daemon and prints the answer.
func newQuestion[T any](name, short, long string, ask func(context.Context, *control.Client) (T, error),
	write func(io.Writer, T, time.Time) error,
) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Long: long, Args: noArgs}
	flags := config.Bind(cmd.Flags(), "control-socket")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := flags.Load()
		if err != nil {
			return err
		}
		if cfg.ControlSocket == "" {
			return failed(errNoSocket)
		}
		answer, err := ask(cmd.Context(), control.NewClient(cfg.ControlSocket))
		if err != nil {
			return failed(err)
		}
		if *asJSON {
			return failed(control.WriteJSON(cmd.OutOrStdout(), answer))
		}
		return failed(write(cmd.OutOrStdout(), answer, time.Now()))
	}
	return cmd
}
