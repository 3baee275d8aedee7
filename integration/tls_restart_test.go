// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/netip"
	"testing"
)

// TestTLSRangeAfterCrash: the range of an encrypted session is open again when
// the daemon is back.
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
