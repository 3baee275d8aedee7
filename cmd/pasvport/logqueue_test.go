// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

func TestLogIsWrittenInOrder(t *testing.T) {
	for _, format := range []config.LogFormat{config.LogText, config.LogJSON} {
		var out bytes.Buffer
		log, level, finish := newLogger(&out, config.Config{LogFormat: format})
		const lines = 3000
		for i := range lines {
			log.With("who", "somebody").Info("counting", "n", i)
			log.Debug("not of this level")
		}
		level.Set(slog.LevelWarn)
		log.Info("not of this level")
		finish()
		got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(got) != lines {
			t.Fatalf("%s: %d lines, want %d", format, len(got), lines)
		}
		for i, line := range got {
			if !strings.Contains(line, "somebody") || !strings.HasSuffix(strings.TrimSuffix(line, "}"), fmt.Sprint(i)) {
				t.Fatalf("%s: line %d is %s", format, i, line)
			}
		}
	}
}

// Whoever logs does not wait for a reader that has stopped reading, and the
// reader is told what it has missed.
func TestLogDoesNotWaitForItsReader(t *testing.T) {
	r, w := io.Pipe()
	log, _, finish := newLogger(w, config.Config{})
	const lines = 3 * maxLogQueue
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		for i := range lines {
			log.Info("counting", "n", i)
		}
	}()
	select {
	case <-logged:
	case <-time.After(20 * time.Second):
		t.Fatal("logging waits for the reader")
	}
	// A stop waits for a second at most, a busy machine may take longer to write.
	n, lost := 0, 0
	defer time.AfterFunc(wait, func() { w.Close() }).Stop()
	for out := bufio.NewScanner(r); n+lost < lines && out.Scan(); {
		_, missed, ok := strings.Cut(out.Text(), `level=WARN msg="log lines were lost" lines=`)
		if !ok {
			n++
			continue
		}
		var more int
		_, _ = fmt.Sscan(missed, &more)
		lost += more
	}
	finish()
	if n < maxLogQueue || n >= lines || n+lost != lines {
		t.Errorf("%d of %d lines, and %d that are reported as lost", n, lines, lost)
	}
}

// A stop does not wait for ever either.
func TestLogEndsWithoutReader(t *testing.T) {
	_, w := io.Pipe()
	log, _, finish := newLogger(w, config.Config{})
	log.Info("nobody reads this")
	done := make(chan struct{})
	go func() {
		defer close(done)
		finish()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the stop waits for the reader")
	}
}
