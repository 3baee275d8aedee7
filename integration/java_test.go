// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	_ "embed"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed testdata/Fetch.java
var fetchSource string

// TestJava downloads with java.net.URL, which accepts a 227 only in the usual
// wording, with both kinds of translation: the first client receives a shorter
// address than the server announces, the second a longer one. Java falls back to
// active mode silently; the server of one run has no EPSV.
func TestJava(t *testing.T) {
	needPrograms(t, "java", "javac")
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			site := NewSite(t, position("both-nat"), AllowRelated, s)
			compileFetch(t, site.Client)
			for _, m := range []Mode{EPSV, PASV} {
				for _, h := range []*Host{site.Client, site.Client2} {
					t.Run(string(m)+"/"+h.Role, func(t *testing.T) {
						site.Case(Case{Mode: m, Family: IPv4, Server: "mini", Client: "java"}).Count(t)
						site.fetchWithJava(t, h, m)
					})
				}
			}
		})
	}
}

// fetchDir is where the program is compiled, below a host's directory.
const fetchDir = "fetch"

func compileFetch(t *testing.T, h *Host) {
	t.Helper()
	source, err := h.File("Fetch.java", fetchSource)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := h.Run(time.Minute, Cmd("javac", "-d", filepath.Join(h.Dir, fetchDir), source)); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
}

// fetchWithJava makes Java on host h download three times from a server that
// supports EPSV only if m is EPSV, and checks that m was used.
func (s *Site) fetchWithJava(t *testing.T, h *Host, m Mode) {
	t.Helper()
	var mu sync.Mutex
	said := make(map[string]int)
	server := startMini(t, s.ServerHost())
	server.answer = func(line string) string {
		verb, _, _ := strings.Cut(line, " ")
		mu.Lock()
		defer mu.Unlock()
		said[verb]++
		if verb == string(EPSV) && m != EPSV {
			return "500 Unknown command."
		}
		return ""
	}
	server.listen(t, netip.AddrPortFrom(s.ServerAddr(IPv4), 21))
	defer server.stop()
	const runs = 3
	args := []string{"java", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(s.Client.Dir, fetchDir), "Fetch"}
	to := filepath.Join(h.Dir, "fetched")
	for range runs {
		args = append(args, "ftp://mini:mini@"+s.Dial(h, IPv4, 0).String()+"/medium", to)
	}
	if out, err := h.Run(time.Minute, Cmd(args...)); err != nil {
		t.Fatalf("java: %v\n%s", err, lastLines(out, 60))
	}
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, miniData[:]) {
		t.Errorf("%d bytes, %v, want the file", len(got), err)
	}
	mu.Lock()
	defer mu.Unlock()
	if said[string(m)] < runs || said[string(PORT)]+said[string(EPRT)] > 0 {
		t.Errorf("commands %v, want %s for all transfers", said, m)
	}
}
