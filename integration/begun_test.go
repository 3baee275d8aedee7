// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
)

// TestBegunWhileListed: the daemon is ready before it has listed all connections
// that are older than it. A connection that begins meanwhile is not one of them:
// without a greeting nothing is opened.
func TestBegunWhileListed(t *testing.T) {
	needDaemon(t)
	for _, s := range []Subject{Auto, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSiteOnly(t, position("routed"), AllowRelated, s)
			site.Case(Case{Mode: PORT, Family: IPv4, Kind: "begun while listed"}).Count(t)
			ln := site.ListenControl(t, IPv4)
			older := site.connect(t, ln, site.Client, IPv4, netip.AddrPort{})
			makeEntries(t, site.Firewalls[0], 20_000, expect.Forgotten{Timeout: time.Hour})
			site.StartSubject(t)
			d := site.connect(t, ln, site.Client, IPv4, netip.AddrPort{})
			d.Announce(PORT).MustRefuse(t, site.Server, "the server has not said 220")
			older.Exchange()
			older.Announce(PORT).MustOpen(t)
		})
	}
}

// makeEntries creates n control connections in conntrack that are like x except
// for their addresses.
func makeEntries(t *testing.T, fw *Host, n int, x expect.Forgotten) {
	t.Helper()
	err := fw.Enter(func() error {
		c, err := expect.Dial()
		if err != nil {
			return err
		}
		defer c.Close()
		for i := range n {
			client := netip.AddrFrom4([4]byte{100, 64 | byte(i>>16), byte(i >> 8), byte(i)})
			x.Original = expect.Tuple{Src: netip.AddrPortFrom(client, 40000), Dst: netip.AddrPortFrom(serverAddr[IPv4], 21)}
			if err := c.Restore(x); err != nil {
				return fmt.Errorf("entry %d: %w", i, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
