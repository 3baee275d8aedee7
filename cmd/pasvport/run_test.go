// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/tablelock"
	"github.com/pasvport/pasvport/nfq"
)

// process is a daemon in a network namespace of its own or of another daemon,
// which ends with the last of them.
type process struct {
	*exec.Cmd
	socket string
	stderr io.Closer
	lines  chan string
	ended  chan struct{}

	mu  sync.Mutex
	log []string
}

// startDaemon starts a daemon; beside is one whose namespace it shares, or nil.
func startDaemon(t *testing.T, beside *process, env []string, args ...string) *process {
	t.Helper()
	return startDaemonAs(t, func(p *process) {
		p.Env = append(p.Env, env...)
		if beside != nil {
			p.SysProcAttr = nil
			p.enter(t, beside.Process.Pid)
		}
	}, args...)
}

// startDaemonAs starts a daemon in a namespace of its own, unless change says
// otherwise.
func startDaemonAs(t *testing.T, change func(*process), args ...string) *process {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespace")
	}
	socket := filepath.Join(t.TempDir(), "run", "control.sock")
	args = append([]string{"run", "--config", empty(t), "--control-socket", socket, "--queues", "1"}, args...)
	p := &process{Cmd: program(t, "main", args...), socket: socket, lines: make(chan string, 100), ended: make(chan struct{})}
	p.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	change(p)
	pipe, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.stderr = pipe
	go p.read(bufio.NewScanner(pipe))
	t.Cleanup(func() { p.finish(t) })
	return p
}

// enter makes the command start in the network namespace of a process.
func (p *process) enter(t *testing.T, pid int) {
	t.Helper()
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		t.Skip("needs nsenter (util-linux)")
	}
	p.Args = append([]string{nsenter, "--net=/proc/" + strconv.Itoa(pid) + "/ns/net", p.Path}, p.Args[1:]...)
	p.Path = nsenter
}

func (p *process) read(s *bufio.Scanner) {
	for s.Scan() {
		p.mu.Lock()
		p.log = append(p.log, s.Text())
		p.mu.Unlock()
		p.lines <- s.Text()
	}
	close(p.lines)
}

// finish ends a process that the test left, and shows the log of a failed one.
func (p *process) finish(t *testing.T) {
	if p.ProcessState == nil {
		_ = p.Process.Kill()
		_ = p.Wait()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.Failed() {
		t.Logf("log of %v:\n%s", p.Args, strings.Join(p.log, "\n"))
	}
}

// until waits for a line of the log with a text.
func (p *process) until(t *testing.T, text string) string {
	t.Helper()
	late := time.After(wait)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("the daemon ended without a line with %q", text)
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-late:
			t.Fatalf("no line with %q", text)
		}
	}
}

// exit waits for the end and returns the exit status and the rest of the log.
func (p *process) exit(t *testing.T) (status int, rest string) {
	t.Helper()
	late := time.AfterFunc(wait, func() { _ = p.Process.Kill() })
	defer late.Stop()
	var lines []string
	for line := range p.lines {
		lines = append(lines, line)
	}
	return exitStatus(p.Wait()), strings.Join(lines, "\n")
}

// systemd is a socket for NOTIFY_SOCKET.
func systemd(t *testing.T) (conn *net.UnixConn, env string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, "NOTIFY_SOCKET=" + path
}

func told(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatalf("systemd received nothing: %v", err)
	}
	return string(b[:n])
}

