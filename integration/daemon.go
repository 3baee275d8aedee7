// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the pasvport under test, built once.
var binary executable

type executable struct {
	once sync.Once
	path string
	dir  string // directory to remove
	err  error
}

// file returns the path of the binary, and builds it if none is given.
func (b *executable) file() (string, error) {
	b.once.Do(func() {
		if os.Getenv("PASVPORT_SUBJECT") == "kernel" {
			return // no test will run
		}
		if b.path = os.Getenv("PASVPORT_BIN"); b.path != "" {
			b.path, b.err = filepath.Abs(b.path)
			return
		}
		if b.dir, b.err = os.MkdirTemp("", "pasvport-build-"); b.err != nil {
			return
		}
		b.path = filepath.Join(b.dir, "pasvport")
		b.err = build(b.path)
	})
	return b.path, b.err
}

// program is the pasvport binary of a subject.
func (s Subject) program() (string, error) {
	if s.Program != "" {
		return s.Program, nil
	}
	return binary.file()
}

func build(path string) error {
	args := []string{"build", "-o", path}
	if raceEnabled || os.Getenv("PASVPORT_RACE") == "1" {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/pasvport/pasvport/cmd/pasvport")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (b *executable) remove() {
	if b.dir != "" {
		os.RemoveAll(b.dir)
	}
}

// Daemon is a running pasvport.
type Daemon struct {
	*Process
	Host   *Host
	Socket string
	bin    string
	// stopped is set when a test ended the daemon itself.
	stopped bool
}

// DaemonCommand is `pasvport run` for the position, with extra flags; the control
// socket is in the host's directory.
func (s *Site) DaemonCommand(t testing.TB, fw *Host, flags ...string) (c Command, socket string) {
	t.Helper()
	bin, err := s.Subject.program()
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(fw.Dir, "control.sock")
	args := []string{bin, "run", "--control-socket", socket, "--port", s.Position.portFlag(),
		"--strategy", s.Subject.Strategy, "--allow", s.Allow.flag(s.Position), "--log-level", "debug"}
	return Cmd(append(args, flags...)...), socket
}

// startTimeout is how long a start, and all else that is to happen at once, may take. It
// allows for the race detector on a busy machine.
const startTimeout = 20 * time.Second

// StartDaemon starts pasvport on a firewall and waits until it is ready. When the
// Net closes it is stopped, and must exit cleanly.
func (s *Site) StartDaemon(t testing.TB, fw *Host, flags ...string) *Daemon {
	t.Helper()
	c, socket := s.DaemonCommand(t, fw, flags...)
	p, err := fw.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{Process: p, Host: fw, Socket: socket, bin: c.Args[0]}
	s.Before(func() { d.end(s.t) })
	if err := p.WaitLog(startTimeout, "msg=ready"); err != nil {
		d.stopped = true
		t.Fatal(err)
	}
	return d
}

// Stop asks the daemon to stop and returns its exit status.
func (d *Daemon) Stop(s syscall.Signal) (int, error) {
	d.stopped = true
	if err := d.Signal(s); err != nil {
		return -1, err
	}
	return d.Wait(10 * time.Second)
}

// Crash kills the daemon, which has no chance to clean up.
func (d *Daemon) Crash() error {
	d.stopped = true
	if err := d.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	_, err := d.Wait(10 * time.Second)
	return err
}

// end is the daemon's part in closing a Net: it must still run, stop on request,
// and have reported no race and no panic.
func (d *Daemon) end(t testing.TB) {
	if !d.stopped {
		if !d.Running() {
			t.Errorf("pasvport on %s exited on its own (%v):\n%s", d.Host.name, d.err, lastLines(d.Output(), 60))
		} else if status, err := d.Stop(syscall.SIGTERM); err != nil || status != 0 {
			t.Errorf("pasvport on %s, stopped by SIGTERM: exit status %d, %v\n%s", d.Host.name, status, err, lastLines(d.Output(), 60))
		}
	}
	for _, bad := range []string{"WARNING: DATA RACE", "panic:", "fatal error:"} {
		if out := d.Output(); strings.Contains(out, bad) {
			t.Errorf("pasvport on %s: %s\n%s", d.Host.name, bad, lastLines(out, 120))
		}
	}
}

// Object is a decoded JSON object of a command's --json output.
type Object = map[string]any

// Query runs `pasvport NAME --json` and decodes its output.
func (d *Daemon) Query(name string, into any) error {
	out, err := d.Host.Run(10*time.Second, Cmd(d.bin, name, "--json", "--control-socket", d.Socket))
	if err != nil {
		return fmt.Errorf("pasvport %s --json: %w: %s", name, err, out)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("pasvport %s --json: %w: %s", name, err, out)
	}
	return nil
}

// Status is the output of `pasvport status --json`.
func (d *Daemon) Status() (Object, error) {
	var o Object
	return o, d.Query("status", &o)
}

// errSessions reports output that is not a list.
var errSessions = errors.New("sessions: neither a list nor an object with sessions")

// Sessions is the output of `pasvport sessions --json`: one object per session.
func (d *Daemon) Sessions() ([]Object, error) {
	var raw any
	if err := d.Query("sessions", &raw); err != nil {
		return nil, err
	}
	if o, ok := raw.(Object); ok {
		raw = o["sessions"]
	}
	list, ok := raw.([]any)
	if !ok && raw != nil {
		return nil, errSessions
	}
	var sessions []Object
	for _, item := range list {
		o, ok := item.(Object)
		if !ok {
			return nil, errSessions
		}
		sessions = append(sessions, o)
	}
	return sessions, nil
}
