// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pairFindings are the doctor's findings about a pair on a machine, by level.
func (m *PairMachine) pairFindings(t *testing.T) map[string][]string {
	t.Helper()
	out, err := m.Run(30*time.Second, Cmd(m.daemon.bin, "doctor", "--json", "--control-socket", m.daemon.Socket,
		"--conntrackd", filepath.Join(m.Dir, "conntrackd.conf"), "--keepalived", filepath.Join(m.Dir, "keepalived.conf")))
	if list := findingsOfPair(t, out); list != nil {
		return list
	}
	t.Fatalf("%v: %s", err, out)
	return nil
}

// findingsOfPair are the findings about a pair in a report of the doctor, by
// level.
func findingsOfPair(t *testing.T, out string) map[string][]string {
	t.Helper()
	var report struct {
		Findings []struct {
			Level, Topic, Text string
			Hint               []string
		}
	}
	if json.NewDecoder(strings.NewReader(out)).Decode(&report) != nil { // an error may follow the report
		t.Errorf("not a report: %s", out)
		return nil
	}
	list := map[string][]string{}
	for _, f := range report.Findings {
		if f.Topic == "pair" {
			list[f.Level] = append(list[f.Level], f.Text+" "+strings.Join(f.Hint, " "))
		}
	}
	return list
}

// TestPairDoctor: the doctor accepts the configurations that the pair runs with,
// names what is wrong with others, and reports a different key, which status
// does, too.
func TestPairDoctor(t *testing.T) {
	needDaemon(t)
	f := NewPair(t, pairNAT, AllowRelated, Expectation, PairConf{})
	for _, m := range f.Machines {
		f.Site.Case(Case{Kind: "pair doctor"}).Count(t)
		if list := m.pairFindings(t); len(list["warn"])+len(list["problem"]) > 0 || len(list["ok"]) != 2 {
			t.Errorf("%s: %q", m.Role, list)
		}
	}
	a, b := f.Machines[0], f.Machines[1]
	for name, changes := range map[string][]string{ // a problem, and the changes to the file that cause it
		"ExpectationSync On": {"UDP {", "Options {\n\t\tExpectationSync On\n\t}\n\tUDP {"},
		"conntrackd -t":      {"DisableExternalCache off", "DisableExternalCache on"},
	} {
		f.Site.Case(Case{Kind: "pair doctor"}).Count(t)
		path := filepath.Join(a.Dir, "conntrackd.conf")
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.File("conntrackd.conf", strings.Replace(string(before), changes[0], changes[1], 1)); err != nil {
			t.Fatal(err)
		}
		if list := a.pairFindings(t); len(list["problem"]) != 1 || !strings.Contains(list["problem"][0], name) {
			t.Errorf("%s: %q", name, list)
		}
		if _, err := a.File("conntrackd.conf", string(before)); err != nil {
			t.Fatal(err)
		}
	}
	f.Site.Case(Case{Kind: "pair doctor"}).Count(t)
	if err := b.daemon.Crash(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.File("pair.key", strings.Repeat("another", 7)); err != nil {
		t.Fatal(err)
	}
	f.startDaemon(t, b)
	if err := a.daemon.WaitLog(startTimeout, "another key"); err != nil {
		t.Fatal(err)
	}
	if list := a.pairFindings(t); len(list["problem"]) != 1 || !strings.Contains(list["problem"][0], "another key") || !strings.Contains(list["problem"][0], "sha256sum") {
		t.Errorf("another key: %q", list)
	}
	out, err := a.Run(startTimeout, Cmd(a.daemon.bin, "status", "--control-socket", a.daemon.Socket))
	if err != nil || !strings.Contains(out, "down for") || !strings.Contains(out, "another key") {
		t.Errorf("%v: %s", err, out)
	}
}