// TestLife is a daemon from start to stop.
func TestLife(t *testing.T) {
	manager, env := systemd(t)
	p := startDaemon(t, nil, []string{env}, "--table", "life", "--port", "21,8021-8025", "--metrics", "127.0.0.1:0")
	p.until(t, "msg=ready")
	if got := told(t, manager); got != "READY=1" {
		t.Errorf("systemd received %q, want READY=1", got)
	}

	_, stdout, stderr := call("status", "--json", "--control-socket", p.socket)
	var status struct {
		Version, Table string
		PID            int
		Ports          []string
	}
	if err := json.Unmarshal([]byte(stdout), &status); err != nil {
		t.Fatalf("%v: output %q, errors %q", err, stdout, stderr)
	}
	if status.Table != "life" || status.PID != p.Process.Pid || strings.Join(status.Ports, " ") != "21 8021-8025" || status.Version != version() {
		t.Errorf("status %+v of process %d", status, p.Process.Pid)
	}
	if _, stdout, stderr := call("sessions", "--json", "--control-socket", p.socket); stdout != "[]\n" {
		t.Errorf("sessions %q, errors %q, want an empty list", stdout, stderr)
	}

	signalTo(t, p, syscall.SIGHUP)
	p.until(t, "configuration reloaded")
	if got := told(t, manager); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("systemd received %q, want RELOADING=1 and the time", got)
	}
	if got := told(t, manager); got != "READY=1" {
		t.Errorf("systemd received %q, want READY=1 after the reload", got)
	}
	if exit, _, _ := call("status", "--control-socket", p.socket); exit != 0 {
		t.Error("no answer after SIGHUP")
	}

	signalTo(t, p, syscall.SIGTERM)
	exit, rest := p.exit(t)
	if exit != 0 {
		t.Errorf("exit status %d after SIGTERM, want 0", exit)
	}
	if strings.Contains(rest, "msg=ready") {
		t.Error("ready a second time")
	}
	if got := told(t, manager); got != "STOPPING=1" {
		t.Errorf("systemd received %q, want STOPPING=1", got)
	}
	if _, err := os.Lstat(p.socket); err == nil {
		t.Error("the control socket exists after the stop")
	}
}

func signalTo(t *testing.T, p *process, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// TestSignalTwice: two signals in quick succession, as timeout(1) sends them,
// cause one stop and no kill.
func TestSignalTwice(t *testing.T) {
	manager, env := systemd(t)
	p := startDaemon(t, nil, []string{env})
	p.until(t, "msg=ready")
	told(t, manager)
	signalTo(t, p, syscall.SIGTERM)
	if got := told(t, manager); got != "STOPPING=1" {
		t.Fatalf("systemd received %q, want STOPPING=1", got)
	}
	_ = p.Process.Signal(syscall.SIGTERM) // it may have ended
	if exit, rest := p.exit(t); exit != 0 {
		t.Errorf("exit status %d, want 0; log:\n%s", exit, rest)
	}
	if _, err := os.Lstat(p.socket); err == nil {
		t.Error("the control socket exists after the stop")
	}
}

// TestReloadOfOtherFile: the status is that of an invalid file although the command
// has read another one, which is good.
func TestReloadOfOtherFile(t *testing.T) {
	p := startDaemon(t, nil, nil)
	p.until(t, "msg=ready")
	file := p.Args[slices.Index(p.Args, "--config")+1]
	for _, text := range []string{"port: 0\n", "peer: '10.9.0.2:2121'\n", "user: no-such-user\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		status, _, stderr := call("reload", "--config", empty(t), "--control-socket", p.socket)
		if status != 2 || !strings.HasPrefix(stderr, "pasvport: configuration not reloaded: ") {
			t.Errorf("%q: status %d, errors %q", text, status, stderr)
		}
	}
}

func TestInterrupt(t *testing.T) {
	p := startDaemon(t, nil, nil, "--log-format", "json")
	p.until(t, `"msg":"ready"`)
	signalTo(t, p, syscall.SIGINT)
	if exit, _ := p.exit(t); exit != 0 {
		t.Errorf("exit status %d after SIGINT, want 0", exit)
	}
}

// TestReadyAtEveryLevel: scripts wait for the line, whatever else is logged.
func TestReadyAtEveryLevel(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		p := startDaemon(t, nil, nil, "--log-level", "error", "--log-format", format)
		line := p.until(t, "ready")
		if !strings.Contains(line, "INFO") || !strings.Contains(line, "strategy") {
			t.Errorf("the first line is %s", line)
		}
		signalTo(t, p, syscall.SIGTERM)
		if exit, rest := p.exit(t); exit != 0 || rest != "" {
			t.Errorf("exit status %d, want 0; log:\n%s", exit, rest)
		}
	}
}

// TestCrash: a watchdog kill by systemd, or a bug, does not end with exit status
// 2, which means wrong usage and keeps systemd from restarting.
func TestCrash(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGABRT, syscall.SIGQUIT, syscall.SIGSEGV} {
		p := startDaemon(t, nil, nil)
		p.until(t, "msg=ready")
		signalTo(t, p, s)
		p.exit(t)
		if status, ok := p.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
			t.Errorf("%v ended the daemon with %v, want by a signal", s, p.ProcessState)
		}
	}
}

