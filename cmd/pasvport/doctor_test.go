// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/doctor"
)

// outcome runs a command to its end.
func outcome(cmd *exec.Cmd) (status int, stdout, stderr string) {
	out, err := cmd.Output()
	var e *exec.ExitError
	if errors.As(err, &e) {
		stderr = string(e.Stderr)
	}
	return exitStatus(err), string(out), stderr
}

// examine runs doctor in a network namespace of its own with a ruleset, or in
// that of a daemon.
func examine(t *testing.T, beside *process, ruleset string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespace")
	}
	p := &process{Cmd: program(t, "main", append([]string{"doctor", "--config", empty(t), "--queues", "1"}, args...)...)}
	switch {
	case beside != nil:
		p.enter(t, beside.Process.Pid)
	case ruleset != "":
		p.Args = append([]string{"sh", "-c", `nft -f - && exec "$0" "$@"`, p.Path}, p.Args[1:]...)
		p.Path = "/bin/sh"
		p.Stdin = strings.NewReader(ruleset)
		fallthrough
	default:
		p.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	return outcome(p.Cmd)
}

// TestDoctorExitStatus: 0 fine, 1 problems or no privileges, 2 wrong usage.
func TestDoctorExitStatus(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs the program nft")
	}
	broken := "table inet f { chain i { type filter hook input priority 0; policy drop; ct state established accept; tcp dport 21 accept; }; }"
	for _, tt := range []struct {
		name, ruleset string
		args          []string
		status        int
		stdout        string
		stderr        string
	}{
		{"fine", "", nil, 0, "\n0 problems, 0 warnings\n", ""},
		{"problems", broken, nil, 1, "dropped by the policy of chain inet f i", "pasvport: there are problems\n"},
		{"problems as data", broken, []string{"--json"}, 1, `"level": "problem"`, "pasvport: there are problems\n"},
		{"address", "", []string{"--client", "a"}, 2, "", "pasvport: --client \"a\": want an IPv4 or IPv6 address\n"},
		{"families", "", []string{"--client", "192.0.2.1", "--server", "2001:db8::1"}, 2, "",
			"pasvport: --client \"192.0.2.1\" with --server \"2001:db8::1\": want addresses of one family\n"},
		{"fault", "", []string{"--xferlog", "/none/log"}, 1, `xferlog "/none/log": open /none: no such file or directory`, "pasvport: there are problems\n"},
		{"idle chain", "table inet i { chain n { type nat hook prerouting priority dstnat; }; }", []string{"--allow", "chain=inet/i/n"}, 0,
			"a rule in this chain does nothing for a data connection: it is of type nat", ""},
		{"flag", "", []string{"--fail=ajar"}, 2, "", "pasvport: --fail \"ajar\": want open or closed\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := examine(t, nil, tt.ruleset, tt.args...)
			if status != tt.status || !strings.Contains(stdout, tt.stdout) || tt.stdout == "" && stdout != "" || stderr != tt.stderr {
				t.Errorf("status %d, errors %q, output:\n%s\nwant %d, %q and %q", status, stderr, stdout, tt.status, tt.stderr, tt.stdout)
			}
		})
	}
	status, stdout, stderr := outcome(program(t, "norights", "doctor", "--config", empty(t)))
	if status != 1 || stdout != "" || stderr != "pasvport: "+errNoRights.Error()+"\n" {
		t.Errorf("without rights: status %d, output %q, errors %q", status, stdout, stderr)
	}
}

// TestDoctorWithoutOwnNamespace: with CAP_NET_ADMIN alone features are probed in
// the current namespace, and nothing of that remains.
func TestDoctorWithoutOwnNamespace(t *testing.T) {
	for _, name := range []string{"nft", "conntrack", "setpriv"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs the program %s", name)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespace")
	}
	p := program(t, "main", "doctor", "--config", empty(t), "--queues", "1", "--json")
	p.Args = append([]string{"sh", "-c", `setpriv --bounding-set=-all,+net_admin "$0" "$@" && nft list ruleset >&2 && conntrack -L -o xml 2>/dev/null | grep "<flow" >&2; true`, p.Path}, p.Args[1:]...)
	p.Path = "/bin/sh"
	p.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	var left strings.Builder
	p.Stderr = &left
	stdout, err := p.Output()
	if err != nil || left.String() != "" {
		t.Errorf("%v, left behind:\n%s", err, left.String())
	}
	var r doctor.Report
	if err := json.Unmarshal(stdout, &r); err != nil || !strings.Contains(r.Probed, "this network namespace") {
		t.Errorf("%v, tried in %q", err, r.Probed)
	}
}

// findings are the findings on a topic in a JSON report.
func findings(t *testing.T, stdout, topic string) []doctor.Finding {
	t.Helper()
	var r doctor.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v: output %q", err, stdout)
	}
	var list []doctor.Finding
	for _, f := range r.Findings {
		if f.Topic == topic {
			list = append(list, f)
		}
	}
	return list
}

