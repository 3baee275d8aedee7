// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"testing"
	"time"
)

// forgetful is conntrack's timeout on a second router, in seconds, and silence a
// time that exceeds it.
const (
	forgetful = "10"
	silence   = 25 * time.Second
)

// TestKeepalive adds a second NAT router that forgets idle connections after 10 s
// and then drops their packets. With keep-alive the session continues after a
// longer silence, whichever end sends first; without it does not.
func TestKeepalive(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	for _, c := range []struct {
		name  string
		flags []string
		lives bool
	}{
		{"on", []string{"--keepalive", "3s"}, true},
		{"off", nil, false},
	} {
		for _, s := range subjects(t) {
			t.Run(c.name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := newForgetfulSite(t, s, c.flags...)
				var sessions []*Dialogue
				for _, f := range []Family{IPv4, IPv6} {
					ln := site.ListenControl(t, f)
					for range 2 {
						d := site.Talk(t, ln, site.Client, f)
						d.silence(t)
						sessions = append(sessions, d)
					}
				}
				// The text of PORT grows on the first firewall.
				sessions[0].Announce(PORT).MustOpen(t).Close()
				sessions[0].Reply("226 transfer complete")
				time.Sleep(silence)
				if !c.lives {
					sessions[0].isReset(t, clientSpeaks)
					return
				}
				for i, d := range sessions {
					site.Case(Case{Family: d.family, Kind: "keep-alive"}).Count(t)
					d.goesOn(t, []staleSpeaker{clientSpeaks, serverSpeaks}[i%2])
				}
			})
		}
	}
}

// silence turns off the keep-alive of both ends' sockets.
func (d *Dialogue) silence(t *testing.T) {
	t.Helper()
	if err := errors.Join(d.Client.SetKeepAlive(false), d.Server.SetKeepAlive(false)); err != nil {
		t.Fatal(err)
	}
}

// newForgetfulSite has a firewall with the flags in front of one that forgets
// connections early and picks up none midstream. Both translate.
func newForgetfulSite(t *testing.T, s Subject, flags ...string) *Site {
	t.Helper()
	site := NewSiteOnly(t, position("two-firewalls-nat"), AllowRelated, s)
	far := site.Firewalls[1]
	for name, value := range map[string]string{"timeout_established": forgetful, "loose": "0"} {
		if err := far.Sysctl("net/netfilter/nf_conntrack_tcp_"+name, value); err != nil {
			t.Fatal(err)
		}
	}
	far.LoadRules(t, `insert rule inet filter output tcp flags & rst == rst accept`)
	site.Daemons = []*Daemon{site.StartDaemon(t, site.Firewalls[0], flags...), site.StartDaemon(t, far)}
	return site
}

// TestKeepaliveFindsDeadEnd: an end that no longer answers is detected, and the
// other one is reset.
func TestKeepaliveFindsDeadEnd(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	for _, p := range []string{"routed", "masquerade", "dnat"} {
		for _, dead := range []staleSpeaker{clientSpeaks, serverSpeaks} {
			t.Run(p+"/"+string(dead), func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(p), AllowRelated, Auto, "--keepalive", "1s")
				for _, f := range []Family{IPv4, IPv6} {
					d := site.Talk(t, site.ListenControl(t, f), site.Client, f)
					gone, left := site.Client, d.Server
					if dead == serverSpeaks {
						gone, left = site.Server, d.Client
					}
					time.Sleep(3 * time.Second) // probes are answered meanwhile
					d.Command("NOOP")
					d.Reply("200 noop")
					gone.LoadRules(t, "table inet dead { chain in { type filter hook input priority 0; tcp dport { 21, 1024-65535 } drop; }; }")
					expectReset(t, left, 15*time.Second)
					gone.LoadRules(t, "delete table inet dead")
				}
			})
		}
	}
}

// TestKeepaliveRestarted: a restarted daemon learns a session's numbers anew, and
// does not reset a living one.
func TestKeepaliveRestarted(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	site := NewSite(t, position("masquerade"), AllowRelated, Auto, "--keepalive", "1s")
	d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
	d.Announce(PORT).MustOpen(t).Close()
	if err := site.Daemons[0].Crash(); err != nil {
		t.Fatal(err)
	}
	site.Daemons = nil
	site.StartSubject(t, "--keepalive", "1s")
	for range 3 {
		d.Command("NOOP")
		d.Reply("200 noop")
		time.Sleep(4 * time.Second)
	}
	d.goesOn(t, serverSpeaks)
}

// TestSessionIdle: both ends of an unused session are reset, but not those of a
// session that is used or transfers.
func TestSessionIdle(t *testing.T) {
	needDaemon(t)
	for _, p := range []string{"routed", "masquerade", "dnat", "server-on-firewall"} {
		t.Run(p, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position(p), AllowRelated, Auto, "--session-idle", "3s", "--keepalive", "2s")
			for _, f := range []Family{IPv4, IPv6} {
				ln := site.ListenControl(t, f)
				idle, used, busy := site.Talk(t, ln, site.Client, f), site.Talk(t, ln, site.Client, f), site.Talk(t, ln, site.Client, f)
				m := f.Modes()[0]
				data := busy.Announce(m).MustOpen(t)
				for range 5 {
					time.Sleep(time.Second)
					used.Command("NOOP")
					used.Reply("200 noop")
				}
				expectReset(t, idle.Client, resetTimeout)
				expectReset(t, idle.Server, resetTimeout)
				longSession{busy, m, data}.goesOn(t)
				used.goesOn(t, clientSpeaks)
			}
		})
	}
}
