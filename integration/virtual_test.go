// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"
)

// TestVirtualServer holds sixty sessions of each family, with weights: at once
// or, where the number per server matters, one after the other.
func TestVirtualServer(t *testing.T) {
	for _, method := range []string{"round-robin", "least-sessions"} {
		for _, s := range []Subject{Expectation, Claim} {
			t.Run(method+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := newVirtualSite(t, s, virtualFile(s, method, steadyCheck, ", weight: 3", ", weight: 2", ", weight: 1"))
				used := map[string]int{}
				if method == "round-robin" {
					used = site.spread(t, 60)
				} else {
					for range 60 {
						for _, f := range []Family{IPv4, IPv6} {
							_, who := site.session(t, site.Client, f)
							used[who]++
						}
					}
				}
				wantShares(t, used, map[string]int{"a": 3, "b": 2, "c": 1})
			})
		}
	}
}

// TestVirtualBurst: when many sessions begin at once, before any can be counted,
// no server is left out and none gets all.
func TestVirtualBurst(t *testing.T) {
	site := newVirtualSite(t, Auto, virtualFile(Auto, "least-sessions", steadyCheck, "", "", ""))
	used := site.spread(t, 60)
	for _, name := range serverNames {
		if used[name] < 20 || used[name] > 60 {
			t.Errorf("server %s has %d of 120 sessions, want 20 to 60: %v", name, used[name], used)
		}
	}
}

// TestVirtualSourceHash: one client always gets the same server, many are spread.
func TestVirtualSourceHash(t *testing.T) {
	t.Parallel()
	site := newVirtualSite(t, Auto, virtualFile(Auto, "source-hash", steadyCheck, ", weight: 3", ", weight: 2", ", weight: 1"))
	for _, f := range []Family{IPv4, IPv6} {
		_, first := site.session(t, site.Client, f)
		for range 5 {
			if _, who := site.session(t, site.Client, f); who != first {
				t.Errorf("%s: a client gets %s and %s", f, first, who)
			}
		}
	}
	used := map[string]int{}
	for i := range 120 {
		p := pair(fmt.Sprintf("10.7.0.%d", 100+i), fmt.Sprintf("fd07::1:%x", i))
		if err := site.Client.address("eth0", p); err != nil {
			t.Fatal(err)
		}
		for f, a := range p {
			c, err := site.Client.Dial(netip.AddrPortFrom(a, 0), site.Dial(site.Client, f, 0), lineTimeout)
			if err != nil {
				t.Fatal(err)
			}
			m := &miniSession{host: site.Client, c: c, in: bufio.NewReader(c)}
			if _, err := m.reply(); err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := m.transfer(f.Modes()[1], "whoami", &got); err != nil {
				t.Fatal(err)
			}
			used[nameOf(got.String())]++
			c.Close()
		}
	}
	for name, bounds := range map[string][2]int{"a": {96, 144}, "b": {60, 100}, "c": {24, 56}} {
		if used[name] < bounds[0] || used[name] > bounds[1] {
			t.Errorf("server %s has %d of 240 clients, want %v: %v", name, used[name], bounds, used)
		}
	}
}

// TestVirtualLeastSessions: the server with the fewest sessions gets the next
// ones.
func TestVirtualLeastSessions(t *testing.T) {
	site := newVirtualSite(t, Auto, virtualFile(Auto, "least-sessions", steadyCheck, "", "", ""))
	open := map[string][]*miniSession{}
	begin := func(n int) map[string]int {
		got := map[string]int{}
		for range n {
			m, who := site.session(t, site.Client, IPv4)
			open[who] = append(open[who], m)
			got[who]++
		}
		return got
	}
	begin(36)
	for _, name := range serverNames {
		if n := len(open[name]); n < 8 || n > 16 {
			t.Errorf("server %s has %d of 36 sessions, want about 12", name, n)
		}
	}
	for _, m := range open["b"] {
		m.c.Close()
	}
	err := waitFor(10*time.Second, "server b without sessions", func() bool {
		l := site.shown(t, "b")
		return l[0]["sessions"] == 0.0 && l[1]["sessions"] == 0.0 && l[0]["share"] == 1.0
	})
	if err != nil {
		t.Fatalf("%v: %v", err, site.shown(t, "b"))
	}
	if got := begin(2); got["b"] != 2 {
		t.Errorf("of 2 sessions server b, which had none, got %d: %v", got["b"], got)
	}
}

