// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/gateway"
	"github.com/pasvport/pasvport/rules"
)

// reloader reads the configuration again, on SIGHUP and on request.
type reloader struct {
	load  func() (config.Config, error) // the same flags, the file as it is now
	file  func() string                 // the path of the file
	level *slog.LevelVar
	log   *slog.Logger
	asked chan chan<- error // each receives the result of one reload
}

func newReloader(flags *config.Flags, level *slog.LevelVar, log *slog.Logger) *reloader {
	return &reloader{flags.Load, flags.File, level, log, make(chan chan<- error)}
}

// ask makes run reload, and waits for the result.
func (r *reloader) ask(ctx context.Context) error {
	outcome := make(chan error, 1)
	select {
	case r.asked <- outcome:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run reloads until ctx ends. A signal that comes before the gateway is ready
// waits.
func (r *reloader) run(ctx context.Context, g *gateway.Gateway, ready <-chan struct{}) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, unix.SIGHUP)
	defer signal.Stop(hangups)
	select {
	case <-ready:
	case <-ctx.Done():
		return
	}
	for {
		select {
		case <-hangups:
			_ = r.reload(g) // it is in the log
		case outcome := <-r.asked:
			outcome <- r.reload(g)
		case <-ctx.Done():
			return
		}
	}
}

// reload applies the configuration as far as possible. A bad one changes nothing.
func (r *reloader) reload(g *gateway.Gateway) error {
	notify(r.log, reloading())
	defer notify(r.log, daemon.SdNotifyReady)
	cfg, err := r.load()
	if err == nil {
		err = unfit(cfg)
	}
	if err != nil {
		err = &control.FileError{Err: err}
	} else {
		next := cfg
		if cfg, err = g.Reload(next); errors.Is(err, rules.ErrNoChain) {
			err = noChain(next, err)
		}
	}
	if err != nil {
		r.log.Error("configuration not reloaded", "err", err, "hint", "the old one stays in force")
		return err
	}
	r.level.Set(cfg.LogLevel)
	logDoubts(r.log, cfg)
	return nil
}

const reloadHelp = `reload makes the running daemon read its configuration file again, and waits for the
result. Exit status: 0 applied, 1 the daemon could not apply it (for example because a
chain does not exist), 2 the file is invalid, or the daemon could not start with it. After
an error the old configuration stays in force, and the message says what is wrong. The log
names settings that need a restart.

SIGHUP to the daemon does the same, and reports the result only in the log.`

func newReload() *cobra.Command {
	cmd := &cobra.Command{Use: "reload", Short: "Make the daemon read its configuration again", Long: reloadHelp, Args: noArgs}
	flags := config.Bind(cmd.Flags(), "control-socket")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		daemon, err := loadClient(flags)
		if err != nil {
			return err
		}
		err = daemon.Reload(cmd.Context())
		if invalid := new(control.FileError); errors.As(err, &invalid) {
			return err
		}
		return failed(err)
	}
	return cmd
}

// reloading is the first message of a unit of Type=notify-reload (sd_notify(3)).
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return daemon.SdNotifyReloading
	}
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000)
}
