// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestVirtualDrain: a drained server gets no new sessions, existing ones
// continue, and a crash of the daemon changes neither.
func TestVirtualDrain(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			file := virtualFile(s, "round-robin", steadyCheck, "", "", "")
			site := newVirtualSite(t, s, file)
			sessions := map[string]*miniSession{}
			for range 3 {
				m, who := site.session(t, site.Client, IPv4)
				sessions[who] = m
			}
			site.drain(t, "drain", "ftp/b")
			site.waitDraining(t)
			site.daemon.wantSlots(t, "203.0.113.3", false)

			if err := site.daemon.Crash(); err != nil {
				t.Fatal(err)
			}
			site.daemon = site.startWithFile(t, file)
			site.waitDraining(t)
			if got := site.spread(t, 20); got["b"] != 0 {
				t.Errorf("a drained server gets sessions: %v", got)
			}
			for name, m := range sessions {
				// After a crash the daemon does not know where lines start until
				// a command was answered.
				if _, err := m.command("NOOP"); err != nil {
					t.Fatal(err)
				}
				if got := site.whoami(t, m, IPv4); got != name {
					t.Errorf("the session with %s is with %s now", name, got)
				}
			}
			sessions["b"].c.Close()
			site.waitState(t, "b", "drained")
			site.drain(t, "undrain", "b")
			site.waitState(t, "b", "up")
			wantShares(t, site.spread(t, 30), map[string]int{"a": 1, "b": 1, "c": 1})
		})
	}
}

// TestVirtualBackup: new sessions go to a backup server while no other is
// available, and back.
func TestVirtualBackup(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := newVirtualSite(t, s, virtualFile(s, "round-robin", steadyCheck, "", "", ", backup: on"))
			wantShares(t, site.spread(t, 20), map[string]int{"a": 1, "b": 1})
			for _, name := range []string{"a", "b"} {
				site.drain(t, "drain", "ftp/"+name)
				site.waitState(t, name, "drained")
			}
			site.daemon.wantSlots(t, "203.0.113.3", false)
			wantShares(t, site.spread(t, 10), map[string]int{"c": 1})
			site.drain(t, "undrain", "b")
			site.waitState(t, "b", "up")
			site.daemon.wantSlots(t, "203.0.113.4", false)
			wantShares(t, site.spread(t, 10), map[string]int{"b": 1})
		})
	}
}

// TestVirtualDrainOverStop: a drained server stays drained after a stop.
func TestVirtualDrainOverStop(t *testing.T) {
	t.Parallel()
	file := virtualFile(Claim, "round-robin", steadyCheck, "", "", "")
	site := newVirtualSite(t, Claim, file)
	site.drain(t, "drain", "ftp/b")
	site.waitState(t, "b", "drained")
	for range 2 { // and after the next one
		if status, err := site.daemon.Stop(syscall.SIGTERM); err != nil || status != 0 {
			t.Fatalf("stop: status %d, %v", status, err)
		}
		site.daemon = site.startWithFile(t, file)
		site.waitState(t, "b", "drained")
		if got := site.spread(t, 6); got["b"] != 0 {
			t.Errorf("a drained server gets sessions: %v", got)
		}
	}
	site.drain(t, "undrain", "b")
	site.waitState(t, "b", "up")
}

// TestVirtualSlowStart: a server that comes back gets a small share of new
// sessions at first.
func TestVirtualSlowStart(t *testing.T) {
	t.Parallel()
	file := strings.Replace(virtualFile(Claim, "round-robin", steadyCheck, "", "", ""), "    check:", "    slow-start: 1h\n    check:", 1)
	site := newVirtualSite(t, Claim, file)
	wantShares(t, site.spread(t, 30), map[string]int{"a": 1, "b": 1, "c": 1})
	site.drain(t, "drain", "b")
	site.waitState(t, "b", "drained")
	site.drain(t, "undrain", "b")
	if err := waitFor(startTimeout, "a slow start", func() bool {
		o := site.shown(t, "b")[0]
		return o["state"] == "slow-start" && o["share"] != 0.0
	}); err != nil {
		t.Fatal(err)
	}
	if got := site.spread(t, 60); got["b"] == 0 || got["b"] > 8 { // one slot in 60, and both families
		t.Errorf("of 120 sessions it gets %d, want 2: %v", got["b"], got)
	}
}

