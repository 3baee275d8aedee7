// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
)

// The test binary is the program if this is set: "main" as it is, "norights"
// without any capability, "squatter" see squat.
const asProgram = "PASVPORT_TEST_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "":
		os.Exit(m.Run())
	case "squatter":
		squat()
	case "norights":
		// Capabilities belong to a thread; the command runs on this one.
		runtime.LockOSThread()
		var none [2]unix.CapUserData
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&hdr, &none[0]); err != nil {
			panic(err)
		}
	}
	main()
}

// program is a command line of ours in a process of its own.
func program(t *testing.T, as string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asProgram+"="+as)
	return cmd
}

// call runs a command line in this process.
func call(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = execute(args, &out, &errs)
	return status, out.String(), errs.String()
}

// empty is an empty configuration file: tests do not read this machine's.
func empty(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrongUsage(t *testing.T) {
	const commands = "want one of check, completion, doctor, events, init, reload, replay, report, rules, run, servers, sessions, status, top, unblock, version"
	for _, tt := range []struct{ args, want string }{
		{"", "no command given: " + commands + "; see pasvport --help"},
		{"walk", `unknown command "walk": ` + commands},
		{"stat", `unknown command "stat": ` + commands + "; did you mean status?"},
		{"help walk", `unknown command "walk": ` + commands},
		{"--walk", "unknown flag: --walk; see pasvport --help"},
		{"run --walk", "unknown flag: --walk; see pasvport run --help"},
		{"run -p 21", "unknown shorthand flag: 'p' in -p; see pasvport run --help"},
		{"run 21", `unexpected argument "21": pasvport run takes flags only`},
		{"run --strict-active-port on", `unexpected argument "on": pasvport run takes flags only; the value of a switch follows a =, as in --strict-active-port=on`},
		{"rules x y", `unexpected argument "x": pasvport rules takes flags only`},
		{"status x", `unexpected argument "x": pasvport status takes flags only`},
		{"sessions x", `unknown command "x": want one of end`},
		{"servers x", `unknown command "x": want one of drain, undrain`},
		{"servers drain", `pasvport servers drain with 0 arguments: want the name of one server`},
		{"servers undrain a b", `pasvport servers undrain with 2 arguments: want the name of one server`},
		{"version x", `unexpected argument "x": pasvport version takes flags only`},
		{"help run x", `unexpected argument "x": pasvport run takes flags only`},
		{"status --port 21", "unknown flag: --port; see pasvport status --help"},
		{"run --port", "flag needs an argument: --port; see pasvport run --help"},
		{"completion", "no shell given: want one of bash, fish, zsh"},
		{"completion csh", `unknown command "csh": want one of bash, fish, zsh; did you mean zsh?`},
		{"run --prot 21", "unknown flag: --prot; did you mean --port?; see pasvport run --help"},
		{"run --port 0", `--port "0": want a port from 1 to 65535, a range such as 8021-8025, or a list of them`},
		{"rules --queues 65", `--queues "65": want a number from 1 to 64`},
		{"unblock", "pasvport unblock: want the address of one client, or its network as pasvport status shows it"},
		{"unblock 192.0.2.0/24", "pasvport unblock 192.0.2.0/24: want the address of one client, or its network as pasvport status shows it"},
		{"unblock fe80::1%lo", "pasvport unblock fe80::1%lo: want the address of one client, or its network as pasvport status shows it"},
		{"sessions end", "pasvport sessions end: want the id of one session, as pasvport sessions shows it"},
		{"status --json=yes", `--json "yes": want true or false`},
		{"events --session -1", `--session "-1": want a number`},
		{"top --interval soon", `--interval "soon": want a duration such as 5s`},
		{"sessions --client x", `--client "x": want an IPv4 or IPv6 address`},
		{"sessions --server fe80::1%lo", `--server "fe80::1%lo": want an IPv4 or IPv6 address`},
		{"events --client fe80::1%lo", `--client "fe80::1%lo": want an IPv4 or IPv6 address`},
		{"run --peer 10.9.0.2:2121", `peer "10.9.0.2:2121" with peer-listen "" and peer-key "": want all three, or none`},
		{"run --config /no/such", `--config "/no/such": no such file or directory, want a readable file`},
		{"status --config /no/such", `--config "/no/such": no such file or directory, want a readable file`},
		{"run --config CONFIG --table a\nb", "--table \"a\\nb\": want a letter or '_', then letters, digits, '_', '-' or '.', at most 64 in all"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			args := strings.Fields(strings.ReplaceAll(tt.args, "CONFIG", empty(t)))
			if i := strings.Index(tt.args, "a\nb"); i >= 0 {
				args = append(args[:len(args)-2], "a\nb")
			}
			status, stdout, stderr := call(args...)
			if status != 2 || stdout != "" || stderr != "pasvport: "+tt.want+"\n" {
				t.Errorf("status %d, output %q, errors:\n%swant status 2 and\npasvport: %s", status, stdout, stderr, tt.want)
			}
		})
	}
}

