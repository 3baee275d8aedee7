// SPDX-License-Identifier: Apache-2.0

//go:build bench

package integration

import (
	"io"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// bench is a site with a server of its own: both ends of all connections are
// in this process, so that no FTP program is measured.
type bench struct {
	site *Site
	mu   sync.Mutex
	idle []*miniSession
}

func newBench(t *testing.T, position string, s Subject) *bench {
	i := slices.IndexFunc(Positions, func(p Position) bool { return p.Name == position })
	site := NewSite(t, Positions[i], AllowRelated, s)
	if s.Name == Open.Name {
		site.Firewalls[0].LoadRules(t, "insert rule inet filter forward accept")
	}
	startMini(t, site.ServerHost(), netip.AddrPortFrom(site.ServerAddr(IPv4), 21))
	return &bench{site: site}
}

func (b *bench) login() (*miniSession, error) {
	h := b.site.ClientHost()
	return miniLogin(h, b.site.Dial(h, IPv4, 0))
}

// sessions returns n sessions that are logged in; those of earlier rounds are
// used again.
func (b *bench) sessions(t *testing.T, n int) []*miniSession {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.idle) < n {
		s, err := b.login()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.c.Close() })
		b.idle = append(b.idle, s)
	}
	return b.idle[:n]
}

// transfers are fetched by so many sessions at once, per second.
func (b *bench) transfers(t *testing.T, m Mode, sessions int) float64 {
	var done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for _, s := range b.sessions(t, sessions) {
		wg.Go(func() {
			for time.Since(start) < *benchTime {
				if n, err := s.transfer(m, "small", io.Discard); err != nil || n != miniSmall {
					t.Errorf("%s: transfer of %d bytes: %v", b.site.Subject.Name, n, err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}

// noop is a quantile of the round-trip time of NOOP, in microseconds.
func (b *bench) noop(t *testing.T, quantile float64) float64 {
	s := b.sessions(t, 1)[0]
	times := make([]time.Duration, 2000)
	for i := range times {
		start := time.Now()
		if _, err := s.command("NOOP"); err != nil {
			t.Fatal(err)
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return float64(times[int(quantile*float64(len(times)))].Nanoseconds()) / 1000
}

// logins are control connections per second, from the SYN to the last reply.
func (b *bench) logins(t *testing.T) float64 {
	n := 0
	start := time.Now()
	for ; time.Since(start) < *benchTime; n++ {
		s, err := b.login()
		if err != nil {
			t.Fatal(err)
		}
		s.c.Close()
	}
	return float64(n) / time.Since(start).Seconds()
}

// bulk is the throughput of a large file, in megabytes per second.
func (b *bench) bulk(t *testing.T) float64 {
	s := b.sessions(t, 1)[0]
	start := time.Now()
	n, err := s.transfer(PASV, "big", io.Discard)
	if err != nil || n != miniBig {
		t.Fatalf("transfer of %d bytes: %v", n, err)
	}
	return float64(n) / 1e6 / time.Since(start).Seconds()
}
