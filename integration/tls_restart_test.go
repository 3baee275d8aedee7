// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/netip"
	"syscall"
	"testing"
)

// TestTLSRangeAfterCrash: the range of an encrypted session is open again after a
// restart of the daemon.
func TestTLSRangeAfterCrash(t *testing.T) {
	site := NewSite(t, Positions[0], AllowRelated, Auto, "--tls", "range="+tlsRange)
	ln := site.ListenControl(t, IPv4)
	data, err := site.ServerHost().Listen(netip.AddrPortFrom(site.ServerAddr(IPv4), tlsRangePort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { data.Close() })
	o := &Offer{To: netip.AddrPortFrom(site.Dial(site.Client, IPv4, 0).Addr(), tlsRangePort), Opener: site.Client, listener: data}
	go o.serve()

	d := site.Talk(t, ln, site.Client, IPv4)
	d.Command("AUTH TLS")
	d.Reply("234 go ahead")
	o.MustOpen(t)
	if err := site.Daemons[0].Crash(); err != nil {
		t.Fatal(err)
	}
	o.MustRefuse(t, site.Client, "while no daemon runs")
	site.StartDaemon(t, site.Firewalls[0], "--tls", "range="+tlsRange)
	o.MustOpen(t)
	o.MustRefuse(t, site.Client2, "another client")
}

// TestTLSRangeNotForOthers: an encrypted session opens its range; a session that
// is left alone for another reason opens none, before and after any kind of
// restart.
func TestTLSRangeNotForOthers(t *testing.T) {
	restarts := []struct {
		name string
		do   func(*testing.T, *Site, ...string)
	}{
		{"planned", func(t *testing.T, s *Site, flags ...string) { s.replace(t, flags...) }},
		{"terminated", func(t *testing.T, s *Site, flags ...string) {
			if status, err := s.Daemons[0].Stop(syscall.SIGTERM); status != 0 || err != nil {
				t.Fatalf("exit status %d, %v", status, err)
			}
			s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0], flags...)
		}},
		{"killed", func(t *testing.T, s *Site, flags ...string) {
			if err := s.Daemons[0].Crash(); err != nil {
				t.Fatal(err)
			}
			s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0], flags...)
		}},
	}
	flags := []string{"--tls", "range=" + tlsRange, "--max-client-sessions", "2"}
	for _, r := range restarts {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			needDaemon(t)
			site := NewSite(t, Positions[0], AllowRelated, Auto, flags...)
			site.Case(Case{Kind: "tls"}).Count(t)
			ln := site.ListenControl(t, IPv4)
			data, err := site.ServerHost().Listen(netip.AddrPortFrom(site.ServerAddr(IPv4), tlsRangePort))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { data.Close() })
			o := &Offer{To: netip.AddrPortFrom(site.Dial(site.Client, IPv4, 0).Addr(), tlsRangePort), Opener: site.Client, listener: data}
			go o.serve()

			site.Talk(t, ln, site.Client, IPv4) // is read
			foreign := site.connect(t, ln, site.Client, IPv4, netip.AddrPort{})
			foreign.Reply("220 ready")
			foreign.Command("GET / HTTP/1.1")
			site.Talk(t, ln, site.Client, IPv4)         // exceeds the limit
			tls := site.Talk(t, ln, site.Client2, IPv4) // is encrypted
			tls.Command("AUTH TLS")
			tls.Reply("234 go ahead")
			n := site.decisions(t)
			if n["not-ftp"] == 0 || n["too-many-sessions-of-client"] == 0 {
				t.Errorf("decisions: %v", n)
			}
			for _, when := range []string{"before", "after"} {
				o.Opener = site.Client2
				o.MustOpen(t)
				o.MustRefuse(t, site.Client, when+" the restart, from a client without an encrypted session")
				if when == "before" {
					r.do(t, site, flags...)
				}
			}
		})
	}
}
