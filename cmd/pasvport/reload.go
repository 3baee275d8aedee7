// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/gateway"
)

// reloader reads the configuration again on SIGHUP.
type reloader struct {
	load  func() (config.Config, error) // the same flags, the file as it is now
	level *slog.LevelVar
	log   *slog.Logger
}

// run follows the signal until ctx ends. What comes before the gateway is
// ready waits.
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
			r.reload(g)
		case <-ctx.Done():
			return
		}
	}
}

// reload takes the configuration over as far as that is possible. A bad one
// changes nothing.
func (r *reloader) reload(g *gateway.Gateway) {
	notify(r.log, reloading())
	defer notify(r.log, daemon.SdNotifyReady)
	cfg, err := r.load()
	if err == nil {
		cfg, err = g.Reload(cfg)
	}
	if err != nil {
		r.log.Error("configuration not reloaded", "err", err, "hint", "the old one stays in force")
		return
	}
	r.level.Set(cfg.LogLevel)
}

// reloading is what a unit of Type=notify-reload says first (sd_notify(3)).
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return daemon.SdNotifyReloading
	}
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000)
}
