// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestWatchdog: a daemon that works gives signs of life in time, and one that is
// stopped in its tracks gives none.
func TestWatchdog(t *testing.T) {
	manager, env := systemd(t)
	const interval = 2 * time.Second
	p := startDaemon(t, nil, []string{env, "WATCHDOG_USEC=2000000"})
	p.until(t, "msg=ready")
	if got := told(t, manager); got != "READY=1" {
		t.Fatalf("systemd was told %q first, want READY=1", got)
	}
	for last, i := time.Now(), 0; i < 4; i++ {
		if got := told(t, manager); got != "WATCHDOG=1" {
			t.Fatalf("systemd was told %q, want WATCHDOG=1", got)
		}
		if waited := time.Since(last); waited > interval {
			t.Errorf("a sign of life after %v, want it within %v", waited, interval)
		}
		last = time.Now()
	}
	signalTo(t, p, syscall.SIGTERM)
	if exit, _ := p.exit(t); exit != 0 {
		t.Errorf("exit status %d, want 0", exit)
	}
}

// TestWatchdogOfStuckWorker: no sign of life while a worker hangs, one line that
// says so, and signs again when it continues.
func TestWatchdogOfStuckWorker(t *testing.T) {
	manager, env := systemd(t)
	t.Setenv("NOTIFY_SOCKET", strings.TrimPrefix(env, "NOTIFY_SOCKET="))
	lines := make(chan string, 10)
	log := slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		lines <- string(b)
		return len(b), nil
	}), nil))
	var stuck atomic.Bool
	asked := make(chan struct{}, 100)
	stuck.Store(true)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watchdog(ctx, 40*time.Millisecond, func(within time.Duration) bool {
			if within != 20*time.Millisecond {
				t.Errorf("asked for a sign within %v, want half the interval", within)
			}
			asked <- struct{}{}
			return !stuck.Load()
		}, log)
	}()
	for range 5 {
		<-asked
	}
	if line := <-lines; !strings.Contains(line, "packets are not served") {
		t.Errorf("logged %q", line)
	}
	if err := manager.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := manager.Read(make([]byte, 100)); err == nil {
		t.Errorf("systemd got %d bytes of a stuck daemon", n)
	}
	stuck.Store(false)
	if got := told(t, manager); got != "WATCHDOG=1" {
		t.Errorf("systemd was told %q, want WATCHDOG=1", got)
	}
	stop()
	<-ended
	if len(lines) > 0 {
		t.Errorf("logged once more: %q", <-lines)
	}
}

// writerFunc makes a writer of a function.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
