// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os/signal"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// oneSignal is for how long a signal that follows another is the same wish to
// stop: timeout(1) signals its child and then its process group, a terminal the
// group that a wrapper passes it on to. A daemon that it killed would leave its
// rules.
const oneSignal = time.Second

// untilStopped returns a context that ends with SIGTERM or SIGINT. One that comes
// a while later kills: it finds the default action.
func untilStopped() (context.Context, context.CancelFunc) {
	// Without this, a log reader that has gone would kill us with our rules in
	// place; os/signal says how Go treats standard error.
	signal.Ignore(unix.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	context.AfterFunc(ctx, func() { time.AfterFunc(oneSignal, stop) })
	return ctx, stop
}

// crashBySignal makes a bug end this process by SIGABRT. The runtime's own exit status
// of 2 says wrong usage here, after which nothing starts the daemon again. No core
// file is left: it would hold what users said to their servers.
func crashBySignal() {
	debug.SetTraceback("crash")
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}
