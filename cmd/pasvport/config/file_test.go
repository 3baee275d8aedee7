// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/pasvport/pasvport/rules"
)

func TestFile(t *testing.T) {
	got, msg := load(t, `---
port:
  - 21
  - 8021-8025
  - "2121,2122"
allow: [chain=inet/filter/forward, "chain=inet/filter/input"]
advertise:
  - 10.0.0.5=203.0.113.5
  - "fd00::5=2001:db8::5"
ct-mark: 0x30
queue-num: 100
queues: 2
metrics:
strict-active-port: yes
table: fromfile
`, "--queues", "7", "--table=fromflag")
	if msg != "" {
		t.Fatal(msg)
	}
	equal(t, with(func(c *Config) {
		c.Ports = []rules.PortRange{{Low: 21, High: 21}, {Low: 2121, High: 2122}, {Low: 8021, High: 8025}}
		c.Allow = AllowChain
		c.Chains = []rules.ChainRef{{Family: rules.FamilyINet, Table: "filter", Chain: "forward"}, {Family: rules.FamilyINet, Table: "filter", Chain: "input"}}
		c.Advertise = map[netip.Addr]Outside{
			netip.MustParseAddr("10.0.0.5"): {Addr: netip.MustParseAddr("203.0.113.5")},
			netip.MustParseAddr("fd00::5"):  {Addr: netip.MustParseAddr("2001:db8::5")},
		}
		c.CTMark, c.QueueNum, c.Queues, c.StrictActivePort = 0x30, 100, 7, true
		c.Table = "fromflag"
	}), got)
}

// TestFlagReplacesList shows that a flag does not add to a key's list.
func TestFlagReplacesList(t *testing.T) {
	got, msg := load(t, "port: [21, 2121]\nallow: mark\nadvertise: [10.0.0.5=203.0.113.5]\n",
		"--port=8021", "--allow=related", "--advertise=10.0.0.6=203.0.113.6")
	if msg != "" {
		t.Fatal(msg)
	}
	equal(t, with(func(c *Config) {
		c.Ports = []rules.PortRange{{Low: 8021, High: 8021}}
		c.Advertise = map[netip.Addr]Outside{netip.MustParseAddr("10.0.0.6"): {Addr: netip.MustParseAddr("203.0.113.6")}}
	}), got)
}

