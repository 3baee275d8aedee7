// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/netip"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// Site is a Position that has been built: network, rulesets, subjects.
type Site struct {
	*Topology
	Position Position
	Allow    Allow
	Subject  Subject
	// Daemons has one pasvport for each firewall; empty with other subjects.
	Daemons []*Daemon

	ending syscall.Signal // signal by which end ends a daemon; 0 for SIGKILL
}

// NewSite builds the position, loads the administrator's rulesets and starts
// the subject on each firewall with the extra flags.
func NewSite(t *testing.T, p Position, a Allow, s Subject, flags ...string) *Site {
	t.Helper()
	site := NewSiteOnly(t, p, a, s)
	site.StartSubject(t, flags...)
	return site
}

// NewSiteOnly builds the position and does not start the subject.
func NewSiteOnly(t *testing.T, p Position, a Allow, s Subject) *Site {
	t.Helper()
	needPrograms(t, "nft", "conntrack")
	if s.Kernel && a == AllowChain {
		t.Skip("the in-kernel helper knows no --allow chain")
	}
	tp := NewTopology(NewNet(t), p.firewalls(), p.Hidden)
	site := &Site{Topology: tp, Position: p, Allow: a, Subject: s}
	for i, fw := range tp.Firewalls {
		fw.LoadRules(t, p.Ruleset(i, a))
	}
	return site
}

// StartSubject starts the subject on every firewall.
func (s *Site) StartSubject(t *testing.T, flags ...string) {
	t.Helper()
	for _, fw := range s.Firewalls {
		switch {
		case s.Subject.Kernel:
			fw.LoadRules(t, kernelHelperRules(s.Position, s.Allow))
		case s.Subject.Strategy != "":
			s.Daemons = append(s.Daemons, s.StartDaemon(t, fw, flags...))
		}
	}
}

// ClientHost is where the position's client runs.
func (s *Site) ClientHost() *Host {
	if s.Position.ClientLocal {
		return s.Firewalls[0]
	}
	return s.Client
}

// ServerHost is where the position's server runs.
func (s *Site) ServerHost() *Host {
	if s.Position.ServerLocal {
		return s.Firewalls[0]
	}
	return s.Server
}

// ServerAddr is the server's own address.
func (s *Site) ServerAddr(f Family) netip.Addr {
	if s.Position.ServerLocal {
		return clientGate[f]
	}
	return serverAddr[f]
}

// ClientAddr is the client's own address.
func (s *Site) ClientAddr(f Family) netip.Addr {
	if s.Position.ClientLocal {
		return serverGate[f]
	}
	return clientAddr[f]
}

// Dial is the address that the position's client dials for the i-th control port.
// The second client reaches a translated server on its own side of the firewall.
func (s *Site) Dial(h *Host, f Family, i int) netip.AddrPort {
	d := s.Position.Dial(f, i)
	if h == s.Client2 && d.Addr() == clientGate[f] {
		return netip.AddrPortFrom(client2Gate[f], d.Port())
	}
	return d
}

// rulesTimeout is generous: the first ruleset on a machine loads a dozen modules,
// and the machine may be emulated.
const rulesTimeout = time.Minute

// LoadRules adds nft text to the ruleset of the host.
func (h *Host) LoadRules(t testing.TB, text string) {
	t.Helper()
	out, err := h.Run(rulesTimeout, Command{Args: []string{"nft", "-f", "-"}, Stdin: text})
	if err != nil {
		t.Fatalf("nft on %s: %v\n%s\n%s", h.name, err, out, text)
	}
}

// Rules is the ruleset of the host as nft prints it.
func (h *Host) Rules(t testing.TB) string {
	t.Helper()
	out, failures, err := h.run(10*time.Second, Cmd("nft", "list", "ruleset")) // it warns of what it cannot show
	if err != nil {
		t.Fatalf("nft list ruleset on %s: %v\n%s%s", h.name, err, out, failures)
	}
	return out
}

// needPrograms skips the test when a program is missing.
func needPrograms(t testing.TB, names ...string) {
	t.Helper()
	missing := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, err := exec.LookPath(name)
		return err == nil
	})
	if len(missing) > 0 {
		t.Skipf("missing programs: %v (scripts/peers installs them)", missing)
	}
}
