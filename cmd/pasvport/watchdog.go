// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// watchdogInterval returns how long systemd waits for a sign of life (WatchdogSec=
// in the unit); 0: it does not.
func watchdogInterval(log *slog.Logger) time.Duration {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("no watchdog", "err", err)
	}
	return interval
}

// watchdog gives signs of life until ctx ends, four in each interval, as long as
// alive says so. Without them systemd replaces us after the interval.
func watchdog(ctx context.Context, interval time.Duration, alive func(within time.Duration) bool, log *slog.Logger) {
	tick := time.NewTicker(interval / 4)
	defer tick.Stop()
	well := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		was := well
		if well = alive(interval / 2); well {
			notify(log, daemon.SdNotifyWatchdog)
		} else if was {
			log.Error("packets are not served", "hint", "systemd replaces this process if that lasts", "watchdog", interval)
		}
	}
}
