// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"testing"
)

// TestPairBothCrash: the daemons of both machines crash before one can learn from
// the other, and later the machine with the sessions crashes, too. What its
// kernel kept of them continues on the other machine.
func TestPairBothCrash(t *testing.T) {
	needDaemon(t)
	for _, c := range []struct {
		position Position
		subject  Subject
		allow    Allow
		conf     PairConf
	}{
		{position("routed"), Expectation, AllowRelated, PairConf{}},
		{pairNAT, Claim, AllowMark, PairConf{NoExternalCache: true}},
	} {
		t.Run(fmt.Sprintf("%s/%s/%s/%s", c.position.Name, c.subject.Name, c.allow, c.conf), func(t *testing.T) {
			f := NewPair(t, c.position, c.allow, c.subject, c.conf)
			ln := f.ListenControl(t, IPv4)
			var talks []*Dialogue
			var offers []*Offer
			for _, m := range []Mode{PASV, PORT} {
				d := f.Talk(t, ln, f.Client, IPv4)
				talks, offers = append(talks, d), append(offers, d.Announce(m))
			}
			for _, d := range talks {
				f.waitCarried(t, 1, d)
			}
			for _, m := range f.Machines {
				if err := m.daemon.Crash(); err != nil {
					t.Fatal(err)
				}
			}
			for _, m := range f.Machines {
				f.startDaemon(t, m)
			}
			f.Crash(t, 0)
			for i, o := range offers {
				f.Site.Case(Case{Kind: "pair"}).Count(t)
				o.MustOpen(t)
				o.MustRefuse(t, o.Opener, "a second time")
				talks[i].Exchange()
			}
		})
	}
}
