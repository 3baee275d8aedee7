// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/netip"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// zoneRules track everything in a zone.
const zoneRules = `table inet zone {
	chain pre { type filter hook prerouting priority raw; ct zone set 7; }
	chain out { type filter hook output priority raw; ct zone set 7; }
}`

// TestZones: the daemon serves control connections in a conntrack zone where the
// kernel reports the zone of a queued packet, also sessions that it finds at its
// start; elsewhere it leaves them alone and reports that. It never resets one for
// a segment outside the window, whose zone is unknown.
func TestZones(t *testing.T) {
	needDaemon(t)
	for _, s := range []Subject{Expectation, Claim} {
		for _, p := range []string{"routed", "both-nat"} {
			t.Run(p+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSiteOnly(t, position(p), AllowRelated, s)
				site.Firewalls[0].LoadRules(t, zoneRules)
				site.StartSubject(t)
				d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
				site.outOfWindow(t, d)
				if site.Daemons[0].feature(t, "zones") {
					site.servesZone(t, d)
				} else {
					site.leavesZone(t, d)
				}
			})
		}
	}
}

// outOfWindow sends a segment outside the window, and waits until it was queued.
func (s *Site) outOfWindow(t *testing.T, d *Dialogue) {
	t.Helper()
	if err := d.sendOutOfWindow(); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(lineTimeout, "invalid packet queued", func() bool {
		out, _ := s.Firewalls[0].Run(lineTimeout, Cmd("nft", "list", "chain", "inet", "pasvport", "unplaced"))
		return regexp.MustCompile(`counter packets [1-9]`).MatchString(out)
	}); err != nil {
		t.Fatal(err)
	}
}

// feature is what the daemon found when it probed the kernel.
func (d *Daemon) feature(t *testing.T, name string) bool {
	t.Helper()
	s, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	have, ok := s["features"].(Object)[name].(bool)
	if !ok {
		t.Fatalf("status lacks feature %s: %v", name, s["features"])
	}
	return have
}

// servesZone opens data connections, with the daemon and with the next one.
func (s *Site) servesZone(t *testing.T, d *Dialogue) {
	t.Helper()
	d.goesOn(t, clientSpeaks)
	list, err := s.Daemons[0].Sessions()
	if err != nil || len(list) != 1 || list[0]["zone"] != 7.0 {
		t.Fatalf("sessions: %v, %v; want one in zone 7", list, err)
	}
	waiting := d.Announce(EPSV) // a pinhole for the next daemon to find
	if status, err := s.Daemons[0].Stop(syscall.SIGKILL); err == nil && status == 0 {
		t.Fatal("it stopped without an error")
	}
	next := s.StartDaemon(t, s.Firewalls[0])
	waiting.MustOpen(t)
	d.Reply("226 transfer complete")
	d.goesOn(t, serverSpeaks)
	if list, err = next.Sessions(); err != nil || len(list) != 1 || list[0]["zone"] != 7.0 {
		t.Errorf("sessions of the next daemon: %v, %v; want one in zone 7", list, err)
	}
}

// leavesZone checks that the control connection continues and nothing is changed
// or opened.
func (s *Site) leavesZone(t *testing.T, d *Dialogue) {
	t.Helper()
	at := netip.AddrPortFrom(s.ClientAddr(IPv4), 40000)
	if heard := d.AnnounceText(PORT, at); heard != at {
		t.Errorf("PORT %v became %v", at, heard)
	}
	d.Announce(EPSV).MustRefuse(t, s.Client, "nothing is opened for a session in a zone")
	d.Command("NOOP")
	d.Reply("200 noop")
	const said = "control connections in conntrack zones are left alone"
	if err := s.Daemons[0].WaitLog(lineTimeout, said); err != nil {
		t.Error(err)
	}
	if n := strings.Count(s.Daemons[0].Output(), said); n != 1 {
		t.Errorf("the log says %d times that zones are left alone, want once", n)
	}
	status, err := s.Daemons[0].Status()
	if notes, _ := status["notes"].([]any); err != nil || len(notes) != 1 || !strings.Contains(notes[0].(string), said) {
		t.Errorf("status notes %v, %v", status["notes"], err)
	}
	if list, err := s.Daemons[0].Sessions(); err != nil || len(list) != 0 {
		t.Errorf("sessions %v, %v; want none", list, err)
	}
}

// TestZoneRetransmission: where the kernel does not report the zone, a segment
// retransmitted in it is not stale.
func TestZoneRetransmission(t *testing.T) {
	needDaemon(t)
	site := NewSiteOnly(t, position("routed"), AllowRelated, Auto)
	site.Firewalls[0].LoadRules(t, zoneRules)
	site.StartSubject(t)
	d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
	// The reply is lost behind the firewall until it was retransmitted.
	site.Client.LoadRules(t, `table inet lossy {
	chain input { type filter hook input priority 0; tcp sport 21 counter drop; }
}`)
	if _, err := d.Server.Write([]byte("200 once more\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(lineTimeout, "two repetitions", func() bool {
		return regexp.MustCompile(`counter packets [3-9]`).MatchString(site.Client.Rules(t))
	}); err != nil {
		t.Fatal(err)
	}
	if out, err := site.Client.Run(10*time.Second, Cmd("nft", "delete", "table", "inet", "lossy")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d.Client.SetReadDeadline(time.Now().Add(lineTimeout))
	if line, err := d.heardByClient.ReadString('\n'); err != nil || line != "200 once more\r\n" {
		t.Fatalf("received %q, %v", line, err)
	}
	d.Command("NOOP")
	d.Reply("200 noop")
}
