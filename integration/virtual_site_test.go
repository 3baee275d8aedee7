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

// virtualSite has a firewall that is itself the balancer of three servers.
type virtualSite struct {
	*Site
	daemon  *reloading
	servers []*miniServer
}

// The names of the servers, in the order of backends.
var serverNames = []string{"a", "b", "c"}

// quickCheck takes a dead server out within quickFall, steadyCheck never one that
// is only slow.
const (
	quickCheck  = "{interval: 2s, timeout: 1500ms, fall: 2, rise: 1}"
	quickFall   = 4 * time.Second
	steadyCheck = "{interval: 5s, timeout: 4s, fall: 5, rise: 1}"
)

// virtualFile is a configuration with one virtual server. lines are appended to
// the servers' names and addresses.
func virtualFile(s Subject, method, check string, lines ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "strategy: %s\nlog-level: debug\nvirtual-servers:\n  - name: ftp\n    listen: [%s, %q]\n    method: %s\n    check: %s\n    servers:\n",
		s.Strategy, clientGate[IPv4], clientGate[IPv6], method, check)
	for i, line := range lines {
		fmt.Fprintf(&b, "      - {name: %s, address: [%s, %q]%s}\n", serverNames[i], backends[i][IPv4], backends[i][IPv6], line)
	}
	return b.String()
}

func newVirtualSite(t *testing.T, s Subject, file string) *virtualSite {
	t.Helper()
	needDaemon(t)
	site := &virtualSite{Site: NewSiteOnly(t, Position{Name: "virtual", Target: clientGate}, AllowRelated, s)}
	site.Case(Case{Kind: "virtual"}).Count(t)
	site.letChecksOut(t)
	for i, b := range backends {
		if i > 0 {
			if err := site.Server.address("eth0", b); err != nil {
				t.Fatal(err)
			}
		}
		site.servers = append(site.servers, nil)
		site.startServer(t, i)
	}
	site.daemon = site.startWithFile(t, file)
	return site
}

// letChecksOut makes the ruleset accept the balancer's own connections.
func (s *virtualSite) letChecksOut(t *testing.T) {
	t.Helper()
	s.Firewalls[0].LoadRules(t, "add rule inet filter output tcp dport 21 accept")
}

// startServer starts the i-th server, whose active data comes from port 20.
func (s *virtualSite) startServer(t *testing.T, i int) {
	t.Helper()
	m := startMini(t, s.Server)
	s.servers[i], m.fromPort = m, 20
	m.listen(t, netip.AddrPortFrom(backends[i][IPv4], 21), netip.AddrPortFrom(backends[i][IPv6], 21))
}

// nameOf is the name of the server that gives this answer.
func nameOf(whoami string) string {
	for i, b := range backends {
		for _, a := range b {
			if whoami == netip.AddrPortFrom(a, 21).String() {
				return serverNames[i]
			}
		}
	}
	return whoami
}

// session logs in at the virtual server, and returns the server's name.
func (s *virtualSite) session(t *testing.T, from *Host, f Family) (*miniSession, string) {
	t.Helper()
	m, err := miniLogin(from, s.Dial(s.Client, f, 0))
	if err != nil {
		t.Fatalf("log in: %v", err)
	}
	t.Cleanup(func() { m.c.Close() })
	return m, s.whoami(t, m, f)
}

// whoami transfers in all modes, and returns the server's name. It must always be
// the same server, and the client must only ever see the virtual server.
func (s *virtualSite) whoami(t *testing.T, m *miniSession, f Family) string {
	t.Helper()
	dial := s.Dial(s.Client, f, 0)
	name := ""
	for _, mode := range f.Modes() {
		var got bytes.Buffer
		if _, err := m.transfer(mode, "whoami", &got); err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		who := nameOf(got.String())
		if name == "" {
			name = who
		}
		if who != name {
			t.Errorf("%s reached %s, the session is with %s", mode, who, name)
		}
		if m.peer.Addr() != dial.Addr() || mode.Active() && m.peer.Port() != 20 {
			t.Errorf("%s: data connection with %s, want %s and, if it is active, port 20", mode, m.peer, dial.Addr())
		}
	}
	return name
}

