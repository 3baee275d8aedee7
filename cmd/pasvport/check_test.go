// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const policiesFile = `port: [21, 2121]
tls-port: 990
checks: strict
policies:
  - port: 2121
    client: 192.0.2.0/24
    deny-command: [SITE, DELE]
    tls: deny
  - client: 192.0.2.0/25
    port: 2121
  - server: 10.0.0.5
    third-party: allow
    files: [{deny: ["*.exe", "*.scr"], direction: [upload, rename], fold-case: on}]
    commands: {allow: [SITE CHMOD, USER, PASS], deny: [REST]}
    modes: passive
`

// blanks are those between the columns of a table.
var blanks = regexp.MustCompile(` +`)

// TestExplain: the policy that applies, and the line of each setting.
func TestExplain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(path, []byte(policiesFile), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"client=192.0.2.7 server=10.0.0.5 port=2121", []string{"policy 1 holds (port 2121, client 192.0.2.0/24), FILE:5:5\n",
			"third-party deny default\n", "checks strict FILE:3:1\n", "deny-command DELE,SITE policy, FILE:7:5\n",
			"tls deny policy, FILE:8:5\n"}},
		{"client=192.0.3.7 server=::ffff:10.0.0.5", []string{"policy 3 holds (server 10.0.0.5), FILE:11:5\n", "third-party allow policy, FILE:12:5\n", "deny-command none ",
			"files upload rename deny *.exe,*.scr in any case of letters policy, FILE:13:5\n", "commands allow PASS,SITE CHMOD,USER,deny REST policy, FILE:14:5\n", "modes passive policy, FILE:15:5\n"}},
		{"server=10.0.0.6 client=2001:db8::1 port=21", []string{"no policy holds\n", "third-party deny default\n"}},
		{"client=192.0.3.7 server=10.0.0.6 port=990", []string{"no policy holds\n", "tls-port 990 encrypted from the first byte"}},
		{"client=192.0.3.7 server=10.0.0.6 port=22", []string{"22 is not a control port: connections to it are not read\n"}},
	} {
		checkExplains(t, path, tt.args, tt.want)
	}
	for _, args := range []string{"", "client=192.0.2.7", "client=x server=10.0.0.5", "client=192.0.2.7 server=10.0.0.5 port=0",
		"client=192.0.2.7 server=10.0.0.5 port=65536", "client=192.0.2.7 client=192.0.2.8 server=10.0.0.5", "client=fe80::1%eth0 server=::1", "host=1.2.3.4"} {
		status, out, stderr := call(append([]string{"check", path, "--explain"}, strings.Fields(args)...)...)
		if status != 2 || out != "" || !strings.Contains(stderr, wantConnection) {
			t.Errorf("%q: status %d, output %q, errors %q", args, status, out, stderr)
		}
	}
	const mixed = "client=10.0.0.1 server=2001:db8::1"
	if status, out, stderr := call(append([]string{"check", path, "--explain"}, strings.Fields(mixed)...)...); status != 2 || out != "" ||
		!strings.HasPrefix(stderr, "pasvport: --explain "+mixed+": an IPv4 client has no IPv6 server") {
		t.Errorf("%q: status %d, output %q, errors %q", mixed, status, out, stderr)
	}
	// A policy that never applies is a warning.
	status, out, _ := call("check", path)
	if want := "warning: policy 2 (port 2121, client 192.0.2.0/25) never holds: policy 1 (port 2121, client 192.0.2.0/24) matches all of its connections first"; status != 0 || !strings.Contains(out, want) {
		t.Errorf("status %d, output %q, want in it %q", status, out, want)
	}
}

// TestCheckFaults: a file with which the daemon would not start is not good.
func TestCheckFaults(t *testing.T) {
	dir := t.TempDir()
	const pair = "peer: '10.9.0.2:2121'\npeer-listen: '10.9.0.1:2121'\npeer-key: "
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ text, want string }{
		{"peer: '10.9.0.2:2121'\n", "want all three, or none"},
		{pair + "DIR/none\n", `peer-key "DIR/none": no such file or directory`},
		{pair + "DIR/key\n", `peer-key "DIR/key": 6 characters, want at least 32`},
		{pair + "DIR/key/below\n", `peer-key "DIR/key/below": not a directory`},
		{"xferlog: DIR/none/log\n", `xferlog "DIR/none/log": open DIR/none: no such file or directory`},
		{"xferlog: DIR\n", `xferlog "DIR": open DIR: is a directory`},
		{"control-socket: DIR/key/s\n", `control-socket "DIR/key/s": not a directory`},
		{"control-socket: DIR/key\n", `control-socket "DIR/key": exists and is not a socket`},
		{"user: no-such-user\n", `user "no-such-user": no such user`},
		{"xferlog: DIR/log\ncontrol-socket: DIR/none/s\n", ""}, // both are made
		{"xferlog: /var/log/pasvport/log\n", ""},               // systemd makes the directory
	} {
		path := filepath.Join(dir, "c.yaml")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(tt.text, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
		status, out, stderr := call("check", path)
		if tt.want == "" && (status != 0 || stderr != "") {
			t.Errorf("%s: status %d, errors %q", tt.text, status, stderr)
		}
		if want := strings.ReplaceAll(tt.want, "DIR", dir); want != "" && (status != 2 || out != "" || !strings.HasPrefix(stderr, "pasvport: "+path+": ") || !strings.Contains(stderr, want)) {
			t.Errorf("%s: status %d, output %q, errors %q, want %q", tt.text, status, out, stderr, want)
		}
	}
}

// checkExplains has check explain a connection, and looks for what it should say.
func checkExplains(t *testing.T, path, connection string, wants []string) {
	t.Helper()
	status, out, stderr := call(append([]string{"check", path, "--explain"}, strings.Fields(connection)...)...)
	out = blanks.ReplaceAllString(strings.ReplaceAll(out, path, "FILE"), " ")
	if status != 0 || stderr != "" {
		t.Errorf("%s: status %d, errors %q", connection, status, stderr)
	}
	for _, want := range wants {
		if !strings.Contains(out, want) {
			t.Errorf("%s: no %q in\n%s", connection, want, out)
		}
	}
}

// TestPolicyExample: the example with ten policies does what its comments say.
func TestPolicyExample(t *testing.T) {
	const path = "../../docs/policies.yaml"
	if status, out, stderr := call("check", path); status != 0 || strings.Contains(out, "warning") || stderr != "" {
		t.Errorf("status %d, output %q, errors %q", status, out, stderr)
	}
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"client=192.168.20.7 server=198.51.100.21 port=21", []string{"policy 2 holds", "modes active policy", "max-path 255 policy", "max-line 1024 FILE:"}},
		{"client=203.0.113.9 server=10.0.2.90 port=21", []string{"policy 5 holds", "tls require policy", "anonymous never policy", "files upload rename deny *.exe,*.scr in any case of letters FILE:"}},
		{"client=2001:db8::5 server=2001:db8:1::1 port=2121", []string{"policy 8 holds", "families ipv4 policy"}},
		{"client=10.0.0.3 server=10.0.4.9 port=21", []string{"policy 1 holds", "files none policy", "max-line 0 policy"}},
		{"client=198.51.100.3 server=10.0.9.9 port=21", []string{"no policy holds"}},
	} {
		checkExplains(t, path, tt.args, tt.want)
	}
}
