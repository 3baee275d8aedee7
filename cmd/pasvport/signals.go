// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
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
