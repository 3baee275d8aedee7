// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a program that runs in a Host until it ends or is killed. Its output
// goes to a file in the host's directory.
type Process struct {
	Log  string
	Pid  int
	cmd  *exec.Cmd
	done chan struct{}
	err  error // result of Wait, valid once done is closed
}

// Command describes a program to run on a Host.
type Command struct {
	Args  []string
	Env   []string // added to the environment of the test
	Dir   string   // working directory; empty: the host's
	Stdin string
}

// Cmd is a Command with defaults.
func Cmd(args ...string) Command { return Command{Args: args} }

// slowness is the factor for how long programs and conditions may take, for
// example on an emulated processor (PASVPORT_SLOW).
var slowness = func() time.Duration {
	n, _ := strconv.Atoi(os.Getenv("PASVPORT_SLOW"))
	return time.Duration(max(n, 1))
}()

func (h *Host) prepare(c Command) *exec.Cmd {
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Dir
	if cmd.Dir == "" {
		cmd.Dir = h.Dir
	}
	// HOME keeps clients from reading the user's own settings.
	cmd.Env = append(os.Environ(), "HOME="+h.Dir, "LC_ALL=C", "TERM=dumb")
	cmd.Env = append(cmd.Env, c.Env...)
	if c.Stdin != "" {
		cmd.Stdin = strings.NewReader(c.Stdin)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Start starts a program and does not wait for it.
func (h *Host) Start(c Command) (*Process, error) {
	name := fmt.Sprintf("%s.%d.log", filepath.Base(c.Args[0]), atomic.AddUint32(&h.serial, 1))
	log, err := os.Create(filepath.Join(h.Dir, name))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := h.prepare(c)
	cmd.Stdout, cmd.Stderr = log, log
	p := &Process{Log: log.Name(), cmd: cmd, done: make(chan struct{})}
	if err := h.Do(cmd.Start); err != nil {
		return nil, err
	}
	p.Pid = cmd.Process.Pid
	h.mu.Lock()
	h.procs = append(h.procs, p)
	h.mu.Unlock()
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Run runs a program to its end and returns its output and then its errors, so that
// none of these cuts a line of the output that is still in a buffer; it kills a program
// that takes longer than timeout, with its children. The output goes to files: other
// children may hold copies of a pipe while they start.
func (h *Host) Run(timeout time.Duration, c Command) (string, error) {
	printed, failures, err := h.run(timeout, c)
	return printed + failures, err
}

// run is Run with the output and the errors apart.
func (h *Host) run(timeout time.Duration, c Command) (printed, failures string, err error) {
	cmd := h.prepare(c)
	files := [2]*os.File{}
	for i := range files {
		f, err := os.CreateTemp(h.Dir, filepath.Base(c.Args[0])+".*.out")
		if err != nil {
			return "", "", err
		}
		defer os.Remove(f.Name())
		defer f.Close()
		files[i] = f
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	if err := h.Do(cmd.Start); err != nil {
		return "", "", err
	}
	timeout *= slowness
	var late atomic.Bool
	timer := time.AfterFunc(timeout, func() {
		late.Store(true)
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	})
	err = cmd.Wait()
	timer.Stop()
	if late.Load() {
		err = fmt.Errorf("%s: killed after %v: %w", c.Args[0], timeout, context.DeadlineExceeded)
	}
	var texts [2]string
	for i, f := range files {
		b, _ := os.ReadFile(f.Name())
		texts[i] = string(b)
	}
	return texts[0], texts[1], err
}

// Output is what the process has printed so far.
func (p *Process) Output() string {
	b, _ := os.ReadFile(p.Log)
	return string(b)
}

// Running reports whether the process is still running.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits for the end of the process and returns its exit status.
func (p *Process) Wait(timeout time.Duration) (int, error) {
	timeout *= slowness
	select {
	case <-p.done:
	case <-time.After(timeout):
		return -1, fmt.Errorf("pid %d has not ended after %v", p.Pid, timeout)
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		return -1, p.err
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

// Signal sends a signal to the process alone.
func (p *Process) Signal(s syscall.Signal) error {
	if !p.Running() {
		return os.ErrProcessDone
	}
	return unix.Kill(p.Pid, s)
}

// Kill kills the process and its group, and waits for the process.
func (p *Process) Kill() {
	if p.Running() {
		unix.Kill(-p.Pid, unix.SIGKILL)
		<-p.done
	}
}

// waitFor polls until cond holds; what names the condition in the error.
func waitFor(timeout time.Duration, what string, cond func() bool) error {
	timeout *= slowness
	for end := time.Now().Add(timeout); ; time.Sleep(5 * time.Millisecond) {
		if cond() {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %v: no %s", timeout, what)
		}
	}
}

// WaitLog waits until the process has printed a line with this text.
func (p *Process) WaitLog(timeout time.Duration, text string) error {
	found := func() bool { return strings.Contains(p.Output(), text) }
	err := waitFor(timeout, strconv.Quote(text), func() bool { return found() || !p.Running() })
	if err == nil && !found() {
		err = fmt.Errorf("ended (%v) without %q", p.err, text)
	}
	if err != nil {
		return fmt.Errorf("%s %w, output:\n%s", p.cmd.Path, err, p.Output())
	}
	return nil
}

// WaitListen waits until something listens on the TCP port, in both families
// if the port is bound in both.
func (h *Host) WaitListen(timeout time.Duration, file string, port uint16) error {
	return waitFor(timeout, fmt.Sprintf("listener on %s port %d", file, port), func() bool { return h.listens(file, port) })
}

// listens reports whether something listens on the TCP port.
func (h *Host) listens(file string, port uint16) bool {
	const listen = " 0A " // TCP_LISTEN in /proc/net/tcp, include/net/tcp_states.h
	want := fmt.Sprintf(":%04X ", port)
	for line := range strings.Lines(h.Proc(file)) {
		if strings.Contains(line, listen) && strings.Contains(line, want) {
			return true
		}
	}
	return false
}
