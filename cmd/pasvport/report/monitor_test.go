// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestMonitoring: while nothing is changed each line says so, once, and from the moment
// on in which that is set; else none does.
func TestMonitoring(t *testing.T) {
	on := false
	var b bytes.Buffer
	log := slog.New(Monitoring(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelInfo}), func() bool { return on }))
	with := log.With("peer", "x")
	monitored := subject
	monitored.Monitored = true
	for _, tt := range []struct {
		name string
		on   bool
		say  func()
		want int // how often the line says it
	}{
		{"off", false, func() { log.Info("line") }, 0},
		{"on", true, func() { log.Info("line", "user", "monitor=true") }, 2}, // one is the user's
		{"on, with attributes", true, func() { with.Info("line") }, 1},
		{"on, in a group", true, func() { log.WithGroup("g").Info("line") }, 1},
		{"off again", false, func() { with.Info("line") }, 0},
		{"of a session that is monitored, and so is all", true, func() { (&Reporter{Log: log}).Report(slog.LevelInfo, monitored, "line") }, 1},
		{"of a session that is monitored", false, func() { (&Reporter{Log: log}).Report(slog.LevelInfo, monitored, "line") }, 1},
		{"not logged", true, func() { log.Debug("line") }, 0},
	} {
		b.Reset()
		on = tt.on
		if tt.say(); strings.Count(b.String(), "monitor=true") != tt.want {
			t.Errorf("%s: %s", tt.name, b.String())
		}
	}
}

// TestReasons: each reason has a name of its own, which is a word of logs and metrics.
func TestReasons(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range Reasons() {
		if name == "" || seen[name] || name == numReasons.String() || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("reason %q", name)
		}
		seen[name] = true
	}
}