// spread holds n sessions of each family at once, and returns how many each
// server has got.
func (s *virtualSite) spread(t *testing.T, n int) map[string]int {
	t.Helper()
	var mu sync.Mutex
	used := map[string]int{}
	var wg sync.WaitGroup
	for range n {
		for _, f := range []Family{IPv4, IPv6} {
			wg.Go(func() {
				m, err := miniLogin(s.Client, s.Dial(s.Client, f, 0))
				if err != nil {
					t.Errorf("log in: %v", err)
					return
				}
				defer m.c.Close()
				who := s.whoami(t, m, f)
				mu.Lock()
				used[who]++
				mu.Unlock()
			})
		}
	}
	wg.Wait()
	return used
}

// wantShares compares counts with weights, within a sixth and one session of each
// family.
func wantShares(t *testing.T, got map[string]int, weights map[string]int) {
	t.Helper()
	total, sum := 0, 0
	for _, n := range got {
		total += n
	}
	for _, w := range weights {
		sum += w
	}
	for _, name := range serverNames {
		want := float64(total*weights[name]) / float64(sum)
		if slack := want/6 + 2; float64(got[name]) < want-slack || float64(got[name]) > want+slack {
			t.Errorf("server %s has %d of %d sessions, want about %.0f: %v", name, got[name], total, want, got)
		}
	}
}

// shown returns what `pasvport servers` shows for the addresses of a server.
func (s *virtualSite) shown(t *testing.T, name string) (list []Object) {
	t.Helper()
	var all []Object
	if err := s.daemon.Query("servers", &all); err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o["name"] == name {
			list = append(list, o)
		}
	}
	if len(list) != 2 {
		t.Fatalf("server %s has %d addresses, want 2: %v", name, len(list), all)
	}
	return list
}

// waitState waits until both addresses of a server have been checked and are in a
// state, and have the slots that go with it.
func (s *virtualSite) waitState(t *testing.T, name, state string) {
	t.Helper()
	err := waitFor(20*time.Second, fmt.Sprintf("server %s that is %s", name, state), func() bool {
		for _, o := range s.shown(t, name) {
			if o["state"] != state || (o["share"] != 0.0) != (state == "up") || o["check"] == "" {
				return false
			}
		}
		return true
	})
	if err != nil {
		t.Fatalf("%v: %v", err, s.shown(t, name))
	}
}

func (s *virtualSite) drain(t *testing.T, how, name string) {
	t.Helper()
	if out, err := s.Firewalls[0].Run(10*time.Second, Cmd(s.daemon.bin, "servers", how, name, "--control-socket", s.daemon.Socket)); err != nil {
		t.Fatalf("pasvport servers %s %s: %v\n%s", how, name, err, out)
	}
}

// waitDraining waits until b has only its one session, and no share of new ones.
func (s *virtualSite) waitDraining(t *testing.T) {
	t.Helper()
	err := waitFor(10*time.Second, "server b with one session that drains", func() bool {
		for _, o := range s.shown(t, "b") {
			if o["state"] == "draining" && o["sessions"] == 1.0 && o["share"] == 0.0 {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatalf("%v: %v", err, s.shown(t, "b"))
	}
}

// wantSlots checks whether the kernel's map has slots of a server.
func (d *Daemon) wantSlots(t *testing.T, server string, want bool) {
	t.Helper()
	has := func() bool {
		out, err := d.Host.Run(10*time.Second, Cmd("nft", "list", "map", "inet", "pasvport", "servers4_ftp"))
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.Contains(strings.ReplaceAll(out, `comment "drained" : `+server, ""), " "+server+" ")
	}
	if err := waitFor(startTimeout, "change of the map", func() bool { return has() == want }); err != nil {
		t.Errorf("slots of %s: want %v: %v", server, want, err)
	}
}

// wantServers is the list of names, weights and states.
func (d *Daemon) wantServers(t *testing.T) string {
	t.Helper()
	var all []Object
	if err := d.Query("servers", &all); err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, o := range all {
		list = append(list, fmt.Sprint(o["name"], o["address"], o["weight"], o["method"]))
	}
	return fmt.Sprint(list)
}

// waitShare waits until both addresses of a server have this share.
func (s *virtualSite) waitShare(t *testing.T, name string, share float64) {
	t.Helper()
	err := waitFor(20*time.Second, fmt.Sprintf("share of %v of server %s", share, name), func() bool {
		l := s.shown(t, name)
		return l[0]["share"] == share && l[1]["share"] == share
	})
	if err != nil {
		t.Fatalf("%v: %v", err, s.shown(t, name))
	}
}
