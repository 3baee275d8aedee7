// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/netip"
	"strings"
	"testing"
)

// TestUsedOrClosed announces one port after the other, each as soon as the data
// connection of the last has arrived. conntrack reports data connections
// asynchronously to the packets, and still each pinhole must count as used, not
// as closed by the next announcement.
func TestUsedOrClosed(t *testing.T) {
	needDaemon(t)
	const rounds = 60
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("masquerade"), AllowRelated, s)
			site.Case(Case{Family: IPv4, Kind: "used or closed"}).Count(t)
			d := site.connect(t, site.ListenControl(t, IPv4), site.Client, IPv4, netip.AddrPort{})
			d.Reply("220 ready")
			d.login()
			for i := range rounds {
				d.Announce([]Mode{PASV, PORT}[i%2]).MustOpen(t).Close()
			}
			d.Command("NOOP")
			d.Reply("200 zzz")
			if err := site.Daemons[0].WaitLog(openTimeout, `msg="pinhole used"`); err != nil {
				t.Fatal(err)
			}
			if out := site.Daemons[0].Output(); strings.Contains(out, `msg="pinhole closed"`) {
				t.Errorf("a used pinhole was reported as closed:\n%s", out)
			}
		})
	}
}