// TestFileErrorIsUsage: an error of the file has its place and exit status 2.
func TestFileErrorIsUsage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(path, []byte("port: 21\nprot: 22\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"run", "rules", "status", "sessions"} {
		status, _, stderr := call(command, "--config", path)
		want := "pasvport: " + path + ":2:1: unknown key \"prot\", want the name of a flag of \"pasvport run\", commands, files, policies or virtual-servers; did you mean \"port\"?\n"
		if status != 2 || stderr != want {
			t.Errorf("%s: status %d, errors %q, want 2 and %q", command, status, stderr, want)
		}
	}
}

// TestHelp: every command explains itself and every flag of run is in the text.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"help", "run"}, {"run", "--help"}, {"rules", "-h"}, {"status", "-h"}, {"sessions", "-h"}, {"version", "-h"}} {
		status, stdout, stderr := call(args...)
		if status != 0 || stderr != "" || !strings.Contains(stdout, "Usage:") {
			t.Errorf("%v: status %d, output %q, errors %q", args, status, stdout, stderr)
		}
	}
	_, help, _ := call("run", "--help")
	for _, flag := range strings.Fields("port config control-socket metrics allow strategy carrier queue third-party advertise nat64 repair min-data-port " +
		"strict-active-port pinhole-timeout reset-stale keepalive session-idle tls fail queue-num queues table ct-mark user log-format log-level") {
		if !strings.Contains(help, " --"+flag+" ") {
			t.Errorf("help of run does not mention --%s", flag)
		}
	}
}

func TestVersion(t *testing.T) {
	b := build{version: "devel", commit: "unknown"}.from(&debug.BuildInfo{
		Main: debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abcd"}, {Key: "vcs.modified", Value: "true"},
			{Key: "-tags", Value: ""}, {Key: "-compiler", Value: "gc"}, {Key: "-trimpath", Value: "true"}, {Key: "CGO_ENABLED", Value: "0"}},
	})
	goLine := fmt.Sprintf("%s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if want := "pasvport v1.2.3\ncommit 0123abcd (modified)\n" + goLine + "built with -trimpath=true CGO_ENABLED=0\n"; b.text() != want {
		t.Errorf("got  %q\nwant %q", b.text(), want)
	}
	b = build{version: "devel", commit: "unknown"}.from(&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}})
	if want := "pasvport devel\ncommit unknown\n" + goLine; b.text() != want {
		t.Errorf("got  %q\nwant %q", b.text(), want)
	}
	status, stdout, stderr := call("version")
	if status != 0 || stdout != readBuild().text() || stderr != "" {
		t.Errorf("version: status %d, output %q, errors %q", status, stdout, stderr)
	}
}

// TestVersionOfLinker: the linker's version wins.
func TestVersionOfLinker(t *testing.T) {
	release, commit = "v9.9.9", "feedbeef"
	defer func() { release, commit = "", "" }()
	if got := readBuild(); got.version != "v9.9.9" || got.commit != "feedbeef" || got.modified {
		t.Errorf("build %+v", got)
	}
}

// TestRulesNeedsNoRights: the text follows the flags, and reading it needs no
// privilege.
func TestRulesNeedsNoRights(t *testing.T) {
	config := empty(t)
	out, err := program(t, "norights", "rules", "--config", config, "--table", "mine", "--port", "8021-8025,2121",
		"--queue-num", "700", "--queues", "1", "--allow", "chain=inet/filter/forward").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"table inet mine {", "2121", "8021-8025", "700", "sane", "inet filter forward"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "ct mark") {
		t.Errorf("a mark without --allow mark:\n%s", out)
	}
	_, mark, _ := call("rules", "--config", config, "--allow", "mark", "--ct-mark", "0x30")
	if !strings.Contains(mark, "ct mark set ct mark | 0x00000010") {
		t.Errorf("no bit of the mark in:\n%s", mark)
	}
	_, claim, _ := call("rules", "--config", config, "--strategy", "claim")
	if strings.Contains(claim, "sane") || !strings.Contains(claim, "priority -350") {
		t.Errorf("want a claim chain and no sane helper in:\n%s", claim)
	}
	_, expectation, _ := call("rules", "--config", config, "--strategy", "expectation")
	if !strings.Contains(expectation, "sane") || strings.Contains(expectation, "priority -350") {
		t.Errorf("want a sane helper and no claim chain in:\n%s", expectation)
	}
}

