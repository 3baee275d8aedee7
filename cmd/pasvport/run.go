// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/gateway"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/cmd/pasvport/metrics"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/rules"
)

const runHelp = `run starts the daemon in the foreground. It needs CAP_NET_ADMIN.

When its queues are bound and its rules are installed it logs a line with msg=ready
to standard error, at every log-level, and notifies systemd. SIGTERM and SIGINT stop it:
it removes its rules, established transfers continue, and pinholes that were open are
reopened if it is started again before they expire. SIGUSR1 stops it for a restart: its
rules stay, and control packets wait up to 2 seconds for the next daemon. SIGHUP makes it
read the file again; it logs errors in it, and keeps the old configuration then. Exit
status: 0 stopped on request, 1 failed, 2 wrong usage.

Every flag is also a key of the configuration file; flags win.`

const runExample = `  pasvport run
  pasvport run --port 21,2121 --allow chain=inet/filter/forward,inet/filter/input
  pasvport run --advertise 10.0.0.5=203.0.113.5 --metrics 127.0.0.1:9121`

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use: "run", Short: "Start the daemon in the foreground", Long: runHelp, Example: runExample, Args: noArgs,
	}
	flags := config.Bind(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		crashBySignal()
		cfg, err := flags.Load()
		if err != nil {
			return err
		}
		if _, err := cfg.Paired(); err != nil {
			return err
		}
		if err := requireNetAdmin(); err != nil {
			return failed(err)
		}
		if list := kernel.Faults(cfg); len(list) > 0 {
			return fmt.Errorf("--%w", list[0])
		}
		if err := becomeUser(cfg); err != nil {
			return err
		}
		log, level, finish := newLogger(cmd.ErrOrStderr(), cfg)
		defer finish()
		err = run(cfg, log, newReloader(flags, level, log))
		if errors.Is(err, rules.ErrNoChain) {
			return noChain(cfg, err)
		}
		return failed(err)
	}
	return cmd
}

// noChain is the error about a chain of the configuration that does not exist.
func noChain(cfg config.Config, err error) error {
	return fmt.Errorf("--allow %q: %w, want chains that exist", cfg.AllowText(), err)
}

// run is the daemon from start to stop. The listeners come first, because a
// daemon that cannot have them must not have touched the ruleset; they are closed
// last, because a stop should be observable.
func run(cfg config.Config, log *slog.Logger, reloads *reloader) error {
	turn := newTurn(cfg)
	defer turn.end()
	ctx, stop := untilStopped()
	defer stop()
	own := log // the gateway's, which reports changes of it
	if cfg.Monitor {
		log = log.With("monitor", true)
		reloads.log = log
	}
	logDoubts(log, cfg)
	var wg sync.WaitGroup
	defer wg.Wait()
	serving, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	m := metrics.New(report.Reasons())
	b := readBuild()
	m.Build(b.version, b.commit, runtime.Version())
	scrapes := &scrapes{addr: cfg.Metrics, log: log}
	if err := scrapes.listen(); err != nil {
		return err
	}
	// To the runtime a goroutine that waits in a system call has a processor: for
	// packets one of each queue, and for events. With none left the runtime's monitor
	// takes them away, and wakes every 20 us to find them.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + cfg.Queues + 2)
	g := gateway.New(cfg, own, m)
	g.Inherit(turn.over(log))
	turn.listen(g, stop)
	patience := watchdogInterval(log)
	g.Beat(patience / 4)
	ready := make(chan struct{})
	wg.Go(func() { reloads.run(serving, g, ready) })
	questions, err := listenControl(cfg.ControlSocket, answers{g, scrapes, reloads}, log)
	if err != nil {
		return errors.Join(err, scrapes.close())
	}
	wg.Go(func() { scrapes.serve(serving, m) })
	answering := false
	err = g.Run(ctx, func() {
		if questions != nil {
			answering = true // only now does the gateway have everything that it can be asked for
			wg.Go(func() { logEnd(log, "control socket", questions.Run(serving)) })
		}
		notify(log, daemon.SdNotifyReady)
		if patience > 0 {
			wg.Go(func() { watchdog(serving, patience, g.Alive, log) })
		}
		close(ready)
		context.AfterFunc(ctx, func() { notify(log, daemon.SdNotifyStopping) })
	})
	if questions != nil && !answering {
		err = errors.Join(err, questions.Close())
	}
	return err
}

// listenControl returns nil for no path, and for a path on which another daemon
// answers: two daemons with tables of their own may well share a default.
func listenControl(path string, source answers, log *slog.Logger) (*control.Listener, error) {
	if path == "" {
		return nil, nil
	}
	s, err := control.Listen(path, source)
	if errors.Is(err, control.ErrInUse) {
		log.Warn("no control socket", "path", path, "err", err, "hint", "give each daemon its own --control-socket")
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--control-socket %q: %w", path, err)
	}
	return s, nil
}
