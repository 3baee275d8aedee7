// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// newLogger returns the daemon's logger, one line for each record. Its level
// can be changed. What is logged is written when finish returns.
func newLogger(w io.Writer, cfg config.Config) (log *slog.Logger, level *slog.LevelVar, finish func()) {
	level = new(slog.LevelVar)
	level.Set(cfg.LogLevel)
	opts := &slog.HandlerOptions{Level: level}
	queue := newLogQueue(w)
	var h slog.Handler
	if cfg.LogFormat == config.LogJSON {
		opts.ReplaceAttr = inWords
		h = slog.NewJSONHandler(queue.out, opts)
	} else {
		h = newTextHandler(w, queue.out, opts)
	}
	return slog.New(queueHandler{queue, h}), level, queue.close
}

// inWords has JSON say what text says of a value that can tell its name: a reason
// and not its number.
func inWords(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindAny {
		return a
	}
	switch v := a.Value.Any().(type) {
	case error, encoding.TextMarshaler, json.Marshaler:
	case fmt.Stringer:
		a.Value = slog.StringValue(v.String())
	}
	return a
}
