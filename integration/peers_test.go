// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"testing"
)

// bigFile is the size of the files that show that data bypasses the daemon.
const bigFile = 50 << 20

// TestPeers runs every client with every server in every mode that both support,
// with client and server addresses translated.
func TestPeers(t *testing.T) {
	for _, name := range []string{"masquerade", "dnat"} {
		for _, s := range subjects(t) {
			for _, k := range ServerKinds {
				t.Run(fmt.Sprintf("%s/%s/%s", name, s.Name, k.Name), func(t *testing.T) {
					t.Parallel()
					site := NewSite(t, position(name), AllowRelated, s)
					site.testServer(t, k, ClientKinds, smallFile)
				})
			}
		}
	}
}

// TestPeersEverywhere runs each server and each client in every position.
func TestPeersEverywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	for _, p := range Positions {
		for _, s := range subjects(t) {
			t.Run(p.Name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, p, AllowRelated, s)
				for i, k := range ServerKinds {
					// Six clients for four servers: two clients meet two servers.
					site.testServer(t, k, []*ClientKind{ClientKinds[i], ClientKinds[(i+len(ServerKinds))%len(ClientKinds)]}, smallFile)
				}
			})
		}
	}
}

// TestBigFiles moves 50 MB both ways, with each server and each client, in
// active and in passive mode.
func TestBigFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	for i, name := range []string{"masquerade", "dnat", "routed"} {
		for _, s := range subjects(t) {
			t.Run(name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(name), AllowRelated, s)
				for j, k := range ServerKinds {
					c := ClientKinds[(2*i+j)%len(ClientKinds)]
					f := IPv4
					if j%2 == 1 && len(c.modes[IPv6]) > 0 {
						f = IPv6
					}
					site.testServer(t, k, []*ClientKind{c}, bigFile, oneOfEach[f]...)
				}
			})
		}
	}
}

// oneOfEach are an active and a passive mode of each family.
var oneOfEach = map[Family][]FamilyMode{
	IPv4: {{IPv4, PORT}, {IPv4, PASV}},
	IPv6: {{IPv6, EPRT}, {IPv6, EPSV}},
}

// FamilyMode is a mode in a family.
type FamilyMode struct {
	Family Family
	Mode   Mode
}

// familyModes are all modes of the position.
func (p Position) familyModes() []FamilyMode {
	var all []FamilyMode
	for _, f := range p.families() {
		for _, m := range f.Modes() {
			all = append(all, FamilyMode{f, m})
		}
	}
	return all
}

// testServer runs clients against one server, one after the other, in the modes
// that they support among these, or among all.
func (s *Site) testServer(t *testing.T, k *ServerKind, clients []*ClientKind, size int64, modes ...FamilyMode) {
	if modes == nil {
		modes = s.Position.familyModes()
	}
	t.Run(k.Name, func(t *testing.T) {
		server := s.StartServer(t, k)
		defer server.Stop()
		for _, c := range clients {
			for _, m := range modes {
				if c.Knows(m.Family, m.Mode) {
					s.testPair(t, server, c, m, size)
				}
			}
		}
	})
}

func (s *Site) testPair(t *testing.T, server *Server, c *ClientKind, m FamilyMode, size int64) {
	t.Run(fmt.Sprintf("%s/%s/%s", c.Name, m.Family, m.Mode), func(t *testing.T) {
		c.Need(t)
		s.skipTextual(t, server.Kind, m.Family, m.Mode)
		s.Case(Case{Mode: m.Mode, Family: m.Family, Server: server.Kind.Name, Client: c.Name}).Count(t)
		Job{Client: c, From: s.ClientHost(), Dial: s.Dial(s.ClientHost(), m.Family, 0), Server: server,
			Mode: m.Mode, Size: size}.Verify(t)
	})
}

// skipTextual skips what the in-kernel helper cannot do with pyftpdlib.
func (s *Site) skipTextual(t *testing.T, k *ServerKind, f Family, m Mode) {
	if s.Subject.Kernel && k == Pyftpdlib && s.Position.NAT != nil && f == IPv6 && m == EPRT {
		t.Skip("the in-kernel helper writes IPv6 addresses in full, pyftpdlib compares texts")
	}
}
