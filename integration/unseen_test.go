// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// passUnseen makes lines with the word skip pass our table unread, as they do
// when its queue is full. It makes our rules see them as resets, which are not
// read: PSH and ACK become PSH, ACK and RST, and are restored afterwards. Each
// line passes once.
func passUnseen(skip []string) string {
	const table = `table inet unseen {
	chain before {
		type filter hook prerouting priority -151; policy accept;
%s		@ih,0,64 { %[2]s } tcp flags set 0x1c
	}
	chain behind {
		type filter hook prerouting priority -149; policy accept;
		@ih,0,64 { %[2]s } tcp flags set 0x18
	}
}`
	once := ""
	for _, line := range skip {
		once += "\t\t@ih,0,64 " + line + " limit rate over 1/day burst 1 packets drop\n"
	}
	return fmt.Sprintf(table, once, strings.Join(skip, ", "))
}

// The beginnings of a command and of its reply, as hex numbers.
const (
	skipCommand = "0x4e4f4f5020736b69" // NOOP ski
	skipReply   = "0x32303020736b6970" // 200 skip
)

// TestPassedUnseen: a reply, or a command and its reply, bypasses the daemon. It
// finds that the receiver has them only by asking; then what follows passes, and
// the daemon reads the dialogue again.
func TestPassedUnseen(t *testing.T) {
	needDaemon(t)
	for _, tc := range []struct {
		name   string
		unseen []string
		say    [][]string // sent at once
		flags  []string
	}{
		{"a reply", []string{skipReply}, [][]string{{"NOOP skip", "NOOP two"}}, nil},
		{"a command and its reply", []string{skipCommand, skipReply}, [][]string{{"NOOP skip"}, {"NOOP two"}}, nil},
		{"a reply, acknowledgements queued anyway", []string{skipReply}, [][]string{{"NOOP skip", "NOOP two"}}, []string{"--keepalive", "1h"}},
	} {
		for _, s := range subjects(t) {
			t.Run(tc.name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position("both-nat"), AllowRelated, s, tc.flags...)
				site.startNumbered(t, true)
				c, err := numberedLogin(site.Client, 0, site.Dial(site.Client, IPv4, 0), true)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.c.Close() })
				c.limit(time.Minute)
				if err := c.transfer(PORT); err != nil { // sequence numbers are adjusted from here on
					t.Fatal(err)
				}
				site.Firewalls[0].LoadRules(t, passUnseen(tc.unseen))
				for _, lines := range tc.say {
					if err := c.say(lines...); err != nil {
						t.Fatal(err)
					}
					for _, l := range lines {
						if err := c.expect("200 " + strings.TrimPrefix(l, "NOOP ")); err != nil {
							t.Fatal(err)
						}
					}
				}
				for _, m := range []Mode{PASV, PORT} {
					if err := c.transfer(m); err != nil {
						t.Error(err)
					}
				}
				status, err := site.Daemons[0].Status()
				if n, _ := status["decisions"].(Object)["resync"].(float64); n == 0 {
					t.Errorf("no line was given up: %v %v", status["decisions"], err)
				}
			})
		}
	}
}
