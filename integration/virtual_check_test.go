// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestVirtualDown: a dead server gets no new sessions after a while, its sessions
// continue, and it comes back.
func TestVirtualDown(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := newVirtualSite(t, s, virtualFile(s, "round-robin", quickCheck, "", "", ""))
			site.waitState(t, "b", "up")
			sessions := map[string]*miniSession{}
			for range 3 {
				m, who := site.session(t, site.Client, IPv4)
				sessions[who] = m
			}
			if len(sessions) != 3 {
				t.Fatalf("three sessions are with %v", sessions)
			}
			site.servers[1].stop()
			dead, last := time.Now(), time.Time{}
			for time.Since(dead) < quickFall+3*time.Second {
				m, err := miniLogin(site.Client, site.Dial(site.Client, IPv4, 0))
				switch {
				case err == nil:
					m.c.Close()
				case errors.Is(err, unix.ECONNREFUSED):
					last = time.Now()
				default:
					t.Fatal(err)
				}
			}
			if last.IsZero() || last.Sub(dead) > quickFall {
				t.Errorf("the last session that a dead server got was after %v, want one, and none after %v", last.Sub(dead), quickFall)
			}
			for name, m := range sessions {
				if got := site.whoami(t, m, IPv4); got != name {
					t.Errorf("the session with %s is with %s now", name, got)
				}
			}
			site.waitState(t, "b", "down")
			site.startServer(t, 1)
			site.waitState(t, "b", "up")
			wantShares(t, site.spread(t, 30), map[string]int{"a": 1, "b": 1, "c": 1})
		})
	}
}

// TestVirtualSilent: a server that does not answer is noticed in time, too.
func TestVirtualSilent(t *testing.T) {
	site := newVirtualSite(t, Auto, virtualFile(Auto, "round-robin", quickCheck, "", "", ""))
	site.waitState(t, "c", "up")
	dead := time.Now()
	site.Server.LoadRules(t, fmt.Sprintf(`table inet dead { chain input { type filter hook input priority 0;
		ip daddr %s tcp dport 21 drop; ip6 daddr %s tcp dport 21 drop; }; }`, backends[2][IPv4], backends[2][IPv6]))
	loaded := time.Now()
	site.waitState(t, "c", "down")
	for _, o := range site.shown(t, "c") {
		since, err := time.Parse(time.RFC3339Nano, o["since"].(string))
		// The last check may take all of its time; the machine may be late.
		if err != nil || since.Sub(loaded) > quickFall+time.Second || since.Before(dead) {
			t.Errorf("%v is down since %v after it was silenced, want at most %v (%v)", o["address"], since.Sub(loaded), quickFall, err)
		}
	}
	if got := site.spread(t, 12); got["c"] != 0 {
		t.Errorf("the silent server gets sessions: %v", got)
	}
}

// TestVirtualNone: without an available server clients are refused at once, also
// on the firewall itself; and the log says so.
func TestVirtualNone(t *testing.T) {
	site := newVirtualSite(t, Auto, virtualFile(Auto, "round-robin", quickCheck, "", ""))
	for i := range 2 {
		site.servers[i].stop()
	}
	site.waitState(t, "a", "down")
	site.waitState(t, "b", "down")
	for _, h := range []*Host{site.Client, site.Client2, site.Firewalls[0]} {
		for _, f := range []Family{IPv4, IPv6} {
			start := time.Now()
			_, err := h.Dial(netip.AddrPort{}, netip.AddrPortFrom(clientGate[f], 21), lineTimeout)
			if !errors.Is(err, unix.ECONNREFUSED) || time.Since(start) > 2*time.Second {
				t.Errorf("%s, %s: %v after %v, want a refusal at once", h.Role, f, err, time.Since(start))
			}
		}
	}
	err := waitFor(startTimeout, "line in the log for each family without a server", func() bool {
		return strings.Count(site.daemon.Output(), "virtual server without a server") == 2
	})
	if err != nil {
		t.Error(err)
	}
	site.startServer(t, 0)
	site.waitState(t, "a", "up")
	if _, who := site.session(t, site.Client, IPv6); who != "a" {
		t.Errorf("the session is with %s, want a", who)
	}
}

