// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// kernelLog reads the kernel's log from its creation on.
type kernelLog struct{ fd int }

// openKernelLog skips the test where a container may not read the log.
func openKernelLog(t *testing.T) *kernelLog {
	t.Helper()
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("/dev/kmsg: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		t.Skipf("/dev/kmsg: %v", err)
	}
	return &kernelLog{fd}
}

// with returns the records so far that contain a text.
func (k *kernelLog) with(t *testing.T, text string) (lines []string) {
	t.Helper()
	record := make([]byte, 8192)
	for {
		n, err := unix.Read(k.fd, record)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return lines
		case errors.Is(err, unix.EPIPE): // some were overwritten
			continue
		case err != nil:
			t.Fatalf("/dev/kmsg: %v", err)
		}
		if bytes.Contains(record[:n], []byte(text)) {
			lines = append(lines, strings.TrimSpace(string(record[:n])))
		}
	}
}

// TestKernelLog: the kernel logs no complaint about what the daemon and the
// doctor send to it. Complaints contain the program's name, so this test uses one
// that other tests do not use.
func TestKernelLog(t *testing.T) {
	const name = "pasvport-log"
	for _, s := range []Subject{Auto, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			site := lifecycleSite(t, s, AllowChain, "kernel log")
			bin, err := binary.file()
			if err != nil {
				t.Fatal(err)
			}
			fw := site.Firewalls[0]
			program := filepath.Join(fw.Dir, name)
			if err := os.Symlink(bin, program); err != nil {
				t.Fatal(err)
			}
			log := openKernelLog(t)
			d := site.startProgram(t, program, fmt.Sprintf(`strategy: %s
port: [21, 2121-2125]
allow: chain=inet/filter/forward
tls: range=50000-50100
virtual-servers:
  - {name: a, listen: 203.0.113.99, method: round-robin, servers: [{address: 203.0.113.2}, {address: 203.0.113.3}]}
  - {name: b, listen: 203.0.113.98, method: source-hash, servers: [{address: 203.0.113.2}]}
  - {name: c, listen: 203.0.113.97, method: least-sessions, servers: [{address: 203.0.113.2}]}
`, s.Strategy))
			server := site.StartServer(t, Pyftpdlib)
			site.mustTransfer(t, server)
			d.reload(t, "strategy: "+s.Strategy+"\nport: [21, 2121]\n", reloaded)
			// The verdict on this ruleset does not matter here.
			_, _ = fw.Run(startTimeout, Cmd(program, "doctor", "--config", d.file, "--control-socket", d.Socket))
			if status, err := d.Stop(syscall.SIGTERM); err != nil || status != 0 {
				t.Errorf("exit status %d, %v", status, err)
			}
			for _, line := range log.with(t, "'"+name+"'") {
				t.Errorf("the kernel logged: %s", line)
			}
		})
	}
}
