// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
)

// ofControl matches what `conntrack -E` prints of a control connection.
var ofControl = regexp.MustCompile(`dport=21 `)

// TestFewEvents: conntrack reports the beginning, the answer and the end of a
// data connection, and the steps in which both ends close it only if someone
// needs them. Of a control connection it reports everything.
func TestFewEvents(t *testing.T) {
	needDaemon(t)
	needPrograms(t, "conntrack")
	for _, steps := range []bool{false, true} {
		for _, mode := range []Mode{PASV, PORT} {
			t.Run(fmt.Sprintf("%s/log-transfers=%t", mode, steps), func(t *testing.T) {
				site, _, c := miniSite(t, "masquerade", Expectation, fmt.Sprintf("--log-transfers=%t", steps))
				site.Case(Case{Kind: "events of data connections", Mode: mode, Family: IPv4}).Count(t)
				watch, err := site.Firewalls[0].Start(Cmd("conntrack", "-E", "-p", "tcp", "--buffer-size", "1000000"))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(watch.Kill)
				listens := time.Now().Add(startTimeout)
				for lines := 0; lines == 0; {
					if time.Now().After(listens) {
						t.Fatal("conntrack reports nothing")
					}
					if _, err := c.transfer(mode, "small", io.Discard); err != nil {
						t.Fatal(err)
					}
					lines = strings.Count(watch.Output(), "SYN_RECV")
				}
				if _, err := c.transfer(mode, "small", io.Discard); err != nil {
					t.Fatal(err)
				}
				if _, err := c.command("QUIT"); err != nil {
					t.Fatal(err)
				}
				c.c.Close()
				var control, data map[string]int
				if err := waitFor(startTimeout, "end of the control connection in the events", func() bool {
					control, data = countEvents(watch.Output())
					return control["FIN_WAIT"] > 0 && control["TIME_WAIT"] > 0
				}); err != nil {
					t.Errorf("%v: %v", err, control)
				}
				if data["[NEW]"] == 0 || data["SYN_RECV"] == 0 || data["ESTABLISHED"] == 0 {
					t.Errorf("data connections are not reported: %v", data)
				}
				if got := data["FIN_WAIT"] > 0; got != steps {
					t.Errorf("the steps of their end are reported: %t, want %t (%v)", got, steps, data)
				}
			})
		}
	}
}

// countEvents counts the events that `conntrack -E` has printed, by their words. The data
// connections end before the control connection does.
func countEvents(printed string) (control, data map[string]int) {
	control, data = map[string]int{}, map[string]int{}
	for line := range strings.Lines(printed) {
		of := data
		if ofControl.MatchString(line) {
			of = control
		}
		for _, word := range []string{"[NEW]", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "TIME_WAIT"} {
			if strings.Contains(line, word) {
				of[word]++
			}
		}
	}
	return control, data
}