// TestLostLogReader: a daemon whose log no one reads any more continues, and
// removes its rules when it is stopped.
func TestLostLogReader(t *testing.T) {
	p := startDaemon(t, nil, nil)
	p.until(t, "msg=ready")
	if err := p.stderr.Close(); err != nil {
		t.Fatal(err)
	}
	signalTo(t, p, syscall.SIGHUP) // it logs
	signalTo(t, p, syscall.SIGTERM)
	if exit, _ := p.exit(t); exit != 0 {
		t.Errorf("exit status %d, want 0", exit)
	}
}

// TestFailedStart: each error says what failed and why, and nothing of ours
// remains.
func TestFailedStart(t *testing.T) {
	taken := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(taken, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	none, pair := filepath.Join(t.TempDir(), "none"), []string{"--peer", "10.9.0.2:2121", "--peer-listen", "10.9.0.1:2121"}
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		want   []string
	}{
		{"metrics", []string{"--metrics", "[fe80::1]:9121"}, 1, []string{`pasvport: --metrics "[fe80::1]:9121": listen tcp`, "invalid argument"}},
		{"socket", []string{"--control-socket", taken}, 2, []string{`pasvport: --control-socket "` + taken + `": exists and is not a socket`}},
		{"socket below a file", []string{"--control-socket", taken + "/s"}, 2, []string{`pasvport: --control-socket "` + taken + `/s": not a directory, want `}},
		{"xferlog", []string{"--xferlog", none + "/log"}, 2, []string{`pasvport: --xferlog "` + none + `/log": open ` + none + `: no such file or directory, want a file that can be written`}},
		{"xferlog below a file", []string{"--xferlog", taken + "/log"}, 2, []string{`pasvport: --xferlog "` + taken + `/log": `, "not a directory"}},
		{"xferlog a directory", []string{"--xferlog", filepath.Dir(taken)}, 2, []string{`pasvport: --xferlog "` + filepath.Dir(taken) + `": open ` + filepath.Dir(taken) + `: is a directory`}},
		{"xferlog without a reader", []string{"--xferlog", fifo}, 2, []string{`pasvport: --xferlog "` + fifo + `": open ` + fifo + `: no such device or address`}},
		{"key", slices.Concat(pair, []string{"--peer-key", none}), 2, []string{`pasvport: --peer-key "` + none + `": no such file or directory, want a file with a key`}},
		{"short key", slices.Concat(pair, []string{"--peer-key", taken}), 2, []string{`pasvport: --peer-key "` + taken + `": 8 characters, want at least 32`}},
		{"chain", []string{"--allow", "chain=inet/filter/forward"}, 2, []string{`pasvport: --allow "chain=inet/filter/forward": `, "want chains that exist"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := startDaemon(t, nil, nil, tt.args...)
			exit, rest := p.exit(t)
			last := rest[strings.LastIndex(rest, "\n")+1:]
			if exit != tt.status {
				t.Errorf("exit status %d, want %d", exit, tt.status)
			}
			for _, want := range tt.want {
				if !strings.Contains(last, want) {
					t.Errorf("no %q in the last line: %s", want, last)
				}
			}
			if strings.Contains(rest, "msg=ready") {
				t.Error("the daemon was ready")
			}
			if exit == 2 && last != rest {
				t.Errorf("wrong usage is more than one line:\n%s", rest)
			}
			if _, err := os.Lstat(p.socket); err == nil {
				t.Error("the control socket is there")
			}
		})
	}
	if b, err := os.ReadFile(taken); err != nil || string(b) != "precious" {
		t.Errorf("the file in place of the socket: %q, %v", b, err)
	}
}

