// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

// explained is the words of a command's page, with a comma around each.
func explained(command string) string {
	words := ","
	for _, list := range explanations[command] {
		for _, w := range list.words {
			words += strings.ReplaceAll(w[0], ", ", ",") + ","
		}
	}
	return words
}

// TestExplained: the page of a command explains each column and line of its
// output, and each page belongs to a command.
func TestExplained(t *testing.T) {
	var sessions, servers, status bytes.Buffer
	now := time.Now()
	s := control.Status{Queues: []control.Queue{{}}, LinesUnread: 1, Settings: map[string][]string{"mark": {"1"}}, Notes: []string{"a"}, Blocked: []control.Blocked{{Client: "192.0.2.7/32"}}, Decisions: map[string]uint64{"plain": 1}}
	if err := control.WriteSessions(&sessions, []control.Session{{NAT: control.NATBoth}}, now); err != nil {
		t.Fatal(err)
	}
	if err := control.WriteServers(&servers, nil, now); err != nil {
		t.Fatal(err)
	}
	if err := control.WriteStatus(&status, s, now); err != nil {
		t.Fatal(err)
	}
	gap := regexp.MustCompile("  +")
	words := map[string][]string{
		"sessions": gap.Split(strings.SplitN(sessions.String(), "\n", 2)[0], -1),
		"servers":  gap.Split(strings.TrimSpace(servers.String()), -1),
	}
	for line := range strings.Lines(status.String()) {
		name := gap.Split(line, 2)[0]
		name = regexp.MustCompile("^queue .*").ReplaceAllString(strings.TrimSpace(name), "queue N")
		words["status"] = append(words["status"], regexp.MustCompile("^decided .*").ReplaceAllString(name, "decided REASON"))
	}
	for command, list := range words {
		have := explained(command)
		for _, w := range list {
			if !strings.Contains(have, ","+w+",") {
				t.Errorf("the page of %s does not explain %q", command, w)
			}
		}
	}
	for _, state := range []control.ServerState{control.ServerUp, control.ServerDown, control.ServerDraining, control.ServerDrained} {
		if !strings.Contains(explained("servers"), ","+string(state)+",") {
			t.Errorf("the page of servers does not explain %q", state)
		}
	}
	for _, p := range []control.Pinhole{control.PinholeOpen, control.PinholeUsed, control.PinholeExpired, control.PinholeClosed, control.PinholeRefused} {
		if !strings.Contains(explained("sessions"), ","+string(p)+",") {
			t.Errorf("the page of sessions does not explain %q", p)
		}
	}
	for command := range explanations {
		if cmd, _, err := newRoot().Find([]string{command}); err != nil || cmd.Name() != command {
			t.Errorf("explanations of %q, which is no command", command)
		}
	}
}
