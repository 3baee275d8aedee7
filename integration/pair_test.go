// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// pairSetup is how a pair is built, and how it fails over.
type pairSetup struct {
	position Position
	family   Family
	subject  Subject
	allow    Allow
	conf     PairConf
	flags    pairFlags
	failover pairFailover
	hurry    bool // the sessions send before conntrackd has committed
}

// pairFlags are further flags of the daemons.
type pairFlags struct {
	name  string
	flags []string
}

func (s pairSetup) String() string {
	return strings.ReplaceAll(fmt.Sprintf("%s/%s/%s/%s/%s/%s/%s", s.failover.name, s.position.Name, s.family, s.subject.Name, s.allow, s.conf, s.flags.name), " ", "-")
}

// The values of each dimension.
var (
	pairPlaces = []struct {
		position Position
		family   Family
	}{
		{position("routed"), IPv4}, {position("routed"), IPv6}, {position("snat"), IPv4}, {position("dnat-to-2121"), IPv4},
		{pairNAT, IPv4}, {position("nat66"), IPv6}, {pairVirtual, IPv4},
	}
	pairSubjects = []Subject{Expectation, Claim, Auto}
	pairAllows   = []Allow{AllowRelated, AllowMark, AllowChain}
	pairConfs    = []PairConf{{}, {NoExternalCache: true}, {NoTrack: true}}
	pairKinds    = []pairFlags{
		{"plain", nil},
		{"fast-path", []string{"--fast-path", "auto"}},
		{"strict", []string{"--checks", "strict"}},
		{"idle", []string{"--session-idle", "10m", "--keepalive", "1m"}},
		{"mapped", []string{"--map-data-ports", "34000-49999"}},
	}
)

// pairSizes are the numbers of values of the dimensions, in the order of
// pairSetupOf.
func pairSizes() []int {
	return []int{len(pairFailovers), len(pairPlaces), len(pairKinds), len(pairConfs), len(pairAllows), len(pairSubjects)}
}

func pairSetupOf(v []int) pairSetup {
	return pairSetup{failover: pairFailovers[v[0]], position: pairPlaces[v[1]].position, family: pairPlaces[v[1]].family,
		flags: pairKinds[v[2]], conf: pairConfs[v[3]], allow: pairAllows[v[4]], subject: pairSubjects[v[5]]}
}

// TestPair: whatever a session is in the middle of continues on the machine that
// takes the addresses over, and nothing is open that was not announced, was used
// already, or whose session has ended. It tries all states at once, each with
// sessions of its own.
//
// Each value of each dimension occurs in a set-up, and the sessions send after
// conntrackd has committed. With PASVPORT_PAIR=pairs any two values of two
// dimensions occur together, with all any three of three, and in every other
// set-up the sessions send before the commit.
func TestPair(t *testing.T) {
	needDaemon(t)
	strength, all := 1, false
	switch os.Getenv("PASVPORT_PAIR") {
	case "pairs":
		strength = 2
	case "all":
		strength, all = 3, true
	}
	for i, v := range covering(pairSizes(), strength) {
		s := pairSetupOf(v)
		s.hurry = all && i%2 == 1
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			s.run(t)
		})
	}
}

// pairSession is a session in a state.
type pairSession struct {
	state pairState
	talk  *Dialogue
	then  func(*testing.T)
}

