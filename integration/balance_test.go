// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// backends are three servers' addresses on one host.
var backends = []Pair{serverAddr, pair("203.0.113.3", "2001:db8:113::3"), pair("203.0.113.4", "2001:db8:113::4")}

// balancers are ways in which an administrator's own ruleset spreads control
// connections over servers.
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

// TestBalancedByAdministrator: the data connections of both modes reach the
// server of their control connection, the client is shown the balancer's
// address, and active data comes from there.
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

// addBackends gives the server host the addresses of all servers, and starts
// a server on each.
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
	startMini(t, s.Server, listen...)
}

// balanced holds so many sessions at once in each family, and wants so many
// servers used at the least.
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

// balancedSession is one session with a transfer in each mode, which must all
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
		if session.peer.Addr() != dial.Addr() {
			t.Errorf("session %d: %s data connection with %s, the client dialled %s", i, m, session.peer, dial)
		}
	}
	return who
}
