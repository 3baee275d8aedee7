// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/top"
)

const topHelp = `top shows what the daemon does, live: sessions with their transfer rates, totals, what
was refused in the last minute and why. Rates and bytes need the sysctl
net.netfilter.nf_conntrack_acct=1.

Keys: s sorts by rate, bytes, idle time, age or client; / filters by any text; p
pauses; up and down select a session, enter shows all that is known of it with its
last commands, e resets both of its ends; q leaves.

--once prints one frame to standard output, without a terminal, with the rates of one
interval.`

// shortestInterval is the shortest time between two looks.
const shortestInterval = 200 * time.Millisecond

func newTop() *cobra.Command {
	cmd := &cobra.Command{Use: "top", Short: "Show sessions and transfers live", Long: topHelp, Args: noArgs,
		Example: "  pasvport top\n  pasvport top --once --interval 5s"}
	flags := config.Bind(cmd.Flags(), "control-socket")
	once := cmd.Flags().Bool("once", false, "print one frame and exit")
	interval := cmd.Flags().Duration("interval", time.Second, "time between two updates")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := flags.Load()
		if err != nil {
			return err
		}
		if *interval < shortestInterval {
			return fmt.Errorf("--interval %q: want %v or more", *interval, shortestInterval)
		}
		daemon, err := newClient(cfg)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
		defer stop()
		if *once {
			err = top.Once(ctx, cmd.OutOrStdout(), daemon, *interval)
		} else {
			err = watchLive(ctx, daemon, *interval)
		}
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return failed(err)
	}
	return cmd
}

// watchLive asks once before the screen is taken, so that what is wrong is said on
// it as it was.
func watchLive(ctx context.Context, daemon *control.Client, interval time.Duration) error {
	if _, err := daemon.Status(ctx); err != nil {
		return err
	}
	return top.Run(ctx, daemon, interval)
}
