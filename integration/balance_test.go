// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// backends are three servers' addresses on one host.
var backends = []Pair{serverAddr, pair("203.0.113.3", "2001:db8:113::3"), pair("203.0.113.4", "2001:db8:113::4")}

// balancers are ways for an administrator's ruleset to spread control connections
// over servers.
var balancers = []struct{ name, pre string }{
	{"numgen", balanceRule("numgen inc mod 3", "0", "1", "2")},
	{"weights", balanceRule("numgen random mod 10", "0-5", "6-8", "9")},
	{"jhash", `iifname "in*" fib daddr type local tcp dport %D dnat ip to jhash ip saddr . tcp sport mod 3 map { 0 : 203.0.113.2, 1 : 203.0.113.3, 2 : 203.0.113.4 }
		iifname "in*" fib daddr type local tcp dport %D dnat ip6 to jhash ip6 saddr . tcp sport mod 3 map { 0 : 2001:db8:113::2, 1 : 2001:db8:113::3, 2 : 2001:db8:113::4 }`},
	{"affinity", `iifname "in*" fib daddr type local tcp dport %D dnat ip to jhash ip saddr mod 3 map { 0 : 203.0.113.2, 1 : 203.0.113.3, 2 : 203.0.113.4 }
		iifname "in*" fib daddr type local tcp dport %D dnat ip6 to jhash ip6 saddr mod 3 map { 0 : 2001:db8:113::2, 1 : 2001:db8:113::3, 2 : 2001:db8:113::4 }`},
}

func balanceRule(key string, first, second, third string) string {
	rule := `iifname "in*" fib daddr type local tcp dport %D dnat FAM to KEY map { A : ONE2, B : ONE3, C : ONE4 }`
	fill := func(fam, net string) string {
		return strings.NewReplacer("FAM", fam, "KEY", key, "A", first, "B", second, "C", third, "ONE", net).Replace(rule)
	}
	return fill("ip", "203.0.113.") + "\n\t\t" + fill("ip6", "2001:db8:113::")
}

// TestBalancedByAdministrator: data connections of both modes reach the server of
// their control connection, the client sees the balancer's address, and active
// data comes from there.
func TestBalancedByAdministrator(t *testing.T) {
	for _, b := range balancers {
		for _, s := range subjects(t) {
			t.Run(b.name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				p := Position{Name: "balanced", Target: clientGate, NAT: []NAT{{Pre: b.pre}}}
				site := NewSite(t, p, AllowRelated, s)
				site.addBackends(t)
				if b.name == "numgen" {
					site.balanced(t, 60, 3)
				} else {
					site.balanced(t, 12, 1)
				}
			})
		}
	}
}

// addBackends adds all servers' addresses to the server host, and starts a server
// on each.
func (s *Site) addBackends(t *testing.T) {
	t.Helper()
	var listen []netip.AddrPort
	for i, b := range backends {
		if i > 0 {
			if err := s.Server.address("eth0", b); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range []Family{IPv4, IPv6} {
			listen = append(listen, netip.AddrPortFrom(b[f], 21))
		}
	}
	m := startMini(t, s.Server)
	m.fromPort = 20
	m.listen(t, listen...)
}

// balanced holds this many sessions at once in each family, and checks that they
// use this many servers.
func (s *Site) balanced(t *testing.T, sessions, servers int) {
	t.Helper()
	var mu sync.Mutex
	used := map[string]int{}
	var wg sync.WaitGroup
	for i := range sessions {
		for _, f := range []Family{IPv4, IPv6} {
			wg.Go(func() {
				who := s.balancedSession(t, f, i)
				mu.Lock()
				used[who]++
				mu.Unlock()
			})
		}
	}
	wg.Wait()
	if len(used) < 2*servers {
		t.Errorf("servers used: %v, want %d of each family", used, servers)
	}
}

// balancedSession is one session with a transfer in each mode, all of which must
// reach the same server. It returns that server.
func (s *Site) balancedSession(t *testing.T, f Family, i int) string {
	dial := s.Dial(s.Client, f, 0)
	session, err := miniLogin(s.Client, dial)
	if err != nil {
		t.Errorf("session %d: %v", i, err)
		return ""
	}
	defer session.c.Close()
	var who string
	for _, m := range f.Modes() {
		var got bytes.Buffer
		start := time.Now()
		if _, err := session.transfer(m, "whoami", &got); err != nil {
			t.Errorf("session %d %s %s after %v: %v", i, f, m, time.Since(start), err)
			return ""
		}
		if who == "" {
			who = got.String()
		}
		if got.String() != who {
			t.Errorf("session %d: %s reached %s, the session is with %s", i, m, got.String(), who)
		}
		if session.peer.Addr() != dial.Addr() || m.Active() && session.peer.Port() != 20 {
			t.Errorf("session %d: %s data connection with %s, the client dialled %s, and active data comes from port 20", i, m, session.peer, dial)
		}
	}
	return who
}

// mapRules balance with a map in the administrator's ruleset.
const mapRules = `iifname "in*" fib daddr type local tcp dport %D dnat ip to numgen inc mod 3 map @servers4
		iifname "in*" fib daddr type local tcp dport %D dnat ip6 to numgen inc mod 3 map @servers6`

// TestBalancedServerTakenOut: the administrator removes a server from his map.
// Its sessions stay with it, in both modes, and it gets no new ones.
func TestBalancedServerTakenOut(t *testing.T) {
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			p := Position{Name: "balanced", Target: clientGate, NAT: []NAT{{Pre: mapRules}}}
			site := NewSiteOnly(t, Position{Name: "balanced", Target: clientGate}, AllowRelated, s)
			fw := site.Firewalls[0]
			_, nat, _ := strings.Cut(p.Ruleset(0, AllowRelated), "table inet nat {")
			fw.LoadRules(t, `table inet nat {
	map servers4 { typeof numgen inc mod 3 : ip daddr; elements = { 0 : 203.0.113.2, 1 : 203.0.113.3, 2 : 203.0.113.4 }; }
	map servers6 { typeof numgen inc mod 3 : ip6 daddr; elements = { 0 : 2001:db8:113::2, 1 : 2001:db8:113::3, 2 : 2001:db8:113::4 }; }
`+nat)
			site.StartSubject(t)
			site.addBackends(t)
			for _, f := range []Family{IPv4, IPv6} {
				site.serverTakenOut(t, f)
			}
		})
	}
}

