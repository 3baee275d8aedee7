// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"log/slog"
	"time"
)

// Reporter passes events on. Its methods may be called by several goroutines.
type Reporter struct {
	Log    *slog.Logger
	Stream Stream
}

// Report passes on that something happened to a session: name is the message of
// the line in the log, args are its attributes as those of slog.Logger.Log.
// Debug events go to the log alone.
func (r *Reporter) Report(level slog.Level, s Subject, name string, args ...any) {
	logged := r.Log.Enabled(context.Background(), level)
	if level <= slog.LevelDebug && !logged {
		return
	}
	attrs := toAttrs(args)
	if level > slog.LevelDebug {
		r.Stream.Send(Event{Time: time.Now(), Level: level, Name: name, Subject: s, Attrs: attrs})
	}
	if logged {
		r.Log.LogAttrs(context.Background(), level, name, append(s.attrs(), attrs...)...)
	}
}

// toAttrs makes attributes of the arguments of a logging function.
func toAttrs(args []any) []slog.Attr {
	var record slog.Record
	record.Add(args...)
	attrs := make([]slog.Attr, 0, record.NumAttrs())
	record.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	return attrs
}