// TestVirtualStop: sessions continue without a daemon, and with the next one.
func TestVirtualStop(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			file := virtualFile(s, "round-robin", steadyCheck, "", "", "")
			site := newVirtualSite(t, s, file)
			m, who := site.session(t, site.Client, IPv4)
			stop := func() {
				t.Helper()
				if status, err := site.daemon.Stop(syscall.SIGTERM); err != nil || status != 0 {
					t.Fatalf("stop: status %d, %v", status, err)
				}
			}
			stop()
			if line, err := m.command("NOOP"); err != nil || !strings.HasPrefix(line, "200") {
				t.Errorf("without a daemon the session gets %q, %v", line, err)
			}
			if c, err := site.Client.Dial(netip.AddrPort{}, site.Dial(site.Client, IPv4, 0), refusedTimeout); err == nil {
				c.Close()
				t.Error("connected to a virtual server without a daemon")
			}
			site.daemon = site.startWithFile(t, file)
			// Nothing was read without a daemon; one exchange shows where lines
			// start.
			if _, err := m.command("NOOP"); err != nil {
				t.Fatal(err)
			}
			if got := site.whoami(t, m, IPv4); got != who {
				t.Errorf("the session with %s is with %s now", who, got)
			}
			m.c.Close()
			err := waitFor(10*time.Second, "end of the session", func() bool { return site.shown(t, who)[0]["sessions"] == 0.0 })
			if err != nil {
				t.Fatal(err)
			}
			stop()
			if rules := site.Firewalls[0].Rules(t); strings.Contains(rules, "pasvport") {
				t.Errorf("without a session something remains:\n%s", rules)
			}
		})
	}
}

// TestVirtualHeal: the map is restored with the table, and so is who is drained.
func TestVirtualHeal(t *testing.T) {
	site := newVirtualSite(t, Auto, virtualFile(Auto, "round-robin", steadyCheck, "", "", ""))
	m, who := site.session(t, site.Client, IPv4)
	site.drain(t, "drain", "c")
	site.daemon.wantSlots(t, "203.0.113.4", false)
	for i, change := range []string{site.reload() + "add rule inet filter output tcp dport 21 accept\n",
		"delete table inet pasvport\n", "flush map inet pasvport servers4_ftp\n"} {
		site.Firewalls[0].LoadRules(t, change)
		if err := waitFor(10*time.Second, "healing", func() bool { return site.daemon.heals() > i }); err != nil {
			t.Fatalf("%q: %v", change, err)
		}
		wantShares(t, site.spread(t, 10), map[string]int{"a": 1, "b": 1})
		if got := site.whoami(t, m, IPv4); got != who {
			t.Errorf("the session with %s is with %s now", who, got)
		}
	}
}

// TestVirtualReload: servers change while sessions run.
func TestVirtualReload(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := newVirtualSite(t, s, virtualFile(s, "round-robin", steadyCheck, "", ""))
			sessions := map[string]*miniSession{}
			for range 2 {
				m, who := site.session(t, site.Client, IPv4)
				sessions[who] = m
			}
			site.drain(t, "drain", "a")
			before := site.daemon.wantServers(t)
			log := site.daemon.reload(t, "virtual-servers: [{name: x}]\n", "configuration not reloaded")
			if !strings.Contains(log, "pasvport.yaml:1:19: virtual server") || site.daemon.wantServers(t) != before {
				t.Errorf("a bad file changes the servers, or is not named:\n%s", log)
			}
			// Other servers, other weights, another method; a stays drained.
			site.daemon.reload(t, virtualFile(s, "least-sessions", steadyCheck, "", ", weight: 1", ", weight: 1"), reloaded)
			wantShares(t, site.spread(t, 20), map[string]int{"b": 1, "c": 1})
			site.drain(t, "undrain", "a")
			site.daemon.wantSlots(t, "203.0.113.2", true)
			site.daemon.reload(t, virtualFile(s, "round-robin", steadyCheck, ", weight: 5", ", weight: 0", ", weight: 1"), reloaded)
			wantShares(t, site.spread(t, 30), map[string]int{"a": 5, "c": 1})
			for name, m := range sessions {
				if got := site.whoami(t, m, IPv4); got != name {
					t.Errorf("the session with %s is with %s now", name, got)
				}
			}
			site.daemon.reload(t, "strategy: "+s.Strategy+"\n", reloaded)
			if got := site.daemon.wantServers(t); got != "[]" {
				t.Errorf("servers without a virtual server: %s", got)
			}
			if c, err := site.Client.Dial(netip.AddrPort{}, site.Dial(site.Client, IPv4, 0), refusedTimeout); err == nil {
				c.Close()
				t.Error("connected to a virtual server that was removed")
			}
			if got := site.whoami(t, sessions["b"], IPv4); got != "b" {
				t.Errorf("the session with b is with %s now", got)
			}
		})
	}
}
