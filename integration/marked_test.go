// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"
)

const countMarked = `table inet marked {
	counter data { }
	counter control { }
	chain forward {
		type filter hook forward priority filter - 10; policy accept;
		tcp flags & (syn | ack) == syn ct mark & 0x10 == 0x10 counter name data
		tcp dport 21 ct mark & 0x10 == 0x10 counter name control
	}
}
`

// TestMark: data connections have the mark of their session's policy from their
// first packet on, their control connection has no mark, nor have sessions of
// another policy.
func TestMark(t *testing.T) {
	needDaemon(t)
	for _, s := range []Subject{Auto, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSiteOnly(t, position("masquerade"), AllowRelated, s)
			file := "strategy: " + s.Strategy + "\npolicies:\n  - client: " + site.ClientAddr(IPv4).String() + "\n    mark: 0x10\n"
			site.startWithFile(t, file)
			site.Firewalls[0].LoadRules(t, countMarked)
			ln := site.ListenControl(t, IPv4)
			marked := func() string {
				out, err := site.Firewalls[0].Run(startTimeout, Cmd("nft", "list", "counters"))
				if err != nil {
					t.Fatal(err)
				}
				return strings.Join(strings.Fields(out), " ")
			}
			d := site.Talk(t, ln, site.Client, IPv4)
			d.Announce(PASV).MustOpen(t)
			d.Announce(PORT).MustOpen(t)
			if got := marked(); !strings.Contains(got, "counter data { packets 2 ") || !strings.Contains(got, "counter control { packets 0 ") {
				t.Errorf("with a mark: %s", got)
			}
			site.Talk(t, ln, site.Client2, IPv4).Announce(PASV).MustOpen(t)
			if got := marked(); !strings.Contains(got, "counter data { packets 2 ") {
				t.Errorf("without: %s", got)
			}
		})
	}
}