// serverTakenOut removes the last server from the map of a family.
func (s *Site) serverTakenOut(t *testing.T, f Family) {
	t.Helper()
	sessions := map[string]*miniSession{}
	for range 3 {
		m, err := miniLogin(s.Client, s.Dial(s.Client, f, 0))
		if err != nil {
			t.Fatal(err)
		}
		defer m.c.Close()
		sessions[whoIs(t, m, f)] = m
	}
	if len(sessions) != 3 {
		t.Fatalf("three sessions are with %v", sessions)
	}
	s.Firewalls[0].LoadRules(t, fmt.Sprintf("delete element inet nat servers%d { 2 }; add element inet nat servers%[1]d { 2 : %s }", f, backends[0][f]))
	for who, m := range sessions {
		if got := whoIs(t, m, f); got != who {
			t.Errorf("%s: the session with %s is with %s now", f, who, got)
		}
	}
	for i := range 12 {
		if who := s.balancedSession(t, f, i); who == netip.AddrPortFrom(backends[2][f], 21).String() {
			t.Errorf("%s: a removed server gets a session", f)
		}
	}
}

// whoIs transfers in each mode, and returns the server that answers.
func whoIs(t *testing.T, m *miniSession, f Family) string {
	t.Helper()
	var who string
	for _, mode := range f.Modes() {
		var got bytes.Buffer
		if _, err := m.transfer(mode, "whoami", &got); err != nil {
			t.Fatalf("%s %s: %v", f, mode, err)
		}
		if who == "" {
			who = got.String()
		}
		if got.String() != who {
			t.Errorf("%s %s reached %s, the session is with %s", f, mode, got.String(), who)
		}
	}
	return who
}

// TestBalancedAdvertise: one server of a balanced set has an address of its own,
// which another machine, here the client, translates to the balancer's.
func TestBalancedAdvertise(t *testing.T) {
	needDaemon(t)
	const outside = "192.0.2.7"
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			p := Position{Name: "balanced", Target: clientGate, NAT: []NAT{{Pre: balancers[0].pre}}}
			site := NewSite(t, p, AllowRelated, s, "--advertise", backends[2][IPv4].String()+"="+outside)
			site.addBackends(t)
			if err := site.Client.route(Pair{IPv4: netip.MustParseAddr(outside)}, clientGate); err != nil {
				t.Fatal(err)
			}
			site.Client.LoadRules(t, fmt.Sprintf("table ip outer { chain out { type nat hook output priority -100; ip daddr %s dnat to %s; }; }", outside, clientGate[IPv4]))
			shown := map[string]bool{}
			for range 3 {
				m, err := miniLogin(site.Client, site.Dial(site.Client, IPv4, 0))
				if err != nil {
					t.Fatal(err)
				}
				defer m.c.Close()
				var got bytes.Buffer
				if _, err := m.transfer(PASV, "whoami", &got); err != nil {
					t.Fatal(err)
				}
				want := clientGate[IPv4].String()
				if got.String() == netip.AddrPortFrom(backends[2][IPv4], 21).String() {
					want = outside
				}
				if m.shown.Addr().String() != want {
					t.Errorf("the 227 of %s shows %s, want %s", got.String(), m.shown.Addr(), want)
				}
				shown[want] = true
			}
			if len(shown) != 2 {
				t.Errorf("three sessions were shown %v only", shown)
			}
		})
	}
}
