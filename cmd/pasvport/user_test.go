// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// nobody is a user that any machine has.
func nobody(t *testing.T) *user.User {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("no user nobody")
	}
	return u
}

// open makes the test's directories passable for other users.
func open(t *testing.T, dir string) {
	t.Helper()
	for ; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUser: every thread of a daemon with --user has that user's identity and
// CAP_NET_ADMIN, and can gain nothing else; it serves, and removes its socket.
func TestUser(t *testing.T) {
	u := nobody(t)
	for _, tt := range []struct {
		name, comm string
		passable   bool // the user can reach the program by its path
	}{
		{"path", "pasvport\n", true},
		{"link", "exe\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := startDaemonAs(t, func(p *process) {
				open(t, filepath.Dir(filepath.Dir(p.socket)))
				config := p.Args[3]
				open(t, filepath.Dir(config))
				if err := os.Chmod(config, 0o644); err != nil {
					t.Fatal(err)
				}
				if p.Path = copyProgram(t, p.Path); tt.passable {
					open(t, filepath.Dir(p.Path))
				}
			}, "--user", "nobody", "--queues", "3", "--metrics", "127.0.0.1:0")
			p.until(t, "msg=ready")
			checkThreads(t, p.Process.Pid, u)
			if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.Process.Pid)); err != nil || string(name) != tt.comm {
				t.Errorf("the process is named %q, %v; want %q", name, err, tt.comm)
			}
			if exit, _, stderr := call("status", "--control-socket", p.socket); exit != 0 {
				t.Errorf("status: %s", stderr)
			}
			signalTo(t, p, syscall.SIGTERM)
			if exit, rest := p.exit(t); exit != 0 {
				t.Errorf("exit status %d, want 0:\n%s", exit, rest)
			}
			if _, err := os.Lstat(p.socket); err == nil {
				t.Error("the control socket exists after the stop")
			}
		})
	}
}

// copyProgram copies a program into a directory that only root can enter.
func copyProgram(t *testing.T, path string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bin")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err == nil {
		path = filepath.Join(dir, "pasvport")
		err = os.WriteFile(path, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// checkThreads checks the privileges of each thread of a process.
func checkThreads(t *testing.T, pid int, u *user.User) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) < 3 {
		t.Fatalf("%d threads, %v: want several", len(tasks), err)
	}
	const netAdmin = "0000000000001000" // bit 12
	want := map[string]string{
		"Uid":    strings.Repeat(u.Uid+" ", 3) + u.Uid,
		"Gid":    strings.Repeat(u.Gid+" ", 3) + u.Gid,
		"Groups": u.Gid,
		"CapInh": netAdmin, "CapPrm": netAdmin, "CapEff": netAdmin, "CapBnd": netAdmin, "CapAmb": netAdmin,
		"NoNewPrivs": "1",
	}
	for _, task := range tasks {
		got := threadStatus(t, task)
		for key, value := range want {
			if got[key] != value {
				t.Errorf("%s: %s %q, want %q", task, key, got[key], value)
			}
		}
	}
}

// threadStatus reads a file of proc(5) with lines "Key:\tvalue", with single
// blanks.
func threadStatus(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			status[key] = strings.Join(strings.Fields(value), " ")
		}
	}
	return status
}

// TestUserRefused: the error says what is wrong with the user.
func TestUserRefused(t *testing.T) {
	for _, tt := range []struct {
		user   string
		status int
		want   string
	}{
		{"no-such-user-here", 2, `--user "no-such-user-here": no such user, want one of this machine's`},
		{"root", 2, `--user "root": want a user that is not root`},
		{"a:b", 2, `--user "a:b": want the name of a user, or nothing`},
	} {
		p := startDaemon(t, nil, nil, "--user", tt.user)
		exit, rest := p.exit(t)
		if exit != tt.status || rest != "pasvport: "+tt.want {
			t.Errorf("%s: exit status %d, log %q; want %d and %q", tt.user, exit, rest, tt.status, tt.want)
		}
	}
}

// TestUserMayNotWrite: a file that the user may not write is named before anything
// else happens.
func TestUserMayNotWrite(t *testing.T) {
	u, dir := nobody(t), t.TempDir()
	for _, setting := range []string{"control-socket", "xferlog"} {
		path := filepath.Join(dir, "file")
		p := startDaemonAs(t, func(p *process) {
			config := p.Args[3]
			open(t, filepath.Dir(config))
			open(t, dir)
			if err := os.Chmod(config, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "--control-socket", "", "--user", u.Username, "--"+setting, path)
		exit, rest := p.exit(t)
		if exit != 2 || !strings.HasPrefix(rest, "pasvport: --"+setting+" \""+path+"\": ") || !strings.Contains(rest, "permission denied") || strings.Contains(rest, "\n") {
			t.Errorf("%s: exit status %d, log %q", setting, exit, rest)
		}
	}
}

// TestSocketDirIsGiven: a directory that had to be made belongs to the user, an
// existing one keeps its owner.
func TestSocketDirIsGiven(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: chown")
	}
	who, err := lookUpUser(nobody(t).Username)
	if err != nil {
		t.Fatal(err)
	}
	there := t.TempDir()
	made := filepath.Join(there, "run", "pasvport")
	for dir, owner := range map[string]int{there: 0, made: who.uid} {
		if err := giveSocketDir(filepath.Join(dir, "control.sock"), who); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := int(info.Sys().(*syscall.Stat_t).Uid); got != owner {
			t.Errorf("%s belongs to %d, want %d", dir, got, owner)
		}
	}
}

// TestNobodyIsNamed: no document and no unit suggests a user that other daemons
// have: anyone who can write our files opens what sessions could.
func TestNobodyIsNamed(t *testing.T) {
	named := regexp.MustCompile(`(?i)user["'` + "`" + `]?\s*[:=]?\s*["'` + "`" + `]?nobody\b`)
	seen := 0
	for _, root := range []string{"../../docs", "../../README.md", "../../CHANGELOG.md", "../../SECURITY.md", "../../scripts/package.d", "config/setting.go", "."} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			seen++
			for _, m := range named.FindAllString(string(text), -1) {
				t.Errorf("%s: %q", path, m)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if seen < 20 {
		t.Errorf("%d files", seen)
	}
}
