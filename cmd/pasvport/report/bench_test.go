// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/limit"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
)

// taken is a handler that does nothing with what it is given.
type taken struct{}

func (taken) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (taken) Handle(context.Context, slog.Record) error    { return nil }
func (taken) WithAttrs([]slog.Attr) slog.Handler           { return taken{} }
func (taken) WithGroup(string) slog.Handler                { return taken{} }

// BenchmarkReport reports a pinhole, as each transfer does, up to the point where
// its line waits to be written.
func BenchmarkReport(b *testing.B) {
	now := time.Unix(0, 0)
	lines := limit.NewLines(func(a netip.Addr) netip.Addr { return a }, func() time.Time {
		now = now.Add(2 * limit.Window / limit.MostSession) // the limit is never reached
		return now
	})
	r := report.Reporter{Log: slog.New(report.Monitoring(lines.Handler(taken{}), func() bool { return false }))}
	end := netip.MustParseAddrPort("192.0.2.1:4000")
	s := report.Subject{Session: 7, Client: end, Server: end}
	b.ReportAllocs()
	for b.Loop() {
		r.Report(slog.LevelInfo, s, "pinhole opened", "mode", slog.LevelInfo, "verb", "PASV", "announced", end, "translated", end,
			"from", end.Addr(), "to", end, "target", end, "strategy", "expectation", "timeout", time.Minute, "reason", slog.LevelInfo)
	}
}
