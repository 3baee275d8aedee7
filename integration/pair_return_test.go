// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"testing"
	"time"
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

// TestPairIdleReturn: sessions that are idle move to the other machine. The first one
// forgets their entries, as after conntrackd -t, and gets them back later, before or after
// the sessions' next packets.
func TestPairIdleReturn(t *testing.T) {
	needDaemon(t)
	for _, hurry := range []bool{false, true} {
		for _, c := range []struct {
			position Position
			subject  Subject
			allow    Allow
			conf     PairConf
		}{
			{pairNAT, Expectation, AllowRelated, PairConf{}},
			{pairNAT, Claim, AllowChain, PairConf{NoTrack: true}},
			{position("routed"), Auto, AllowMark, PairConf{}},
		} {
			t.Run(fmt.Sprintf("%s/%s/%s/%s/hurry %t", c.position.Name, c.subject.Name, c.allow, c.conf, hurry), func(t *testing.T) {
				t.Parallel()
				f := NewPair(t, c.position, c.allow, c.subject, c.conf)
				f.hurry = hurry
				ln := f.ListenControl(t, IPv4)
				idle, rewritten, encrypted := f.Talk(t, ln, f.Client, IPv4), f.Talk(t, ln, f.Client, IPv4), f.Talk(t, ln, f.Client, IPv4)
				idle.Exchange()
				for _, d := range []*Dialogue{rewritten, encrypted} {
					for _, m := range []Mode{PASV, PORT} {
						d.Announce(m).MustOpen(t).Close()
					}
				}
				encrypted.Command("AUTH TLS")
				encrypted.Reply("234 go ahead")
				f.waitSynced(t, 1)
				f.Move(t, 0)
				m := f.Machines[0]
				if out, err := m.Run(10*time.Second, Cmd("conntrack", "-F")); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				if err := waitFor(startTimeout, "end of the sessions", func() bool {
					s, err := m.daemon.Status()
					return err == nil && s["sessions"] == 0.0
				}); err != nil {
					t.Fatal(err)
				}
				m.resync(t)
				f.waitSynced(t, 0)
				time.Sleep(12 * time.Second) // longer than a daemon waits for an entry to be made anew
				f.Back(t)
				f.Site.Case(Case{Kind: "pair, idle return", Sync: c.conf.String()}).Count(t)
				encrypted.Reply("\x17\x03\x03") // the server sends first
				for _, d := range []*Dialogue{idle, rewritten} {
					d.Exchange()
					d.Announce(PASV).MustOpen(t)
					d.Announce(PORT).MustOpen(t)
				}
			})
		}
	}
}
