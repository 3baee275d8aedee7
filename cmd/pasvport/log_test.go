// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// TestLogJSON: JSON has the same words as text.
func TestLogJSON(t *testing.T) {
	cfg := config.Default()
	cfg.LogFormat = config.LogJSON
	var out bytes.Buffer
	log, _, finish := newLogger(&out, cfg)
	addr := netip.MustParseAddrPort("192.0.2.1:21")
	log.Info("all", "reason", ftpalg.ReasonOffered, "mode", ftpalg.Passive, "to", addr, "tuple", expect.Tuple{Src: addr, Dst: addr},
		"ports", rules.PortRange{Low: 5, High: 9}, "err", errors.New("gone"), "list", []string{"a"}, "n", 3)
	finish()
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "time")
	want := map[string]any{"level": "INFO", "msg": "all", "reason": "offered", "mode": "passive", "to": "192.0.2.1:21",
		"tuple": expect.Tuple{Src: addr, Dst: addr}.String(), "ports": "5-9", "err": "gone", "list": []any{"a"}, "n": 3.0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// disk has no room for the first lines.
type disk struct {
	failures atomic.Int32
	bytes.Buffer
}

func (d *disk) Write(b []byte) (int, error) {
	if d.failures.Add(1) <= 2 {
		return 0, unix.ENOSPC
	}
	return d.Buffer.Write(b)
}

// TestLogAfterError: the log continues when its disk has room again.
func TestLogAfterError(t *testing.T) {
	var d disk
	log, _, finish := newLogger(&d, config.Default())
	for late := time.Now().Add(wait); d.failures.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("nothing is written after an error")
		}
		log.Info("here")
	}
	finish()
	if !strings.Contains(d.String(), "msg=here") {
		t.Errorf("log %q", d.String())
	}
}

// fullPipe is the end of a full pipe, blocking like a shell's.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		_, err = unix.Write(fds[1], make([]byte, 1<<16))
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fds[1], false); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return w
}

// TestRunUnread: a daemon whose standard error no one reads starts, answers, and
// stops.
func TestRunUnread(t *testing.T) {
	w := fullPipe(t)
	p := program(t, "main", "run", "--config", empty(t), "--queues", "1", "--control-socket", filepath.Join(t.TempDir(), "control.sock"))
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespace")
	}
	p.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	p.Stderr = w
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	socket := p.Args[len(p.Args)-1]
	for late := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		_, err := control.NewClient(socket).Status(t.Context())
		if err == nil {
			break
		}
		if time.Now().After(late) {
			_ = p.Process.Kill()
			t.Fatalf("the daemon does not answer: %v", err)
		}
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the daemon ended with %v, want status 0", err)
		}
	case <-time.After(wait):
		_ = p.Process.Kill()
		t.Error("the daemon does not stop")
	}
}
