// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// trips counts what a daemon has seen: packets in its queues, and lines that
// passed in the kernel.
type trips struct{ queued, unread int }

func (d *Daemon) trips(t *testing.T) trips {
	t.Helper()
	s, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	n := trips{unread: int(s["lines_unread"].(float64))}
	for _, q := range s["queues"].([]any) {
		n.queued += int(q.(Object)["packets"].(float64))
	}
	return n
}

// needFastPath skips the test where the daemon has no fast path.
func (d *Daemon) needFastPath(t *testing.T) {
	t.Helper()
	s, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	if s["features"].(Object)["fast-path"] != true {
		t.Skip("no fast path here: the daemon's log says why")
	}
}

// miniSite is a site with a miniServer, and a logged-in session on it.
func miniSite(t *testing.T, name string, s Subject, flags ...string) (*Site, *Daemon, *miniSession) {
	t.Helper()
	site := NewSiteOnly(t, position(name), AllowRelated, s)
	d := site.StartDaemon(t, site.Firewalls[0], flags...)
	startMini(t, site.ServerHost(), netip.AddrPortFrom(site.ServerAddr(IPv4), 21))
	c, err := miniLogin(site.ClientHost(), site.Dial(site.ClientHost(), IPv4, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.c.Close() })
	return site, d, c
}

// TestTrips: of a transfer only the announcement reaches the daemon, the 227 or
// the PORT, and of a NOOP nothing. A busy machine retransmits segments, which are
// queued; so the count has to be right in one of several tries.
func TestTrips(t *testing.T) {
	const times = 10
	transfer := func(m Mode) func(*miniSession) error {
		return func(c *miniSession) error {
			n, err := c.transfer(m, "small", io.Discard)
			if err == nil && n != miniSmall {
				err = fmt.Errorf("%d bytes", n)
			}
			return err
		}
	}
	for _, tt := range []struct {
		name, flag string
		do         func(*miniSession) error
		want       trips // each time
	}{
		{"PASV", "auto", transfer(PASV), trips{queued: 1, unread: 4}},
		{"EPSV", "auto", transfer(EPSV), trips{queued: 1, unread: 4}},
		{"PORT", "auto", transfer(PORT), trips{queued: 1, unread: 4}},
		{"NOOP", "auto", func(c *miniSession) error { _, err := c.command("NOOP"); return err }, trips{unread: 2}},
		{"PASV, off", "off", transfer(PASV), trips{queued: 5}},
		{"PORT, off", "off", transfer(PORT), trips{queued: 5}},
	} {
		for _, s := range subjects(t) {
			t.Run("masquerade/"+s.Name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				site, d, c := miniSite(t, "masquerade", s, "--fast-path", tt.flag)
				if tt.flag == "auto" {
					d.needFastPath(t)
				}
				site.Case(Case{Kind: "trips to the daemon", Family: IPv4}).Count(t)
				if err := tt.do(c); err != nil { // the first one arms the connection
					t.Fatal(err)
				}
				want := trips{times * tt.want.queued, times * tt.want.unread}
				if s.Strategy == "claim" && tt.name != "NOOP" {
					want.queued += times // the SYN of the data connection
				}
				var got trips
				for range 10 {
					before := d.trips(t)
					for range times {
						if err := tt.do(c); err != nil {
							t.Fatal(err)
						}
					}
					after := d.trips(t)
					if got = (trips{after.queued - before.queued, after.unread - before.unread}); got == want {
						return
					}
				}
				t.Errorf("%+v for %d times, want %+v", got, times, want)
			})
		}
	}
}

// TestFastPathCrash: without the daemon no line passes the filter any more, as if
// there had never been a fast path; the next daemon starts anew.
func TestFastPathCrash(t *testing.T) {
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site, d, c := miniSite(t, "masquerade", s, "--fast-path", "auto", "--fail", "closed")
			d.needFastPath(t)
			site.Case(Case{Kind: "fast path and crash", Family: IPv4}).Count(t)
			for range 3 {
				if _, err := c.command("NOOP"); err != nil {
					t.Fatal(err)
				}
			}
			if d.trips(t).unread == 0 {
				t.Fatal("no line passes unread")
			}
			if err := d.Crash(); err != nil {
				t.Fatal(err)
			}
			unanswered := func() bool { // the kernel empties the array a moment after the daemon's end
				if _, err := io.WriteString(c.c, "NOOP\r\n"); err != nil {
					t.Fatal(err)
				}
				c.c.SetReadDeadline(time.Now().Add(time.Second))
				_, err := c.in.ReadString('\n')
				return err != nil
			}
			if err := waitFor(10*time.Second, "a line that does not pass", unanswered); err != nil {
				t.Fatal(err)
			}
			site.StartDaemon(t, site.Firewalls[0], "--fast-path", "auto", "--fail", "closed")
			if line, err := c.reply(); err != nil { // to the NOOP, which TCP retransmits
				t.Fatal(line, err)
			}
			for _, m := range []Mode{PASV, PORT, PASV} {
				if _, err := c.transfer(m, "small", io.Discard); err != nil {
					t.Errorf("%s: %v", m, err)
				}
			}
		})
	}
}

// TestFastPathHeal removes our rules while a connection is armed: lines pass
// uncounted, and afterwards announcements must work as before.
func TestFastPathHeal(t *testing.T) {
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site, d, c := miniSite(t, "masquerade", s, "--fast-path", "auto")
			d.needFastPath(t)
			site.Case(Case{Kind: "fast path and healing", Family: IPv4}).Count(t)
			for i := range 20 {
				if _, err := c.command("NOOP"); err != nil {
					t.Fatal(err)
				}
				if i%4 == 0 {
					if out, err := site.Firewalls[0].Run(10*time.Second, Cmd("nft", "delete", "table", "inet", "pasvport")); err != nil {
						t.Fatal(err, out)
					}
				}
				if _, err := c.command("NOOP"); err != nil {
					t.Fatal(err)
				}
				if err := waitFor(20*time.Second, "healing", func() bool { return d.heals() > i/4 }); err != nil {
					t.Fatal(err)
				}
				// As far as the daemon knows, what passed meanwhile may have
				// ended in the middle of a line.
				if _, err := c.command("NOOP"); err != nil {
					t.Fatal(err)
				}
				m := []Mode{PASV, PORT, EPSV}[i%3]
				if _, err := c.transfer(m, "small", io.Discard); err != nil {
					t.Fatalf("%s: %v", m, err)
				}
			}
		})
	}
}

// TestFastPathOff: --fast-path off, and flags that need every packet, leave
// every line to the daemon.
func TestFastPathOff(t *testing.T) {
	for _, flags := range [][]string{{"--fast-path", "off"}, {"--fast-path", "auto", "--keepalive", "30s"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			_, d, c := miniSite(t, "routed", Expectation, flags...)
			for range 3 {
				if _, err := c.command("NOOP"); err != nil {
					t.Fatal(err)
				}
			}
			if n := d.trips(t); n.unread != 0 || n.queued < 6 {
				t.Errorf("%+v", n)
			}
		})
	}
}
