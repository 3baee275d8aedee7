// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/netip"
	"testing"
	"time"
)

// TestForeignSaid: a session that is not read because it is not FTP is reported
// in the log, in `sessions` and in a counter of its own.
func TestForeignSaid(t *testing.T) {
	for _, first := range []string{"GET / HTTP/1.1", "USER /x HTTP/1.1", "EHLO x"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			needDaemon(t)
			s := NewSite(t, position("masquerade"), AllowRelated, Auto)
			s.Case(Case{Kind: "slipstream"}).Count(t)
			talk := s.connect(t, s.ListenControl(t, IPv4), s.Client, IPv4, netip.AddrPort{})
			talk.Reply("220 ready")
			talk.Command(first)
			talk.mustBeUnread(t)
			for _, text := range []string{`msg="session is not FTP"`, "reason=not-ftp"} {
				if err := s.Daemons[0].WaitLog(10*time.Second, text); err != nil {
					t.Error(err)
				}
			}
			sessions, err := s.Daemons[0].Sessions()
			if err != nil || len(sessions) != 1 || sessions[0]["note"] != "not FTP: nothing is opened for it (not-ftp)" {
				t.Errorf("sessions: %v, %v", sessions, err)
			}
			if n := s.decisions(t); n["not-ftp"] == 0 || n["opaque"] != 0 {
				t.Errorf("decisions: %v", n)
			}
		})
	}
}