func TestFileErrors(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"unknown key", "port: 21\n\n  \nprot: 22\n", `FILE:4:1: unknown key "prot", want the name of a flag of "pasvport run", commands, files, policies or virtual-servers; did you mean "port"?`},
		{"config is no key", "config: /etc/x\n", `FILE:1:1: unknown key "config", want the name of a flag of "pasvport run", commands, files, policies or virtual-servers`},
		{"case counts", "Port: 21\n", `FILE:1:1: unknown key "Port", want the name of a flag of "pasvport run", commands, files, policies or virtual-servers; did you mean "port"?`},
		{"merge key", "a: &a {port: 21}\n", `FILE:1:1: unknown key "a", want the name of a flag of "pasvport run", commands, files, policies or virtual-servers`},
		{"bad value", "table: x\nqueues:    65\n", `FILE:2:12: queues "65": want a number from 1 to 64`},
		{"bad item", "port:\n  - 21\n  - 0\n", `FILE:3:5: port "0": want a port from 1 to 65535, a range such as 8021-8025, or a list of them`},
		{"bad item in a row", "port: [21, 99999]", `FILE:1:12: port "99999": want a port from 1 to 65535, a range such as 8021-8025, or a list of them`},
		{"twice", "queues: 1\nport: 21\nqueues: 2\n", `FILE:3:1: key "queues" again, it is in line 1 already`},
		{"list of one", "queues: [1]\n", `FILE:1:9: queues is a list, want a number from 1 to 64`},
		{"mapping", "port: {a: 1}\n", `FILE:1:7: port is a mapping, want a port from 1 to 65535, a range such as 8021-8025, or a list of them`},
		{"mapping in a list", "port: [21, {a: 1}]\n", `FILE:1:12: port is a mapping, want a port from 1 to 65535, a range such as 8021-8025, or a list of them`},
		{"no mapping", "- port\n", `FILE:1:1: want lines of the form "key: value"`},
		{"only a word", "port\n", `FILE:1:1: want lines of the form "key: value"`},
		{"nothing", "fail:\n", `FILE:1:6: fail "": want open or closed`},
		{"empty list", "port: []\n", `FILE:1:1: port: the list is empty, want at least one control port`},
		{"two documents", "port: 21\n---\nport: 22\n", `FILE:2:1: a second document, want one`},
		{"not yaml", "port: 21\n\tqueues: 2\n", `FILE:2: found a tab character that violates indentation`},
		{"not yaml in the first line", "\tport: 21\n", `FILE:1: found character that cannot start any token`},
		{"one value for policies", "policies: 3\n", `FILE:1:11: policies is a single value, want a list`},
		{"mixed ways", "allow: [related, mark]", `FILE:1:18: allow "mark": want one way only, and "related" was given before`},
		{"policies of the wrong kind", "policies: {port: 21}\n", `FILE:1:11: policies is a mapping, want a list`},
		{"policy of the wrong kind", "policies: [21]\n", `FILE:1:12: policies: want lines of the form "key: value"`},
		{"unknown key of a policy", "policies:\n  - port: 21\n    table: x\n",
			`FILE:3:5: unknown key "table", want port, client, server, third-party, advertise, nat64, repair, min-data-port, checks, deny-command, commands, files, modes, families, data-ports, map-data-ports, data-direction, mark, anonymous, max-line, max-argument, max-path, max-offers, monitor or tls`},
		{"bad network", "policies:\n  - client: [192.0.2.0/24, here]\n",
			`FILE:2:28: client "here": want an address or a network such as 192.0.2.0/24, or a list of them`},
		{"range in a policy", "policies:\n  - tls: range=1-2\n", `FILE:2:10: tls "range=1-2": want pass, deny or require in a policy`},
		{"bad failures", "login-failures: 5 in 1m\n", `FILE:1:17: login-failures "5 in 1m": want ` + wantFailures},
		{"mark that is expected", "strategy: expectation\npolicies: [{mark: 1}]\n", `FILE:2:13: mark "0x1" with strategy "expectation": want strategy auto or claim, as what is expected has the mark of its control connection`},
		{"mark of ours", "allow: mark\nmark: 0x04000001\n", `FILE:2:1: mark "0x4000001" with ct-mark 0x0c000000: want bits that are not ours`},
		{"mark of ours in a policy", "allow: mark\npolicies:\n  - {port: 21, mark: 1}\n  - mark: 0x04000000\n",
			`FILE:4:5: mark "0x4000000" with ct-mark 0x0c000000: want bits that are not ours`},
		{"a policy's mark that is expected, said by what all have", "strategy: expectation\nmark: 1\npolicies: [{port: 21}]\n",
			`FILE:2:1: mark "0x1" with strategy "expectation": want strategy auto or claim, as what is expected has the mark of its control connection`},
		{"own table", "table: x\nallow: chain=inet/x/forward\n", `FILE:2:1: allow "chain=inet/x/forward" with table "x": want a chain of another table than our own`},
		{"no modes", "modes: []\n", `FILE:1:1: modes: the list is empty, want active, passive or both`},
		{"no clients of a policy", "policies:\n  - client: []\n", `FILE:2:5: client: the list is empty, want an address or a network such as 192.0.2.0/24, or a list of them`},
		{"no ports of a policy", "policies: [{port: [], tls: deny}]\n", `FILE:1:13: port: the list is empty, want a port from 1 to 65535, a range such as 8021-8025, or a list of them`},
		{"no directions", "files: {deny: '*.exe', direction: []}\n", `FILE:1:24: direction: the list is empty, want upload, download, delete or rename, or a list of them`},
		{"no modes in a policy", "policies:\n  - port: 21\n    modes: []\n", `FILE:3:5: modes: the list is empty, want active, passive or both`},
		{"bad command", "commands: {allow: [USER, ls]}\n", `FILE:1:26: allow "ls": want a command of three or four letters such as DELE, or SITE CHMOD, or a list of them`},
		{"bad subcommand", "policies:\n  - commands:\n      deny: SITE CH/MOD\n",
			`FILE:3:13: deny "SITE CH/MOD": want a command of three or four letters such as DELE, or SITE CHMOD, or a list of them`},
		{"unknown key of commands", "commands: {forbid: [USER]}\n", `FILE:1:12: unknown key "forbid", want allow or deny`},
		{"commands of the wrong kind", "commands: [USER]\n", `FILE:1:11: commands: want lines of the form "key: value"`},
		{"a path as a pattern", "files: {deny: [\"*.exe\", a/b]}\n",
			`FILE:1:25: deny "a/b": want a file's name with * and ? in place of any bytes, such as "*.exe", or a list of them`},
		{"bad direction", "files:\n  - deny: x\n    direction: [upload, in]\n", `FILE:3:25: direction "in": want upload, download, delete or rename, or a list of them`},
		{"no pattern", "files: {direction: upload}\n",
			`FILE:1:8: files without deny: want a file's name with * and ? in place of any bytes, such as "*.exe", or a list of them`},
		{"bad case", "files: {deny: x, fold-case: maybe}\n", `FILE:1:29: fold-case "maybe": want on or off`},
		{"sum", "queues: 64\nqueue-num: 65500\n", `FILE:2:1: queue-num 65500 with queues 64: want a sum of at most 65535`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, msg := load(t, tt.file); msg != tt.want {
				t.Errorf("got  %s\nwant %s", msg, tt.want)
			}
		})
	}
}