// TestRunNeedsRights: wrong usage is reported first, then the missing capability,
// and neither makes a socket.
func TestRunNeedsRights(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "dir", "s")
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{nil, 1, "pasvport: missing CAP_NET_ADMIN: run as root, or with AmbientCapabilities=CAP_NET_ADMIN in a systemd unit\n"},
		{[]string{"--fail=ajar"}, 2, "pasvport: --fail \"ajar\": want open or closed\n"},
	} {
		args := append([]string{"run", "--config", empty(t), "--control-socket", socket}, tt.args...)
		out, err := program(t, "norights", args...).CombinedOutput()
		if status := exitStatus(err); status != tt.status || string(out) != tt.want {
			t.Errorf("%v: status %d (%v), output:\n%swant %d and\n%s", tt.args, status, err, out, tt.status, tt.want)
		}
	}
	if _, err := os.Lstat(filepath.Dir(socket)); err == nil {
		t.Error("the directory of the socket was made")
	}
}

// exitStatus is the exit status of a process that ended on its own, otherwise -1.
func exitStatus(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := err.(*exec.ExitError); ok {
		return e.ExitCode()
	}
	return -1
}

// fake answers as a daemon does.
type fake struct{}

func (fake) Status() control.Status {
	return control.Status{Version: "v1", PID: 42, Table: "mine", Strategy: "claim", Carrier: "bare"}
}

func (fake) Sessions() []control.Session {
	return []control.Session{{ID: 7, Client: netip.MustParseAddrPort("10.0.0.2:40000"), NAT: control.NATSrc}}
}

func (fake) Events() *report.Stream {
	s := &report.Stream{}
	s.Send(report.Event{Name: "offer refused", Subject: report.Subject{Session: 77, Client: netip.MustParseAddrPort("192.0.2.9:4")}})
	return s
}

func (fake) Servers() []control.Server { return []control.Server{{Virtual: "v", Name: "one"}} }

func (fake) Settings() any                { return nil }
func (fake) Reload(context.Context) error { return nil }

func (fake) End(id uint64) error {
	if id != 7 {
		return errors.New("no such session")
	}
	return nil
}

func (fake) Unblock(a netip.Addr) error {
	if a != netip.MustParseAddr("192.0.2.7") {
		return errors.New("is not blocked")
	}
	return nil
}

func (fake) Drain(name string, _ bool) error {
	if name != "one" && name != "v/one" {
		return errors.New("no such server")
	}
	return nil
}

func TestQuestions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	srv, err := control.Listen(path, fake{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	config := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(config, []byte("control-socket: "+path+"\nport: [21, 2121]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"status", "--control-socket", path}, []string{"mine", "42", "claim, carrier bare"}},
		{[]string{"status", "--config", config}, []string{"mine"}},
		{[]string{"status", "--json", "--control-socket", path}, []string{`"pid": 42`, `"table": "mine"`}},
		{[]string{"sessions", "--control-socket", path}, []string{"10.0.0.2:40000", "snat"}},
		{[]string{"servers", "--control-socket", path}, []string{"VIRTUAL", "one"}},
		{[]string{"servers", "--json", "--config", config}, []string{`"virtual": "v"`}},
		{[]string{"servers", "drain", "one", "--config", config}, nil},
		{[]string{"sessions", "end", "7", "--config", config}, nil},
		{[]string{"unblock", "192.0.2.7", "--config", config}, nil},
		{[]string{"unblock", "192.0.2.7/32", "--config", config}, nil}, // as status shows it
		{[]string{"events", "--config", config, "--client", "192.0.2.9"}, []string{`"event":"offer refused"`, `"session":77`}},
		{[]string{"events", "--config", config, "--session", "78"}, nil},
		{[]string{"servers", "undrain", "v/one", "--config", config}, nil},
		{[]string{"sessions", "--json", "--config", config}, []string{"[\n  {\n    \"id\": 7,\n    \"client\": \"10.0.0.2:40000\""}},
	} {
		status, stdout, stderr := call(tt.args...)
		if status != 0 || stderr != "" {
			t.Errorf("%v: status %d, errors %q", tt.args, status, stderr)
		}
		for _, want := range tt.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%v: no %q in:\n%s", tt.args, want, stdout)
			}
		}
	}
}

func TestNoDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, command := range [][]string{{"status"}, {"sessions"}, {"servers"}, {"servers", "drain", "x"}, {"events"}, {"events", "--follow"}} {
		status, stdout, stderr := call(append(command, "--control-socket", path)...)
		want := "pasvport: no daemon answers on " + path + ": connect: no such file or directory (is it running, and with this --control-socket?)\n"
		if status != 1 || stdout != "" || stderr != want {
			t.Errorf("%s: status %d, output %q, errors %q, want 1 and %q", command, status, stdout, stderr, want)
		}
		status, _, stderr = call(append(command, "--control-socket", "")...)
		if want := "pasvport: no daemon to ask: control-socket is empty\n"; status != 1 || stderr != want {
			t.Errorf("%s: status %d, errors %q, want 1 and %q", command, status, stderr, want)
		}
	}
}

func TestOneLine(t *testing.T) {
	got := oneLine(fmt.Errorf("a\nb\r\n\nc"))
	if diff := cmp.Diff("a; b; c", got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// wait is how long a test waits for what must happen.
const wait = 20 * time.Second
