// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"log/slog"
)

// Monitoring returns a handler that has each line say monitor=true while on returns
// true, unless the line does so already.
func Monitoring(next slog.Handler, on func() bool) slog.Handler { return &monitoring{next, on} }

type monitoring struct {
	slog.Handler
	on func() bool
}

// Handle implements slog.Handler.
func (m *monitoring) Handle(ctx context.Context, r slog.Record) error {
	said := !m.on()
	r.Attrs(func(a slog.Attr) bool {
		said = said || a.Key == keyMonitor
		return !said
	})
	if !said {
		r = r.Clone()
		r.AddAttrs(slog.Bool(keyMonitor, true))
	}
	return m.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (m *monitoring) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &monitoring{m.Handler.WithAttrs(attrs), m.on}
}

// WithGroup implements slog.Handler.
func (m *monitoring) WithGroup(name string) slog.Handler {
	return &monitoring{m.Handler.WithGroup(name), m.on}
}
