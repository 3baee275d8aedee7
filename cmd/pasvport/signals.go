// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// untilStopped returns a context that ends with SIGTERM or SIGINT. A second
// signal kills: it finds the default action.
func untilStopped() (context.Context, context.CancelFunc) {
	// Without this, a log reader that has gone would kill us with our rules in
	// place; os/signal says how Go treats standard error.
	signal.Ignore(unix.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// surviveHangups logs SIGHUP instead of dying of it, until ctx ends.
func surviveHangups(ctx context.Context, log *slog.Logger) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, unix.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-hangups:
			log.Warn("SIGHUP ignored", "hint", "the configuration is read at start only; restart to change it, transfers go on")
		case <-ctx.Done():
			return
		}
	}
}