// TestVirtualPort: two servers connect to one port of a client, one after the
// other, both from port 20 of the virtual server.
func TestVirtualPort(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := newVirtualSite(t, s, virtualFile(s, "round-robin", steadyCheck, "", "", ""))
			site.onePort(t)
		})
	}
}

// onePort holds sessions with three servers, all of which connect to one port.
func (s *virtualSite) onePort(t *testing.T) {
	t.Helper()
	port := uint16(30123) // below those that the client dials from
	for _, f := range []Family{IPv4, IPv6} {
		used := map[string]bool{}
		for range 3 {
			m, who := s.session(t, s.Client, f)
			used[who] = true
			ln, err := s.Client.Listen(netip.AddrPortFrom(clientAddr[f], port))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.command(string(EPRT) + " " + argument(EPRT, addrOf(ln.Addr()))); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(m.c, "RETR whoami\r\n"); err != nil {
				t.Fatal(err)
			}
			ln.SetDeadline(time.Now().Add(lineTimeout))
			c, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if from := addrOf(c.RemoteAddr()); from != netip.AddrPortFrom(clientGate[f], 20) {
				t.Errorf("data from %s, want %s, port 20", from, clientGate[f])
			}
			io.Copy(io.Discard, c)
			c.Close()
			ln.Close()
			for range 2 {
				m.reply()
			}
		}
		if len(used) != 3 {
			t.Errorf("%s: three sessions are with %v", f, used)
		}
	}
}

// TestVirtualLocal: the firewall's own clients are balanced too.
func TestVirtualLocal(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := newVirtualSite(t, s, virtualFile(s, "round-robin", steadyCheck, "", "", ""))
			used := map[string]bool{}
			for range 3 {
				for _, f := range []Family{IPv4, IPv6} {
					_, who := site.session(t, site.Firewalls[0], f)
					used[who] = true
				}
			}
			if len(used) != 3 {
				t.Errorf("six sessions are with %v, want all three servers", used)
			}
		})
	}
}

// TestVirtualExternal: a server with an external address shows that in its 227,
// and its data connections come there; otherwise it is like the others.
func TestVirtualExternal(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			// An address of the firewall that clients reach through it.
			site := newVirtualSite(t, s, virtualFile(s, "round-robin", steadyCheck, "", "", fmt.Sprintf(", advertise: %s", snatAddr[IPv4])))
			used := map[string]bool{}
			for range 3 {
				m, err := miniLogin(site.Client, site.Dial(site.Client, IPv4, 0))
				if err != nil {
					t.Fatal(err)
				}
				defer m.c.Close()
				for range 2 { // again after another mode
					for _, mode := range []Mode{PASV, EPSV, PORT, EPRT} {
						var got bytes.Buffer
						if _, err := m.transfer(mode, "whoami", &got); err != nil {
							t.Fatalf("%s: %v", mode, err)
						}
						who := nameOf(got.String())
						used[who] = true
						want := clientGate[IPv4]
						if who == "c" && mode == PASV {
							want = snatAddr[IPv4]
						}
						if m.peer.Addr() != want || mode == PASV && m.shown.Addr() != want {
							t.Errorf("server %s, %s: shown %s, data with %s, want %s", who, mode, m.shown, m.peer, want)
						}
					}
				}
			}
			if len(used) != 3 {
				t.Errorf("three sessions are with %v", used)
			}
		})
	}
}
