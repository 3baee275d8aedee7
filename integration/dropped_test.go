// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"regexp"
	"testing"
	"time"
)

// TestDroppedByRuleset: the log tells a ruleset that drops the announced data
// connection apart from a client that does not connect.
func TestDroppedByRuleset(t *testing.T) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("routed"), AllowRelated, s, "--pinhole-timeout", "3s")
			d := site.Daemons[0]
			ln := site.ListenControl(t, IPv4)
			idle := site.Talk(t, ln, site.Client, IPv4)
			idle.Announce(PASV) // and no one connects
			if err := d.WaitLog(20*time.Second, `cause="no connection came"`); err != nil {
				t.Error(err)
			}
			d.Host.LoadRules(t, "insert rule inet filter forward ct state related drop\n")
			talk := site.Talk(t, ln, site.Client, IPv4)
			talk.Announce(PASV).MustRefuse(t, site.Client, "the ruleset drops it")
			if err := d.WaitLog(20*time.Second, `cause="the `); err != nil {
				t.Fatal(err)
			}
			want := `level=WARN msg="(pinhole expired|data connection not answered)" client=\S+ server=\S+ session=\d+ .* cause="the (connection came, and the )?ruleset of this machine drop.*" hint="pasvport doctor --client 10\.7\.0\.2 --server 203\.0\.113\.2 `
			if !regexp.MustCompile(want).MatchString(d.Output()) {
				t.Errorf("the log has no line %s", want)
			}
		})
	}
}
