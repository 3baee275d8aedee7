// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// startTimeout and stopTimeout bound what takes well under a second.
const (
	startTimeout = 20 * time.Second
	stopTimeout  = 10 * time.Second
)

// A daemon is this program on the firewall.
type daemon struct {
	process *os.Process
	ready   chan struct{}
	ended   chan struct{} // err is set

	mu    sync.Mutex
	lines []string
	err   error
}

// arguments are those of the daemon: what decides whether transfers work is
// taken from cfg, its file and its sockets are not.
func arguments(cfg config.Config) []string {
	allow := string(cfg.Allow)
	if cfg.Allow == config.AllowChain {
		allow = "chain=inet/" + tableName + "/forward"
	}
	return []string{
		"run", "--config", os.DevNull, "--control-socket", "", "--queues", "1", "--log-format", "text",
		"--port", strconv.Itoa(int(controlPort(cfg))), "--strategy", string(cfg.Strategy), "--allow", allow,
		"--carrier", cfg.Carrier.String(), "--queue", cfg.Queue.String(),
		"--ct-mark", fmt.Sprintf("0x%08x", cfg.CTMark), "--table", cfg.Table,
	}
}

// startDaemon starts the program in a namespace and waits until it is ready.
func startDaemon(n *namespace, cfg config.Config) (*daemon, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := &daemon{ready: make(chan struct{}), ended: make(chan struct{})}
	started := make(chan error, 1)
	go d.run(n, exec.Command(self, arguments(cfg)...), started)
	if err := <-started; err != nil {
		return nil, err
	}
	select {
	case <-d.ready:
		return d, nil
	case <-d.ended:
		return d, fmt.Errorf("it ended at once: %w", d.err)
	case <-time.After(startTimeout):
		return d, fmt.Errorf("not ready after %s", startTimeout)
	}
}

// run is the life of the process, on one thread: the kernel ends the process
// with the thread that started it, so it cannot be left behind.
func (d *daemon) run(n *namespace, cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		started <- err
		return
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGTERM}
	cmd.Env = without(os.Environ(), "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		started <- err
		return
	}
	d.process = cmd.Process
	started <- nil
	d.read(log)
	d.err = cmd.Wait()
	close(d.ended)
}

// without leaves out variables: the daemon is not the one that systemd asks.
func without(env []string, names ...string) []string {
	var rest []string
next:
	for _, e := range env {
		for _, n := range names {
			if strings.HasPrefix(e, n+"=") {
				continue next
			}
		}
		rest = append(rest, e)
	}
	return rest
}

// read keeps the log and looks for the line that says ready.
func (d *daemon) read(log io.Reader) {
	ready := false
	for s := bufio.NewScanner(log); s.Scan(); {
		d.mu.Lock()
		d.lines = append(d.lines, s.Text())
		d.mu.Unlock()
		if !ready && strings.Contains(s.Text(), "msg=ready") {
			ready = true
			close(d.ready)
		}
	}
}

// tailLines is how much of the log is worth showing.
const tailLines = 8

// tail is the end of the log.
func (d *daemon) tail() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.lines[max(0, len(d.lines)-tailLines):]...)
}

// stop ends the daemon as systemd does.
func (d *daemon) stop() error {
	if err := d.process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-d.ended:
		return d.err
	case <-time.After(stopTimeout):
		_ = d.process.Kill()
		<-d.ended
		return fmt.Errorf("did not end within %s after SIGTERM", stopTimeout)
	}
}
