// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// The second group of addresses of a pair in which both machines are active.
var (
	secondIn   = pair("10.7.0.11", "fd07::11")
	secondOut  = pair("203.0.113.12", "2001:db8:113::12")
	secondSNAT = pair("203.0.113.89", "2001:db8:113::89")
)

// TestPairBothActive: each machine serves the sessions of one client, until one
// of them takes over all.
func TestPairBothActive(t *testing.T) {
	needDaemon(t)
	place := Position{Name: "both-active", Hidden: true, NAT: []NAT{{Post: `oifname "out*" ip saddr 10.7.0.2 snat to 203.0.113.88
		oifname "out*" ip saddr 10.7.0.3 snat to 203.0.113.89`}}}
	groups := []vrrpGroup{oneGroup[0], {1, secondIn, secondOut, []netip.Addr{secondSNAT[IPv4], secondSNAT[IPv6]}}}
	for i, conf := range pairConfs {
		t.Run(conf.String(), func(t *testing.T) {
			t.Parallel()
			f := newPair(t, place, AllowRelated, pairSubjects[i], conf, groups)
			f.StartDaemons(t)
			ln := f.ListenControl(t, IPv4)
			var list []*pairSession
			for _, h := range []*Host{f.Client, f.Client2} {
				for _, st := range pairStates {
					if st.older || st.mute {
						continue
					}
					st.name += " of " + h.Role
					list = append(list, &pairSession{state: st, talk: f.Talk(t, ln, h, IPv4)})
				}
			}
			for _, x := range list {
				x.then = x.state.begin(t, f, x.talk)
			}
			f.waitAllCarried(t, 1, slices.DeleteFunc(slices.Clone(list), func(x *pairSession) bool { return x.talk.from != f.Client }))
			f.Crash(t, 0)
			eachSession(t, "then", list, func(t *testing.T, x *pairSession) {
				f.Site.Case(Case{Kind: "pair, both active", Sync: conf.String()}).Count(t)
				x.then(t)
				x.speaks(t)
			})
			for _, x := range list {
				x.talk.Client.Close()
				x.talk.Server.Close()
			}
			f.NothingOpen(t)
		})
	}
}

// TestPairAsymmetric: one machine sees the packets of the client, the other one
// those of the server. The control connection survives that, and works fully
// again once one machine sees both. What is announced meanwhile may be refused:
// the machine that reads the reply may not know the command yet.
func TestPairAsymmetric(t *testing.T) {
	needDaemon(t)
	groups := []vrrpGroup{{0, clientGate, nil, nil}, {1, nil, serverGate, nil}}
	for _, subject := range []Subject{Expectation, Claim} {
		t.Run(subject.Name, func(t *testing.T) {
			t.Parallel()
			f := newPair(t, position("routed"), AllowRelated, subject, PairConf{NoExternalCache: true}, groups)
			for i, m := range f.Machines { // both have a route to either side
				for dev, a := range map[string]string{"in0": "10.7.0.%d", "out0": "203.0.113.%d"} {
					if err := m.address(dev, Pair{IPv4: netip.MustParseAddr(fmt.Sprintf(a, 251+i))}); err != nil {
						t.Fatal(err)
					}
				}
			}
			f.StartDaemons(t)
			f.Site.Case(Case{Kind: "pair, asymmetric"}).Count(t)
			d := f.Talk(t, f.ListenControl(t, IPv4), f.Client, IPv4)
			begun := time.Now()
			for range 3 {
				d.Exchange()
			}
			t.Logf("by way of both: an exchange takes %v", time.Since(begun)/3)
			f.waitCarried(t, 1, d)
			f.Crash(t, 0)
			d.Exchange()
			d.Announce(PASV).MustOpen(t)
			d.Announce(PORT).MustOpen(t)
		})
	}
}
