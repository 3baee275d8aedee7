// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestWords: a pinhole that goes unused says which of three things it was, and a stop
// says what it leaves.
func TestWords(t *testing.T) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("routed"), AllowRelated, s)
			d := site.Daemons[0]
			ln := site.ListenControl(t, IPv4)
			talk := site.Talk(t, ln, site.Client, IPv4)
			talk.Announce(PASV)
			talk.Announce(PASV)
			if err := d.WaitLog(10*time.Second, `cause="another announcement took its place"`); err != nil {
				t.Error(err)
			}
			talk.Client.Close()
			talk.Server.Close()
			if err := d.WaitLog(10*time.Second, `cause="the session is over"`); err != nil {
				t.Error(err)
			}
			if err := waitFor(10*time.Second, "a closed session to leave the list and the count", func() bool {
				list, err := d.Sessions()
				status, err2 := d.Status()
				return err == nil && err2 == nil && len(list) == 0 && status["sessions"] == 0.0
			}); err != nil {
				t.Error(err)
			}
			site.Talk(t, ln, site.Client, IPv4).Announce(PASV)
			if status, err := d.Stop(syscall.SIGTERM); err != nil || status != 0 {
				t.Fatal(status, err)
			}
			for _, want := range []string{`msg=stopping sessions=1 pinholes=1`, `reason="the daemon stops"`, `msg="stopped: 1 pinholes handed over" pinholes=1`} {
				if !strings.Contains(d.Output(), want) {
					t.Errorf("no %s in the log:\n%s", want, lastLines(d.Output(), 20))
				}
			}
		})
	}
}