// TestDoctorBesideDaemon: the running daemon is found, with its rules; flags that
// differ from its own are reported; its queue is not a conflict.
func TestDoctorBesideDaemon(t *testing.T) {
	p := startDaemon(t, nil, nil)
	p.until(t, "msg=ready")
	for _, tt := range []struct {
		args   []string
		topic  string
		level  doctor.Level
		want   string
		status int
	}{
		{nil, "daemon", doctor.OK, "its rules are complete", 0},
		{[]string{"--port", "2121"}, "daemon", doctor.Warn, "the running daemon has ports 21", 0},
		{[]string{"--control-socket", ""}, "daemon", doctor.OK, "cannot be asked", 0},
		{[]string{"--table", "other"}, "conflict", doctor.Problem, "queue 2121 belongs to another process", 1},
	} {
		args := append([]string{"--json", "--control-socket", p.socket}, tt.args...)
		status, stdout, stderr := examine(t, p, "", args...)
		list := findings(t, stdout, tt.topic)
		if status != tt.status || len(list) == 0 || list[0].Level != tt.level || !strings.Contains(list[0].Text, tt.want) {
			t.Errorf("%q: status %d, errors %q, findings %+v, want %d and %s: %s", tt.args, status, stderr, list, tt.status, tt.level, tt.want)
		}
	}
}

// TestSelfTest: real transfers, in each way of --allow and --strategy.
func TestSelfTest(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	for _, args := range [][]string{
		nil, {"--allow", "mark", "--port", "2121"}, {"--allow", "chain=inet/any/thing", "--strategy", "claim"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			status, stdout, stderr := outcome(program(t, "main", append([]string{"doctor", "--self-test", "--config", empty(t)}, args...)...))
			if status != 0 || strings.Count(stdout, "ok    ") != 16 || !strings.HasSuffix(stdout, "\n16 steps, 0 failed\n") {
				t.Errorf("status %d, errors %q, output:\n%s", status, stderr, stdout)
			}
		})
	}
}

// TestShow: the self-test shows what the kernel reported, and ends in the same
// report.
func TestShow(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	for _, tool := range []string{"conntrack", "nft", "stdbuf"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	args := []string{"doctor", "--self-test", "--show", "--config", empty(t), "--allow", "chain=inet/any/thing"}
	status, stdout, stderr := outcome(program(t, "main", args...))
	for _, want := range []string{
		"  server heard       PORT 198,51,100,1,", "  element of a set   198.51.100.2 -> 192.0.2.2:", "  expectation        192.0.2.2 -> 198.51.100.2:",
		"  data connection    198.51.100.2:", "(pasvport sessions):", "holes closed again", "\n16 steps, 0 failed\n",
	} {
		if status != 0 || !strings.Contains(stdout, want) {
			t.Fatalf("status %d, errors %q, want %q in\n%s", status, stderr, want, stdout)
		}
	}
	for _, args := range [][]string{{"--show"}, {"--self-test", "--show", "--json"}} {
		if status, _, stderr := call(append([]string{"doctor"}, args...)...); status != 2 || !strings.HasPrefix(stderr, "pasvport: --show goes with --self-test") {
			t.Errorf("%q: status %d, %q", args, status, stderr)
		}
	}
}

// TestCheck: a file is judged as run would judge it.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, unknown := write("good", "port: [21, 2121]\nallow: mark\n"), write("unknown", "port: 21\n\nports: 22\n")
	value, missing := write("value", "fail: ajar\n"), filepath.Join(dir, "missing")
	for _, tt := range []struct {
		path   string
		status int
		want   string
	}{
		{good, 0, ""},
		{empty(t), 0, ""},
		{"../../docs/pasvport.yaml", 0, ""},
		{unknown, 2, "pasvport: " + unknown + ":3:1: unknown key \"ports\", want the name of a flag of \"pasvport run\", commands, files, policies or virtual-servers; did you mean \"port\"?\n"},
		{value, 2, "pasvport: " + value + ":1:7: fail \"ajar\": want open or closed\n"},
		{missing, 2, "pasvport: --config \"" + missing + "\": no such file or directory, want a readable file\n"},
	} {
		status, stdout, stderr := call("check", tt.path)
		if status != tt.status || stdout != "" || stderr != tt.want {
			t.Errorf("%s: status %d, output %q, errors:\n%swant %d and\n%s", tt.path, status, stdout, stderr, tt.status, tt.want)
		}
		if tt.status == 2 {
			if status, _, run := call("run", "--config", tt.path); status != 2 || run != stderr {
				t.Errorf("%s: run says status %d, %q", tt.path, status, run)
			}
		}
	}
	doubtful := write("doubtful", "tls-port: 21\n")
	if status, stdout, stderr := call("check", doubtful); status != 0 || !strings.HasPrefix(stdout, doubtful+": warning: control port 21 is one of tls-port as well") || stderr != "" {
		t.Errorf("a doubtful file: status %d, output %q, errors %q", status, stdout, stderr)
	}
	if status, _, stderr := call("check"); status != 2 || stderr != "pasvport: check: 0 arguments, want one, the name of a file\n" {
		t.Errorf("without a file: status %d, errors %q", status, stderr)
	}
}
