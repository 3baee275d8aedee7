// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"log/slog"
	"time"
)

// Reporter passes events on. Its methods are safe for concurrent use.
type Reporter struct {
	Log    *slog.Logger
	Stream Stream
}

// Report passes on an event of a session: name is the message of the line in the
// log, args are its attributes as those of slog.Logger.Log. Debug events go to
// the log alone.
func (r *Reporter) Report(level slog.Level, s Subject, name string, args ...any) {
	ctx := context.Background()
	h := r.Log.Handler()
	logged := h.Enabled(ctx, level)
	if level <= slog.LevelDebug && !logged {
		return
	}
	now := time.Now()
	attrs, own := attributes(&s, args)
	if level > slog.LevelDebug {
		r.Stream.Send(Event{Time: now, Level: level, Name: name, Subject: s, Attrs: attrs[own:]})
	}
	if logged { // not by a method of Log: each asks for its caller's place in the source
		record := slog.NewRecord(now, level, name, 0)
		record.AddAttrs(attrs...)
		_ = h.Handle(ctx, record)
	}
}

// attributes returns a subject's attributes and, from own on, those that the
// arguments of a logging function make.
func attributes(s *Subject, args []any) (attrs []slog.Attr, own int) {
	attrs = s.appendTo(make([]slog.Attr, 0, subjectAttrs+(len(args)+1)/2))
	own = len(attrs)
	for len(args) > 0 {
		n := 1
		switch a := args[0].(type) {
		case slog.Attr:
			attrs = append(attrs, a)
		case string:
			if len(args) == 1 {
				attrs = append(attrs, slog.String(badKey, a))
				break
			}
			attrs, n = append(attrs, slog.Any(a, args[1])), 2
		default:
			attrs = append(attrs, slog.Any(badKey, a))
		}
		args = args[n:]
	}
	return attrs, own
}

// badKey is what slog calls a value without a key.
const badKey = "!BADKEY"