func (s pairSetup) run(t *testing.T) {
	// On a busy machine a failover may take as long as a pinhole is open by default.
	flags := append([]string{"--pinhole-timeout", "2m"}, s.flags.flags...)
	states := slices.DeleteFunc(slices.Clone(pairStates), func(st pairState) bool {
		return st.again && s.failover.alone ||
			s.subject == Expectation && (st.older || st.mute) // nothing is expected of these
	})
	if s.subject != Expectation {
		flags = append([]string{"--tls", "range=" + tlsRange}, flags...)
	}
	if s.failover.closed {
		flags = append([]string{"--fail", "closed"}, flags...)
	}
	f := NewPairOnly(t, s.position, s.allow, s.subject, s.conf, flags...)
	f.hurry = s.hurry
	seen, from := newTrace(t, f), time.Now()
	ln := f.ListenControl(t, s.family)
	var list []*pairSession
	begin := func(older bool) {
		for _, st := range states {
			if st.older == older {
				list = append(list, &pairSession{state: st, talk: f.Talk(t, ln, f.Client, s.family)})
			}
		}
	}
	if s.position.Name != pairVirtual.Name { // without a daemon there is no virtual server
		begin(true)
	}
	f.StartDaemons(t)
	if s.flags.name == "fast-path" {
		f.Machines[0].daemon.needFastPath(t)
	}
	begin(false)
	if s.failover.before != nil {
		s.failover.before(t, f)
	}
	for _, x := range list {
		x.then = x.state.begin(t, f, x.talk)
	}
	begun := time.Now()
	s.failover.do(t, f, list)
	changed := time.Since(begun)
	each := func(name string, do func(*testing.T, *pairSession)) {
		eachSession(t, name, list, func(t *testing.T, x *pairSession) {
			defer seen.failed(t, addrOf(x.talk.Client.LocalAddr()).Port(), from)
			do(t, x)
		})
	}
	each("then", func(t *testing.T, x *pairSession) {
		s.count(f.Site, x).Count(t)
		x.then(t)
		x.speaks(t)
	})
	if s.failover.after != nil && !t.Failed() {
		s.failover.after(t, f)
		each("after", func(t *testing.T, x *pairSession) { x.speaks(t) })
	}
	for _, x := range list {
		x.talk.Client.Close()
		x.talk.Server.Close()
	}
	if !f.split {
		f.NothingOpen(t)
	}
	t.Logf("%d sessions; the change took %v, a transfer paused for %v at the most", len(list), changed, f.pauses.longest())
}

// eachSession runs f for all sessions at once, but not as parallel tests: these
// would wait for other set-ups.
func eachSession(t *testing.T, name string, list []*pairSession, do func(*testing.T, *pairSession)) {
	var all sync.WaitGroup
	for _, x := range list {
		all.Go(func() {
			t.Run(name+" "+x.state.name, func(t *testing.T) {
				x.talk.t = t
				do(t, x)
			})
		})
	}
	all.Wait()
}

// speaks checks that a session continues.
func (x *pairSession) speaks(t *testing.T) {
	switch {
	case x.state.over:
	case x.state.mute:
	default:
		x.talk.Exchange()
		x.talk.Announce(x.talk.passive()).MustOpen(t)
		x.talk.Announce(x.talk.active()).MustOpen(t)
	}
}

func (s pairSetup) count(site *Site, x *pairSession) Case {
	return site.Case(Case{Kind: "pair", Family: s.family, State: x.state.name, Failover: s.failover.name, Sync: s.conf.String(), Flags: s.flags.name})
}

// covering returns rows with a value for each dimension, in which any values of
// strength dimensions occur together. sizes are the numbers of values.
func covering(sizes []int, strength int) (rows [][]int) {
	type combination string // "-" for a dimension that is not part of it
	open := map[combination][]int{}
	var order []combination
	var add func(v []int, from, n int)
	add = func(v []int, from, n int) {
		if n == 0 {
			k := combination(fmt.Sprint(v))
			open[k] = append([]int(nil), v...)
			order = append(order, k)
			return
		}
		for d := from; d <= len(sizes)-n; d++ {
			for v[d] = 0; v[d] < sizes[d]; v[d]++ {
				add(v, d+1, n-1)
			}
			v[d] = -1
		}
	}
	none := make([]int, len(sizes))
	for i := range none {
		none[i] = -1
	}
	add(none, 0, strength)
	meets := func(row, c []int) bool {
		for d := range c {
			if c[d] >= 0 && row[d] >= 0 && row[d] != c[d] {
				return false
			}
		}
		return true
	}
	for _, first := range order {
		if open[first] == nil {
			continue
		}
		row := append([]int(nil), open[first]...)
		for d := range row {
			if row[d] >= 0 {
				continue
			}
			best := -1
			for v := range sizes[d] {
				row[d] = v
				n := 0
				for _, c := range open {
					if c[d] == v && meets(row, c) {
						n++
					}
				}
				if n > best {
					best, none[d] = n, v
				}
			}
			row[d] = none[d]
		}
		for k, c := range open {
			if meets(row, c) {
				delete(open, k)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func TestCovering(t *testing.T) {
	for _, strength := range []int{1, 2, 3} {
		sizes := pairSizes()
		rows := covering(sizes, strength)
		t.Logf("%d rows", len(rows))
		seen := map[string]bool{}
		for _, r := range rows {
			for a := range r {
				for b := range a {
					seen[fmt.Sprint(a, b, r[a], r[b])] = true
				}
			}
		}
		want := 0
		for a := range sizes {
			for b := range a {
				want += sizes[a] * sizes[b]
			}
		}
		if strength > 1 && len(seen) != want {
			t.Errorf("%d pairs of %d", len(seen), want)
		}
	}
}
