// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/netns"
)

// startTimeout limits what takes well under a second.
const startTimeout = 20 * time.Second

// A daemon is this program on the firewall.
type daemon struct {
	*process
	self  string
	dir   string // with its control socket
	ready chan struct{}
	once  sync.Once

	mu    sync.Mutex
	lines []string
}

// arguments are the daemon's arguments that decide whether transfers work; they
// are taken from cfg.
func arguments(cfg config.Config) []string {
	allow := string(cfg.Allow)
	if cfg.Allow == config.AllowChain {
		allow = "chain=inet/" + tableName + "/forward"
	}
	return []string{
		"run", "--port", strconv.Itoa(int(controlPort(cfg))), "--strategy", string(cfg.Strategy), "--allow", allow,
		"--carrier", cfg.Carrier.String(), "--queue", cfg.Queue.String(),
		"--ct-mark", fmt.Sprintf("0x%08x", cfg.CTMark), "--table", cfg.Table,
	}
}

// startDaemon starts the program in a namespace and waits until it is ready. It
// has a file and a socket of its own.
func startDaemon(n *netns.Namespace, cfg config.Config) (*daemon, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := &daemon{self: self, ready: make(chan struct{})}
	if d.dir, err = os.MkdirTemp("", "pasvport-self-test-"); err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append(arguments(cfg),
		"--config", os.DevNull, "--control-socket", d.socket(), "--queues", "1", "--log-format", "text")...)
	cmd.Env = without(os.Environ(), "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
	if d.process, err = start(n, cmd, cmd.StderrPipe, d.note); err != nil {
		d.close()
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

func (d *daemon) socket() string { return filepath.Join(d.dir, "control.sock") }

// without leaves out variables: the daemon is not the one that systemd watches.
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

// note records a line of the log and looks for the one that says ready.
func (d *daemon) note(line string) {
	d.mu.Lock()
	d.lines = append(d.lines, line)
	d.mu.Unlock()
	if strings.Contains(line, "msg=ready") {
		d.once.Do(func() { close(d.ready) })
	}
}

// mark returns the length of the log, and since what came after a mark. Without a
// daemon there is no log.
func (d *daemon) mark() int {
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.lines)
}

func (d *daemon) since(mark int) []string {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.lines[mark:]...)
}

// tailLines is how much of the log is worth showing.
const tailLines = 8

// tail is the end of the log.
func (d *daemon) tail() []string { return d.since(max(0, d.mark()-tailLines)) }

// sessions is the output of `pasvport sessions`.
func (d *daemon) sessions(n *netns.Namespace) (string, error) {
	return output(n, d.self, "sessions", "--control-socket", d.socket())
}

// close removes what the daemon left in its directory, however it ended.
func (d *daemon) close() { _ = os.RemoveAll(d.dir) }
