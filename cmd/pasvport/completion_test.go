// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

// completions are the answers of cobra's own command, which the scripts call.
func completions(t *testing.T, args ...string) []string {
	t.Helper()
	status, stdout, stderr := call(append([]string{"__complete"}, args...)...)
	if status != 0 {
		t.Fatalf("%q: status %d, errors %q", args, status, stderr)
	}
	var list []string
	for line := range strings.Lines(stdout) {
		if !strings.HasPrefix(line, ":") {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			list = append(list, word)
		}
	}
	return list
}

func TestCompletion(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string // words with spaces between
	}{
		{"run --strategy |", "auto expectation claim"},
		{"run --reset-stale |", "on off"},
		{"run --fail=|", "open closed"},
		{"rules --allow |", "related mark chain="},
		{"run --tls |", "pass deny require range="},
		{"run --log-level |", "debug info warn error"},
		{"run --checks |", "lenient normal strict greeting first-command asked epsv-all login answered line-end trailing services passive-address repeats"},
		{"run --port |", ""},
		{"run |", ""},
		{"completion |", "bash fish zsh"},
		{"check |", "yaml yml"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			args := strings.Fields(tt.args)
			last := len(args) - 1
			args[last] = strings.TrimSuffix(args[last], "|")
			if got := completions(t, args...); strings.Join(got, " ") != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestCompletionOfInterfaces(t *testing.T) {
	if got := completions(t, "doctor", "--client-interface", ""); !slices.Contains(got, "lo") {
		t.Errorf("%q, want lo among them", got)
	}
}

// TestCompletionAsks: names of servers and ids of sessions come from the daemon;
// without a daemon nothing is completed.
func TestCompletionAsks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	ask := []string{"servers", "drain", "--config", empty(t), "--control-socket", path}
	if got := completions(t, append(ask, "")...); len(got) != 0 {
		t.Errorf("%q without a daemon", got)
	}
	l, err := control.Listen(path, fake{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	defer func() { stop(); <-done }()
	if got, want := completions(t, append(ask, "")...), []string{"one", "v/one"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := completions(t, append(ask, "one", "")...); len(got) != 0 {
		t.Errorf("%q for a second name", got)
	}
	if got, want := completions(t, "sessions", "end", "--config", empty(t), "--control-socket", path, ""), []string{"7"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := completions(t, "events", "--config", empty(t), "--control-socket", path, "--session", ""), []string{"7"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