// TestVirtualChecksAreNoSessions: the balancer's own connections to servers do
// not appear among the sessions, whether or not bare acknowledgements are queued.
func TestVirtualChecksAreNoSessions(t *testing.T) {
	for _, more := range []string{"", "keepalive: 1m\n"} {
		site := newVirtualSite(t, Auto, virtualFile(Auto, "round-robin", "{interval: 200ms, timeout: 100ms}", "", "", "")+more)
		site.waitState(t, "a", "up")
		time.Sleep(time.Second) // some rounds of checks
		if log := site.daemon.Output(); strings.Contains(log, "msg=session ") {
			t.Errorf("%q: a check counts as a session:\n%s", more, log)
		}
		// The doctor may be unsure about other things.
		out, _ := site.Firewalls[0].Run(30*time.Second, Cmd(site.daemon.bin, "doctor", "--config", site.daemon.file, "--control-socket", site.daemon.Socket))
		for _, want := range []string{"its rules are complete", "checks of the servers of virtual servers are accepted (6 addresses)"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q: the doctor does not say %q:\n%s", more, want, out)
			}
		}
		out = site.Firewalls[0].Rules(t)
		for _, line := range strings.Split(out, "\n") {
			if strings.Contains(line, "NFQUEUE") && !strings.Contains(line, "packets 0 ") {
				t.Errorf("%q: packets of checks are queued: %s", more, line)
			}
		}
	}
}

// TestVirtualPrograms: three server programs behind one address, checked by a
// login. Each in turn is the only one not drained; when the login is refused, all
// are out.
func TestVirtualPrograms(t *testing.T) {
	kinds := []*ServerKind{Pyftpdlib, Proftpd, Pureftpd}
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			Curl.Need(t)
			check := "{interval: 2s, timeout: 1s, fall: 2, rise: 1, user: pvp, password: %s}"
			file := virtualFile(s, "round-robin", fmt.Sprintf(check, password), "", "", "")
			site := &virtualSite{Site: NewSiteOnly(t, Position{Name: "virtual", Target: clientGate}, AllowRelated, s)}
			site.letChecksOut(t)
			var servers []*Server
			for i, b := range backends {
				if i > 0 {
					if err := site.Server.address("eth0", b); err != nil {
						t.Fatal(err)
					}
				}
				servers = append(servers, site.Server.StartServer(t, kinds[i], netip.AddrPortFrom(b[IPv4], 21), netip.AddrPortFrom(b[IPv6], 21)))
			}
			site.daemon = site.startWithFile(t, file)
			for i := range servers {
				site.drain(t, "undrain", serverNames[i])
				for j := range servers {
					if j != i {
						site.drain(t, "drain", serverNames[j])
					}
				}
				site.waitShare(t, serverNames[i], 1)
				for _, f := range []Family{IPv4, IPv6} {
					for _, m := range f.Modes() {
						job := Job{Client: Curl, From: site.Client, Dial: site.Dial(site.Client, f, 0), Server: servers[i], Mode: m, Size: smallFile}
						if out, err := job.Do(); err != nil {
							t.Errorf("%s %s %s: %v\n%s", kinds[i].Name, f, m, err, out)
						}
					}
				}
			}
			site.daemon.reload(t, virtualFile(s, "round-robin", fmt.Sprintf(check, "wrong"), "", "", ""), reloaded)
			for i := range servers {
				site.drain(t, "undrain", serverNames[i])
				site.waitState(t, serverNames[i], "down")
				for _, o := range site.shown(t, serverNames[i]) {
					// Some servers delay the reply to a wrong password.
					if c := o["check"].(string); !strings.Contains(c, "PASS answered with") && c != "no answer in time" {
						t.Errorf("%s: the check says %q", kinds[i].Name, o["check"])
					}
				}
			}
		})
	}
}
