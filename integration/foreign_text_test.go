// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
)

// TestForeignTextWarnsOnce: a server that announces a foreign address does so for
// each transfer; a session's log says once what to do about it, and reports each
// opened pinhole.
func TestForeignTextWarnsOnce(t *testing.T) {
	needDaemon(t)
	site := NewSite(t, position("routed"), AllowRelated, Auto)
	ln := site.ListenControl(t, IPv4)
	const transfers = 3
	for session := range 2 {
		talk := site.Talk(t, ln, site.Client, IPv4)
		for i := range transfers {
			talk.Command("PASV")
			talk.Reply(fmt.Sprintf("227 Entering Passive Mode (198,51,100,77,%d,%d).", 200+session, i)) // each with its own port
		}
	}
	log := func() (warned, opened int) {
		for line := range strings.Lines(site.Daemons[0].Output()) {
			if strings.Contains(line, "reason=foreign-text") {
				opened++
				if strings.Contains(line, "level=WARN") && strings.Contains(line, "hint=") {
					warned++
				}
			}
		}
		return warned, opened
	}
	if err := waitFor(lineTimeout, "all pinholes in the log", func() bool { _, n := log(); return n == 2*transfers }); err != nil {
		t.Fatal(err)
	}
	if warned, _ := log(); warned != 2 {
		t.Errorf("%d warnings for 2 sessions:\n%s", warned, site.Daemons[0].Output())
	}
}
