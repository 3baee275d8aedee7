// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// smallFile is the file size of the quick cases: more than one segment.
const smallFile = 50_000

// TestPositions is the matrix of position, strategy, family and mode, with a
// client and a server that do exactly what they are asked to.
func TestPositions(t *testing.T) {
	for _, p := range Positions {
		for _, s := range subjects(t) {
			t.Run(p.Name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				testPosition(t, NewSite(t, p, AllowRelated, s))
			})
		}
	}
}

func testPosition(t *testing.T, site *Site) {
	p := site.Position
	Ftplib.Need(t)
	server := site.StartServer(t, Pyftpdlib)
	for _, f := range p.families() {
		for i, port := range p.dialled() {
			for _, m := range f.Modes() {
				t.Run(fmt.Sprintf("%s/%d/%s", f, port, m), func(t *testing.T) {
					site.skipTextual(t, Pyftpdlib, f, m)
					site.Case(Case{Mode: m, Family: f, Server: "pyftpdlib", Client: "ftplib"}).Count(t)
					Job{Client: Ftplib, From: site.ClientHost(), Dial: site.Dial(site.ClientHost(), f, i), Server: server,
						Mode: m, Size: smallFile}.Verify(t)
				})
			}
		}
	}
}

// TestNothing is the control experiment: with the same rulesets and no subject no
// transfer may succeed, or the other tests prove nothing. The control connection
// works, up to the verb that announces the data connection.
func TestNothing(t *testing.T) {
	for _, p := range Positions {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, p, AllowRelated, Nothing)
			Ftplib.Need(t)
			server := site.StartServer(t, Vsftpd)
			for _, m := range p.familyModes() {
				t.Run(fmt.Sprintf("%s/%s", m.Family, m.Mode), func(t *testing.T) {
					t.Parallel()
					site.Case(Case{Mode: m.Mode, Family: m.Family, Kind: "fails without pasvport"}).Count(t)
					j := Job{Client: Ftplib, From: site.ClientHost(), Dial: site.Dial(site.ClientHost(), m.Family, 0), Server: server,
						Mode: m.Mode, Size: 1000, Timeout: 2 * time.Second}
					out, err := j.Do()
					if err == nil {
						t.Errorf("a transfer succeeded:\n%s", out)
					} else if !strings.Contains(out, "< 230") || !strings.Contains(out, string("> "+m.Mode)) {
						t.Errorf("it failed for another reason: %v\n%s", err, out)
					}
				})
			}
		})
	}
}

// Case fills in a case's fields from the site.
func (s *Site) Case(c Case) Case {
	c.Position, c.Subject, c.Allow = s.Position.Name, s.Subject.Name, s.Allow
	if c.Kind == "" {
		c.Kind = "transfer"
	}
	return c
}

// StartServer starts a server on the position's ports and families.
func (s *Site) StartServer(t *testing.T, k *ServerKind) *Server {
	t.Helper()
	var listen []netip.AddrPort
	for _, f := range s.Position.families() {
		for _, port := range s.Position.listening() {
			listen = append(listen, netip.AddrPortFrom(s.ServerAddr(f), port))
		}
	}
	return s.ServerHost().StartServer(t, k, listen...)
}