// TestSecondDaemon: a daemon with the same table or queue fails and says which;
// one with its own but the same socket path runs without a socket. The first
// continues.
func TestSecondDaemon(t *testing.T) {
	first := startDaemon(t, nil, nil)
	first.until(t, "msg=ready")

	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, `table "pasvport"`},
		{[]string{"--queue-num", "3000"}, `table "pasvport"`},
		{[]string{"--table", "other"}, "queue 2121"},
	} {
		p := startDaemon(t, first, nil, tt.args...)
		exit, rest := p.exit(t)
		if exit != 1 || !strings.Contains(rest, tt.want) {
			t.Errorf("second daemon with %q: exit status %d, log without %q:\n%s", tt.args, exit, tt.want, rest)
		}
	}

	own := startDaemon(t, first, nil, "--table", "other", "--queue-num", "3000", "--control-socket", first.socket)
	own.until(t, "no control socket")
	own.until(t, "msg=ready")
	signalTo(t, own, syscall.SIGTERM)
	if exit, _ := own.exit(t); exit != 0 {
		t.Errorf("exit status %d of the daemon without a socket, want 0", exit)
	}

	_, stdout, stderr := call("status", "--json", "--control-socket", first.socket)
	if !strings.Contains(stdout, `"pid": `+strconv.Itoa(first.Process.Pid)+",") {
		t.Errorf("the first daemon does not answer any more: %s%s", stdout, stderr)
	}
}

// squat is an unprivileged local user who occupies what a daemon in this network
// namespace might need: its possible names, and the port of the metrics. It ends
// with its standard input.
func squat() {
	lock := tablelock.Queue("pasvport")
	if q, err := nfq.Open(nfq.Config{Num: lock}); err == nil {
		_ = q.Close()
		panic("a user without rights can have the lock")
	}
	var held []net.Listener // the garbage collector would close their sockets
	for _, at := range []struct{ network, address string }{
		{"unix", "@pasvport/table/pasvport"}, {"unix", "@pasvport"}, {"tcp", squattedPort},
	} {
		l, err := net.Listen(at.network, at.address)
		if err != nil {
			panic(err)
		}
		held = append(held, l)
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(held)
	os.Exit(0)
}

const squattedPort = ":9121"

// TestSquatter: an unprivileged local user cannot keep the daemon from starting,
// nor from refusing a second one. The metrics start when their address is free.
func TestSquatter(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespace")
	}
	squatter := program(t, "squatter")
	squatter.Stderr = os.Stderr
	squatter.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	squatter.Path = readable(t, squatter.Path)
	hold, err := squatter.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := squatter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := squatter.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hold.Close(); _ = squatter.Wait() })
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "held\n" {
		t.Fatalf("the squatter printed %q, %v", line, err)
	}
	inThere := func(p *process) { p.SysProcAttr = nil; p.enter(t, squatter.Process.Pid) }

	p := startDaemonAs(t, inThere, "--metrics", squattedPort)
	if line := p.until(t, `msg="no metrics"`); !strings.Contains(line, "level=ERROR") || !strings.Contains(line, "address already in use") {
		t.Errorf("the log says %s", line)
	}
	p.until(t, "msg=ready")
	notes := func() string { _, stdout, _ := call("status", "--control-socket", p.socket); return stdout }
	if s := notes(); !strings.Contains(s, "no metrics on :9121") {
		t.Errorf("status does not say that there are no metrics:\n%s", s)
	}
	second := startDaemonAs(t, inThere, "--queue-num", "3000")
	if exit, rest := second.exit(t); exit != 1 || !strings.Contains(rest, `another pasvport has the table "pasvport"`) {
		t.Errorf("second daemon: exit status %d, log:\n%s", exit, rest)
	}
	if err := hold.Close(); err != nil {
		t.Fatal(err)
	}
	p.until(t, "msg=metrics address=[::]:9121")
	if s := notes(); strings.Contains(s, "no metrics") {
		t.Errorf("status still says that there are no metrics:\n%s", s)
	}
}

// readable is a copy of a program that every user can execute.
func readable(t *testing.T, path string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pasvport-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "program")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(copied, b, 0o755), os.Chmod(copied, 0o755)); err != nil {
		t.Fatal(err)
	}
	return copied
}

// TestDoubtsAtStart: probably unintended settings are logged.
func TestDoubtsAtStart(t *testing.T) {
	p := startDaemon(t, nil, nil, "--tls-port", "21")
	p.until(t, "control port 21 is one of tls-port as well")
	p.until(t, "msg=ready")
}