// TestReplacedKeyIsChecked: a flag does not hide a typing error in the file.
func TestReplacedKeyIsChecked(t *testing.T) {
	_, msg := load(t, "queues: many\n", "--queues=2")
	if want := `FILE:1:9: queues "many": want a number from 1 to 64`; msg != want {
		t.Errorf("got  %s\nwant %s", msg, want)
	}
}

func TestEmptyFiles(t *testing.T) {
	for _, file := range []string{"\n", "# nothing\n", "---\n", "{}\n", "~\n"} {
		got, msg := load(t, file)
		if msg != "" {
			t.Errorf("file %q: %s", file, msg)
			continue
		}
		equal(t, Default(), got)
	}
}

func TestAlias(t *testing.T) {
	got, msg := load(t, "table: &name ftp\nlog-format: text\ncontrol-socket: *name\n")
	if msg != "" {
		t.Fatal(msg)
	}
	if got.ControlSocket != "ftp" {
		t.Errorf("control socket %q, want that of the alias", got.ControlSocket)
	}
}

// TestBindSome: a command with one flag still reads that flag's key, but not a
// file without use for it.
func TestBindSome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(path, []byte("control-socket: /tmp/fromfile\nport: 22\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--config", path}, "/tmp/fromfile"},
		{[]string{"--config", path, "--control-socket", "/tmp/flag"}, "/tmp/flag"},
		{[]string{"--control-socket", "/tmp/flag"}, "/tmp/flag"},
	} {
		fs := pflag.NewFlagSet("status", pflag.ContinueOnError)
		flags := Bind(fs, "control-socket")
		if fs.Lookup("port") != nil {
			t.Fatal("a flag that was not asked for")
		}
		if err := fs.Parse(tt.args); err != nil {
			t.Fatal(err)
		}
		c, err := flags.Load()
		if err != nil || c.ControlSocket != tt.want {
			t.Errorf("%q: socket %q, error %v, want %q", tt.args, c.ControlSocket, err, tt.want)
		}
	}
}

