// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/doctor"
)

// TestInitWithoutEnds: without flags for the ends and without a terminal init
// fails.
func TestInitWithoutEnds(t *testing.T) {
	if status, _, stderr := call("init", "--config", empty(t)); status != 2 || stderr != "pasvport: "+errNoEnds.Error()+"\n" {
		t.Errorf("exit status %d, errors %q", status, stderr)
	}
}

// TestNoSuchInterface: an end of init and doctor is an interface of this machine.
func TestNoSuchInterface(t *testing.T) {
	for _, command := range []string{"init", "doctor"} {
		status, _, stderr := call(command, "--config", empty(t), "--client-interface", "nosuch0")
		if status != 2 || !strings.Contains(stderr, `--client-interface "nosuch0": want an interface of this machine`) {
			t.Errorf("%s: exit status %d, errors %q", command, status, stderr)
		}
	}
}

// TestInitAsks: answers on a terminal equal flags.
func TestInitAsks(t *testing.T) {
	var f endFlags
	var asked bytes.Buffer
	if err := f.question(bufio.NewScanner(strings.NewReader(" lan0 \n\n")), &asked); err != nil {
		t.Fatal(err)
	}
	if f.clientLink != "lan0" || f.serverLink != "" || strings.Count(asked.String(), "Interface towards") != 2 {
		t.Errorf("client %q, server %q, asked %q", f.clientLink, f.serverLink, &asked)
	}
}

// TestInitMissing: the doctor's findings on the position, and on the machine,
// once.
func TestInitMissing(t *testing.T) {
	report := &doctor.Report{Findings: []doctor.Finding{
		{Position: "forward", Text: "data is dropped", Hint: []string{"nft insert rule a"}},
		{Position: "input", Text: "elsewhere", Hint: []string{"nft insert rule b"}},
		{Text: "the machine", Hint: []string{"nft insert rule a", "sysctl c"}},
		{Position: "forward", Text: "all well"},
	}}
	var b bytes.Buffer
	if err := writeMissing(&b, report, "forward"); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "#") {
			t.Errorf("%q is no comment", line)
		}
	}
	if s := b.String(); strings.Count(s, "nft insert rule a\n") != 1 || !strings.Contains(s, "sysctl c") || strings.Contains(s, "rule b") || strings.Contains(s, "all well") {
		t.Errorf("missing:\n%s", s)
	}
}

// TestInitFile: an existing file is not overwritten.
func TestInitFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it reads the ruleset")
	}
	links, err := linkNames()
	if err != nil || len(links) == 0 {
		t.Skipf("no interface: %v", err)
	}
	file := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := call("init", "--config", empty(t), "--client-interface", links[0], "--output", file); status != 1 || !strings.Contains(stderr, "exists") {
		t.Errorf("exit status %d, errors %q", status, stderr)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file has %q, %v", b, err)
	}
}
