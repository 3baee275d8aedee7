// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
)

// TestDoubtWeights: a virtual server whose servers all have no share.
func TestDoubtWeights(t *testing.T) {
	for weight, want := range map[string]int{"0": 1, "1": 0} {
		c, msg := load(t, "virtual-servers: [{name: v, listen: 10.0.0.1, servers: [{address: 10.0.0.2, weight: 0}, {address: 10.0.0.3, weight: "+weight+"}]}]\n")
		if got := c.Doubts(); msg != "" || len(got) != want || want > 0 && !strings.Contains(got[0].Text, `virtual server "v" has no server with a weight above 0`) {
			t.Errorf("weight %s: %s, %v", weight, msg, got)
		}
	}
}

// TestDoubts: valid but probably unintended settings are reported, and nothing
// else.
func TestDoubts(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{nil, nil},
		{[]string{"--tls-port=990"}, nil},
		{[]string{"--port=21", "--tls-port=21"}, []string{"control port 21 is one of tls-port as well"}},
		{[]string{"--port=21,2100-2200", "--tls-port=990,2150-2300"}, []string{"control port 2150-2200 is one of tls-port as well"}},
		{[]string{"--tls=range=50000-50100"}, nil},
		{[]string{"--tls=range=1024-65535"}, []string{"any of 64512 ports"}},
		{[]string{"--tls=range=900-1100"}, []string{"below min-data-port 1024"}},
		{[]string{"--tls=range=900-1100", "--min-data-port=800"}, nil},
		{[]string{"--tls=range=4000-4100", "--min-data-port=5000"}, []string{"below min-data-port 5000"}},
		{[]string{"--port=2121", "--tls=range=2000-2200"}, []string{"opens control port 2121"}},
		{[]string{"--data-ports=1024-2000"}, nil},
		{[]string{"--data-ports=100-200"}, []string{"data-ports active=100-200 is below min-data-port 1024", "data-ports passive=100-200 is below"}},
		{[]string{"--data-ports=passive=100-200", "--min-data-port=80"}, nil},
		{[]string{"--data-ports=passive=900-2000"}, []string{"passive=900-2000: those below min-data-port 1024 are refused"}},
		{[]string{"--fast-path=auto"}, nil},
		{[]string{"--fast-path=auto", "--checks=strict"}, []string{"with check repeats", "with check answered"}},
		{[]string{"--fast-path=auto", "--checks=normal,answered"}, []string{"with check answered"}},
		{[]string{"--fast-path=auto", "--deny-command=SITE"}, []string{"with deny-command"}},
		{[]string{"--fast-path=auto", "--tls=deny", "--keepalive=1m", "--session-idle=1h"}, []string{"with tls deny", "with keepalive", "with session-idle"}},
		{[]string{"--fast-path=auto", "--user=nobody"}, []string{"with user nobody"}},
		{[]string{"--checks=strict", "--user=nobody"}, nil},
		{[]string{"--data-direction=strict", "--tls=deny"}, nil},
		{[]string{"--data-direction=strict", "--tls=require"}, []string{"data-direction strict does not hold for encrypted sessions, which tls require is for"}},
		{[]string{"--data-direction=strict", "--tls=range=50000-50100"}, []string{"which tls range is for"}},
		{[]string{"--data-direction=strict", "--fast-path=auto"}, []string{"with data-direction strict"}},
		{[]string{"--data-direction=strict", "--monitor"}, []string{"data-direction strict has no effect with monitor"}},
	} {
		c, msg := load(t, "# empty\n", tt.args...)
		if msg != "" {
			t.Fatal(msg)
		}
		got := c.Doubts()
		ok := len(got) == len(tt.want)
		for i := range min(len(got), len(tt.want)) {
			ok = ok && strings.Contains(got[i].Text, tt.want[i]) && got[i].Hint != ""
		}
		if !ok {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}

// TestDoubtfulCommands: an allow list that lacks what a login needs, or contains
// denied commands.
func TestDoubtfulCommands(t *testing.T) {
	for _, tt := range []struct{ file, want string }{
		{"commands: {allow: [USER, PASS, RETR], deny: [STOR]}\n", ""},
		{"commands: {allow: [PASS, RETR]}\n", "commands allow has no USER, so no one can log in"},
		{"commands: {allow: [USER, PASS, STOR], deny: [STOR]}\n", "commands STOR is allowed and denied: it is denied"},
		{"deny-command: STOR\ncommands: {allow: [USER, PASS, STOR]}\n", "commands STOR is allowed and denied: it is denied"},
		{"commands: {allow: [PASS, RETR]}\npolicies: [{client: 192.0.2.0/24, modes: active}]\n", "commands allow has no USER, so no one can log in"},
		{"policies: [{client: 192.0.2.0/24, commands: {allow: [USER, PASS, DELE], deny: [DELE]}}]\n", "policy 1: commands DELE is allowed and denied: it is denied"},
	} {
		c, msg := load(t, tt.file)
		if msg != "" {
			t.Fatal(msg)
		}
		var got []string
		for _, d := range c.Doubts() {
			got = append(got, d.Text)
		}
		if strings.Join(got, "\n") != tt.want {
			t.Errorf("%s: %q, want %q", tt.file, got, tt.want)
		}
	}
}