const reference = "../../../docs/pasvport.yaml"

// commented matches a line of the reference file with a commented-out key.
var commented = regexp.MustCompile(`(?m)^#([a-z0-9-]+):(?: (.*))?$`)

// TestReference reads docs/pasvport.yaml: as it is it changes nothing; the first
// line of each key is its default and every further one is a valid example; no
// key is missing or unknown.
func TestReference(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	got, msg := load(t, string(text))
	if msg != "" {
		t.Fatal(msg)
	}
	equal(t, Default(), got)

	seen := map[string]bool{}
	var order []string
	for _, m := range commented.FindAllStringSubmatch(string(text), -1) {
		got, msg := load(t, strings.TrimPrefix(m[0], "#"))
		if msg != "" {
			t.Errorf("%s: %s", m[0], msg)
			continue
		}
		if !seen[m[1]] {
			order = append(order, m[1])
			if m[1] == "queues" {
				got.Queues = Default().Queues // the number of cores here
			}
			equal(t, Default(), got)
		}
		seen[m[1]] = true
	}
	want := settings.names()
	if strings.Join(order, " ") != strings.Join(want, " ") {
		t.Errorf("keys of %s:\n%s\nwant, in this order:\n%s", reference, order, want)
	}
}

// TestTextRoundTrip: a setting parses what it prints.
func TestTextRoundTrip(t *testing.T) {
	in, msg := load(t, "# empty\n", "--port=21,8021-8025", "--allow=chain=inet/filter/forward,ip/x/y", "--tls=range=1-2",
		"--advertise=10.0.0.5=203.0.113.5,fd00::5=2001:db8::5", "--pinhole-timeout=90s", "--strict-active-port",
		"--third-party=allow", "--fail=closed", "--ct-mark=3", "--queues=9", "--log-level=error", "--metrics=:1")
	if msg != "" {
		t.Fatal(msg)
	}
	var entries []entry
	for i := range settings {
		if !settings[i].flag() {
			continue
		}
		e := entry{setting: &settings[i]}
		for _, text := range settings[i].text(in) {
			e.values = append(e.values, value{text: text})
		}
		entries = append(entries, e)
	}
	out, err := build(entries)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, in, out)
}

func TestRules(t *testing.T) {
	c := Default()
	r := c.Rules()
	if r.Mark != c.Control() || r.Table != c.Table || r.QueueNum != c.QueueNum {
		t.Errorf("%+v does not follow %+v", r, c)
	}
}

func FuzzFile(f *testing.F) {
	text, err := os.ReadFile(reference)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("port: [21, &a 22, *a]\nallow: chain=a/b/c\n"))
	f.Add([]byte("port: *x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := parseFile("f", b)
		if err == nil {
			_, err = build(entries)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("error of more than one line: %q", err)
		}
	})
}

// TestFewEvents: every step of a data connection is reported if someone needs it.
func TestFewEvents(t *testing.T) {
	for _, tt := range []struct {
		arg string
		few bool
	}{
		{"--tls=pass", true}, {"--log-sessions", false}, {"--log-transfers", false}, {"--xferlog=/var/log/x", false},
		{"--tls=range=50000-50100", false}, {"--session-idle=5m", true},
		{"--peer=10.99.0.2:2121", true}, {"--peer=10.99.0.2:2121 --session-idle=5m", false}, {"--peer=10.99.0.2:2121 --keepalive=5m", false},
	} {
		c, msg := load(t, "# empty\n", strings.Fields(tt.arg)...)
		if msg != "" {
			t.Fatal(msg)
		}
		if got := c.Rules().FewEvents; got != tt.few {
			t.Errorf("%s: %t, want %t", tt.arg, got, tt.few)
		}
	}
}
