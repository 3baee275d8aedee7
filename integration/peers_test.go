// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"testing"
)

// bigFile is the size of the files that show that data does not visit us.
const bigFile = 50 << 20

// TestPeers has every client talk to every server in every mode that both
// know, where addresses of the client and of the server are translated.
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

// TestPeersEverywhere has each server and each client once in every position.
func TestPeersEverywhere(t *testing.T) {
	for _, p := range Positions {
		for _, s := range subjects(t) {
			t.Run(p.Name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, p, AllowRelated, s)
				for i, k := range ServerKinds {
					// Six clients over four servers: two of them meet two.
					site.testServer(t, k, []*ClientKind{ClientKinds[i], ClientKinds[(i+len(ServerKinds))%len(ClientKinds)]}, smallFile)
				}
			})
		}
	}
}

// TestBigFiles moves 50 MB both ways, with each server and each client.
func TestBigFiles(t *testing.T) {
	for i, name := range []string{"masquerade", "dnat", "routed"} {
		for _, s := range subjects(t) {
			t.Run(name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(name), AllowRelated, s)
				for j, k := range ServerKinds {
					c := ClientKinds[(2*i+j)%len(ClientKinds)]
					site.testServer(t, k, []*ClientKind{c}, bigFile)
				}
			})
		}
	}
}

// testServer has clients use one server, one after the other, in every family
// and mode that they and the server know.
func (s *Site) testServer(t *testing.T, k *ServerKind, clients []*ClientKind, size int64) {
	t.Run(k.Name, func(t *testing.T) {
		server := s.StartServer(t, k)
		defer server.Stop()
		for _, c := range clients {
			for _, f := range s.Position.families() {
				for _, m := range f.Modes() {
					if !c.Knows(f, m) || k.refuses(f, m) {
						continue
					}
					t.Run(fmt.Sprintf("%s/%s/%s", c.Name, f, m), func(t *testing.T) {
						c.Need(t)
						s.skipTextual(t, k, f, m)
						s.Case(Case{Mode: m, Family: f, Server: k.Name, Client: c.Name}).Count(t)
						Job{Client: c, From: s.ClientHost(), Dial: s.Dial(s.ClientHost(), f, 0), Server: server,
							Mode: m, Size: size}.Verify(t)
					})
				}
			}
		}
	})
}

// skipTextual skips what the in-kernel helper cannot do with pyftpdlib.
func (s *Site) skipTextual(t *testing.T, k *ServerKind, f Family, m Mode) {
	if s.Subject.Kernel && k == Pyftpdlib && s.Position.NAT != nil && f == IPv6 && m == EPRT {
		t.Skip("the in-kernel helper writes IPv6 addresses in full, pyftpdlib compares texts")
	}
}
