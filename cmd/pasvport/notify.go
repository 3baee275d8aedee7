// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
)

// logDoubts says what in a configuration is hardly meant.
func logDoubts(log *slog.Logger, cfg config.Config) {
	for _, d := range kernel.Doubts(cfg) {
		log.Warn("configuration may not do what is meant", "what", d.Text, "hint", d.Hint)
	}
}

// logEnd logs why a listener ended if no one stopped it. The daemon continues: FTP
// does not need it.
func logEnd(log *slog.Logger, what string, err error) {
	if err != nil {
		log.Error("listener failed", "listener", what, "err", err)
	}
}

// notify informs systemd, if it started us.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd is not notified", "err", err)
	}
}
