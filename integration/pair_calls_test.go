// SPDX-License-Identifier: Apache-2.0

package integration

import "testing"

// TestPairCalls bounds the system calls of transfers in a pair. Beside those of one
// firewall (TestCalls), the daemon that has the session writes two messages, of a
// command that asks for a port and of its answer, and a third one at times, of what
// no one waits for; it reads an acknowledgement. The other one reads two or three and
// writes one. There is also what goes by the clock, and a busy machine writes log lines
// one by one, so the count has to be right once in some tries.
func TestPairCalls(t *testing.T) {
	needDaemon(t)
	t.Setenv("GOMAXPROCS", "1") // as in TestCalls
	const times, tries = 20, 40
	f := NewPair(t, pairNAT, AllowRelated, Expectation, PairConf{})
	f.Site.Case(Case{Kind: "system calls", Family: IPv4}).Count(t)
	d := f.Talk(t, f.ListenControl(t, IPv4), f.Client, IPv4)
	most := [2]calls{{6 * times, 10 * times}, {5 * times, times + times/4}}
	for i := range most { // more by the clock
		most[i].reads += 2 * times * int(slowness-1)
		most[i].writes += 2 * times * int(slowness-1)
	}
	var got [2]calls
	for range tries {
		var before [2]calls
		for i, m := range f.Machines {
			before[i] = m.daemon.calls(t)
		}
		for range times {
			d.Announce(PASV).MustOpen(t)
		}
		ok := true
		for i, m := range f.Machines {
			after := m.daemon.calls(t)
			got[i] = calls{after.reads - before[i].reads, after.writes - before[i].writes}
			ok = ok && got[i].reads <= most[i].reads && got[i].writes <= most[i].writes
		}
		if ok {
			return
		}
	}
	t.Errorf("%+v for %d transfers, want at most %+v", got, times, most)
}
