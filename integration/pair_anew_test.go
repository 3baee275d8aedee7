// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestPairAnew makes the entry of a session anew, as conntrackd does when it commits,
// after lines that passed unread: the next session knows where its lines start.
func TestPairAnew(t *testing.T) {
	needDaemon(t)
	f := NewPair(t, position("routed"), AllowRelated, Claim, PairConf{}, "--fast-path", "auto")
	f.Site.Case(Case{Kind: "pair", Family: IPv4, State: "entry made anew"}).Count(t)
	m := f.Machines[0]
	m.daemon.needFastPath(t)
	d := f.Talk(t, f.ListenControl(t, IPv4), f.Client, IPv4)
	for range 3 {
		d.Exchange()
	}
	from, to := addrOf(d.Client.LocalAddr()), addrOf(d.Client.RemoteAddr())
	began := func() int {
		return strings.Count(m.daemon.Output(), fmt.Sprintf("msg=session client=%s ", from))
	}
	before := began()
	of := []string{"-p", "tcp", "-s", from.Addr().String(), "-d", to.Addr().String(), "--sport", fmt.Sprint(from.Port()), "--dport", fmt.Sprint(to.Port())}
	for _, args := range [][]string{
		append([]string{"conntrack", "-D"}, of...),
		append(append([]string{"conntrack", "-I"}, of...), "--state", "ESTABLISHED", "-t", "300", "-u", "SEEN_REPLY,ASSURED"),
	} {
		if out, err := m.Run(10*time.Second, Cmd(args...)); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	if err := waitFor(startTimeout, "session of the new entry", func() bool { return began() > before }); err != nil {
		t.Fatalf("%v\n%s", err, lastLines(m.daemon.Output(), 20))
	}
	d.Announce(PASV).MustOpen(t)
	d.Announce(PORT).MustOpen(t)
}
