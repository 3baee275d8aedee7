// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
)

// crowded is a daemon with many sessions.
type crowded struct {
	list   []control.Session
	stream report.Stream
	ended  chan uint64
}

func (c *crowded) Status() control.Status {
	return control.Status{Version: "v1", Started: time.Now().Add(-time.Hour), Table: "pasvport", Sessions: len(c.list)}
}
func (c *crowded) Sessions() []control.Session  { return c.list }
func (c *crowded) Servers() []control.Server    { return nil }
func (c *crowded) Settings() any                { return nil }
func (c *crowded) Events() *report.Stream       { return &c.stream }
func (c *crowded) Drain(string, bool) error     { return nil }
func (c *crowded) Unblock(netip.Addr) error     { return nil }
func (c *crowded) Reload(context.Context) error { return nil }
func (c *crowded) End(id uint64) error          { c.ended <- id; return nil }

// serveCrowd serves 5,000 sessions on a control socket.
func serveCrowd(t *testing.T) (c *crowded, socket string) {
	t.Helper()
	c = &crowded{ended: make(chan uint64, 1)}
	for i := range 5000 {
		c.list = append(c.list, control.Session{
			ID: uint64(i + 1), Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 40000),
			Server: netip.MustParseAddrPort("203.0.113.2:21"), Dialled: netip.MustParseAddrPort("203.0.113.2:21"), State: "established", Login: "accepted", User: "alice",
			LastCommand: "RETR", RecentCommands: []string{"PASV", "RETR"}, Started: time.Now().Add(-time.Hour),
		})
	}
	socket = filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(socket, c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c, socket
}

// TestTopInside is the program in the terminal of TestTopInTerminal.
func TestTopInside(t *testing.T) {
	socket := os.Getenv("PASVPORT_TEST_TOP")
	if socket == "" {
		t.Skip("for TestTopInTerminal alone")
	}
	os.Exit(execute([]string{"top", "--config", "/dev/null", "--control-socket", socket}, os.Stdout, os.Stderr))
}

// terminal is a pane of tmux.
type terminal struct {
	t      *testing.T
	server string
}

func (m *terminal) tmux(args ...string) (string, error) {
	out, err := exec.Command("tmux", append([]string{"-L", m.server, "-f", "/dev/null"}, args...)...).CombinedOutput()
	return string(out), err
}

// shows waits until the terminal shows a text, and returns the whole screen.
func (m *terminal) shows(want string) string {
	m.t.Helper()
	screen := ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if screen, _ = m.tmux("capture-pane", "-p"); strings.Contains(screen, want) {
			return screen
		}
	}
	m.t.Fatalf("no %q in\n%s", want, screen)
	return ""
}

func (m *terminal) keys(keys ...string) {
	m.t.Helper()
	if out, err := m.tmux(append([]string{"send-keys"}, keys...)...); err != nil {
		m.t.Fatal(err, out)
	}
}

// TestTopInTerminal runs the live view in a real terminal, with 5,000 sessions,
// and presses its keys.
func TestTopInTerminal(t *testing.T) {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not installed")
	}
	for _, width := range []int{80, 200} {
		t.Run(strconv.Itoa(width), func(t *testing.T) {
			c, socket := serveCrowd(t)
			m := &terminal{t, fmt.Sprintf("pasvport-test-%d-%d", os.Getpid(), width)}
			out, err := m.tmux("new-session", "-d", "-x", strconv.Itoa(width), "-y", "24",
				fmt.Sprintf("PASVPORT_TEST_TOP=%s exec %s -test.run '^TestTopInside$'", socket, os.Args[0]))
			if err != nil {
				t.Fatal(err, out)
			}
			defer m.tmux("kill-server")
			for line := range strings.Lines(m.shows("5000 sessions")) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width {
					t.Errorf("a line of %d: %q", n, line)
				}
			}
			m.shows("sort: rate")
			m.keys("s")
			m.shows("sort: bytes")
			m.keys("/", "10.0.0.7:")
			m.keys("Enter")
			m.shows("10.0.0.7:40000")
			m.keys("Down")
			m.keys("Enter")
			m.shows("PASV RETR")
			m.keys("e")
			m.shows("reset both ends of session 8?")
			m.keys("y")
			m.shows("session 8 was reset")
			if id := <-c.ended; id != 8 {
				t.Errorf("session %d was ended", id)
			}
			m.keys("Escape")
			m.shows("5000 sessions") // or the next key would become part of an escape sequence
			m.keys("p")
			m.shows("PAUSED")
			m.keys("q")
			for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
				if _, err := m.tmux("has-session"); err != nil {
					return // it has ended, and the terminal with it
				}
				if time.Now().After(end) {
					t.Fatal("q does not leave")
				}
			}
		})
	}
}

// TestTopWithoutTerminal: it says what to use instead.
func TestTopWithoutTerminal(t *testing.T) {
	_, socket := serveCrowd(t)
	p := program(t, "main", "top", "--config", empty(t), "--control-socket", socket)
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if status, _, stderr := outcome(p); status != 1 || !strings.HasPrefix(stderr, "pasvport: no terminal (") || !strings.Contains(stderr, "--once") {
		t.Errorf("status %d, %q", status, stderr)
	}
}

// TestTopOnce: one frame for scripts, without a terminal.
func TestTopOnce(t *testing.T) {
	_, socket := serveCrowd(t)
	var out, errs strings.Builder
	if status := execute([]string{"top", "--once", "--interval", "200ms", "--config", "/dev/null", "--control-socket", socket}, &out, &errs); status != 0 || errs.Len() > 0 {
		t.Fatalf("status %d, %s", status, errs.String())
	}
	if n := strings.Count(out.String(), "203.0.113.2:21"); n != 5000 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%d sessions in\n%.500s", n, out.String())
	}
}
