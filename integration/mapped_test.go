// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
)

// outerRules are those of a firewall that knows nothing of FTP: it accepts
// control connections, and new connections to these ports.
const outerRules = `flush chain inet filter common
add rule inet filter common iifname "lo" accept
add rule inet filter common icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept
add rule inet filter common ct state established accept
add rule inet filter forward tcp dport 50000-50002 accept
`

func inRange(port uint16) bool { return port >= 50000 && port <= 50002 }

// TestMapDataPorts: transfers in both modes pass a firewall that opens only a
// range of ports; with more sessions than ports, and with ports that are free
// again.
func TestMapDataPorts(t *testing.T) {
	needDaemon(t)
	masqueraded := Position{Name: "masqueraded", Firewalls: 2, Hidden: true, NAT: []NAT{{Post: masquerade}}}
	for active, positions := range map[bool][]Position{
		false: {position("two-firewalls"), position("two-firewalls-nat")}, true: {position("two-firewalls"), masqueraded},
	} {
		for _, p := range positions {
			for _, f := range []Family{IPv4, IPv6} {
				for _, s := range subjects(t) {
					t.Run(fmt.Sprint(p.Name, "/", f, "/active=", active, "/", s.Name), func(t *testing.T) {
						t.Parallel()
						site := NewSiteOnly(t, p, AllowRelated, s)
						// The pasvport firewall is next to the end that
						// announces.
						own, outer := site.Firewalls[1], site.Firewalls[0]
						if active {
							own, outer = outer, own
						}
						outer.LoadRules(t, outerRules)
						site.Daemons = append(site.Daemons, site.StartDaemon(t, own, "--map-data-ports", "50000-50002"))
						ln := site.ListenControl(t, f)
						modes := f.Modes()
						for _, m := range modes {
							if m.Active() == active {
								site.mapsPorts(t, site.Talk(t, ln, site.Client, f), m)
								site.exhausts(t, m, func() *Dialogue { return site.Talk(t, ln, site.Client, f) })
							}
						}
					})
				}
			}
		}
	}
}

// mapsPorts opens data connections one after the other, all of which stay open.
func (s *Site) mapsPorts(t *testing.T, d *Dialogue, m Mode) {
	t.Helper()
	for range 4 {
		o := d.Announce(m)
		if !inRange(o.To.Port()) {
			t.Errorf("%s: the far side received port %d", m, o.To.Port())
		}
		o.MustOpen(t)
	}
}

// exhausts: three sessions use up all ports, and a fourth gets one once it is
// free again.
func (s *Site) exhausts(t *testing.T, m Mode, talk func() *Dialogue) {
	t.Helper()
	var sessions []*Dialogue
	var offers []*Offer
	have := map[uint16]bool{}
	for range 3 {
		d := talk()
		o := d.Announce(m)
		sessions, offers = append(sessions, d), append(offers, o)
		have[o.To.Port()] = true
	}
	if len(have) != 3 || !inRange(offers[0].To.Port()) {
		t.Errorf("%s: three sessions have ports %v", m, have)
	}
	d := talk()
	before := s.decisions(t)["ports-exhausted"]
	if o := d.Announce(m); inRange(o.To.Port()) {
		t.Errorf("%s: a fourth session has port %d", m, o.To.Port())
	}
	if n := s.decisions(t)["ports-exhausted"]; n != before+1 {
		t.Errorf("%s: %v times ports-exhausted, want one more than %v", m, n, before)
	}
	sessions[1].Command("QUIT")
	sessions[1].Reply("221 bye")
	o := d.Announce(m)
	if o.To.Port() != offers[1].To.Port() {
		t.Errorf("%s: port %d, want %d, which is free again", m, o.To.Port(), offers[1].To.Port())
	}
	for _, o := range []*Offer{o, offers[0], offers[2]} {
		o.MustOpen(t)
	}
	for _, d := range append(sessions, d) {
		d.Client.Close()
		d.Server.Close()
	}
	err := waitFor(startTimeout, "the end of the sessions", func() bool {
		status, err := s.Daemons[0].Status()
		return err == nil && fmt.Sprint(status["pinholes_open"]) == "0"
	})
	if err != nil {
		t.Error(err)
	}
}

// TestMapDataPortsPositions: in every position of the firewall the far side
// receives a port of the range, and the data connection opens.
func TestMapDataPortsPositions(t *testing.T) {
	needDaemon(t)
	for _, p := range Positions {
		for _, s := range subjects(t) {
			t.Run(p.Name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, p, AllowRelated, s, "--map-data-ports", "50000-50002")
				for _, f := range p.families() {
					d := site.Talk(t, site.ListenControl(t, f), site.ClientHost(), f)
					for _, m := range f.Modes() {
						o := d.Announce(m)
						if !inRange(o.To.Port()) {
							t.Errorf("%s over %s: the far side received port %d", m, f, o.To.Port())
						}
						o.MustOpen(t)
					}
				}
				if log := site.Daemons[0].Output(); strings.Contains(log, "level=ERROR") {
					t.Errorf("errors in the log:\n%s", log)
				}
			})
		}
	}
}
