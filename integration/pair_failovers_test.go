// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"syscall"
	"testing"
	"time"
)

// pairFailover is a way in which another machine gets the sessions.
type pairFailover struct {
	name string
	// before, unless nil, runs before the sessions reach their states.
	before func(t *testing.T, f *FirewallPair)
	do     func(t *testing.T, f *FirewallPair, sessions []*pairSession)
	// after runs when all checks passed; then the sessions send once more.
	after func(t *testing.T, f *FirewallPair)
	// closed: a daemon is missing for a while, and nothing passes without it.
	closed bool
	// alone: for a while the other machine cannot learn of a machine's packets,
	// or no daemon reads them. Senders retransmit what is lost meanwhile.
	alone bool
}

var pairFailovers = []pairFailover{
	{name: "there and back", do: func(t *testing.T, f *FirewallPair, list []*pairSession) {
		f.Move(t, 0)
		f.Back(t)
	}},
	{name: "move", do: func(t *testing.T, f *FirewallPair, _ []*pairSession) {
		time.Sleep(20 * time.Millisecond)
		f.Move(t, 0)
	}, after: func(t *testing.T, f *FirewallPair) { f.Back(t) }},
	{name: "crash and return", do: func(t *testing.T, f *FirewallPair, list []*pairSession) {
		f.waitAllCarried(t, 1, list)
		f.Crash(t, 0)
		f.Return(t, 0, func() { f.waitSynced(t, 0) })
	}},
	{name: "crash", do: func(t *testing.T, f *FirewallPair, list []*pairSession) {
		time.Sleep(20 * time.Millisecond) // time for conntrackd to get the newest entries
		f.Crash(t, 0)
	}, after: func(t *testing.T, f *FirewallPair) {
		f.Return(t, 0, func() { f.waitSynced(t, 0) })
	}},
	{name: "daemons crash", closed: true, do: func(t *testing.T, f *FirewallPair, _ []*pairSession) {
		for _, i := range []int{0, 1} { // the machine with the sessions, then the other one
			if err := f.Machines[i].daemon.Crash(); err != nil {
				t.Fatal(err)
			}
			f.startAgain(t, i)
		}
		f.Crash(t, 0)
	}},
	{name: "daemons restart", alone: true, do: func(t *testing.T, f *FirewallPair, _ []*pairSession) {
		for _, i := range []int{1, 0} {
			f.stopDaemon(t, i)
			f.startAgain(t, i)
		}
		f.Crash(t, 0)
	}},
	{name: "hand over, then move", do: func(t *testing.T, f *FirewallPair, _ []*pairSession) {
		for _, i := range []int{1, 0} {
			f.handOver(t, i)
		}
		f.waitLinked(t)
		f.Move(t, 0)
		f.handOver(t, 1)
	}, after: func(t *testing.T, f *FirewallPair) { f.Back(t) }},
	{name: "stop, then move", alone: true, do: func(t *testing.T, f *FirewallPair, _ []*pairSession) {
		f.stopDaemon(t, 0)
		f.Move(t, 0)
	}},
	{name: "link cut before", before: func(t *testing.T, f *FirewallPair) {
		f.Cut(t, "tcp dport 2121")
		for _, m := range f.Machines {
			if err := m.daemon.WaitLog(startTimeout, `msg="peer gone"`); err != nil {
				t.Fatal(err)
			}
		}
	}, do: func(t *testing.T, f *FirewallPair, _ []*pairSession) {
		joined := f.joined()
		f.Mend(t)
		f.waitJoined(t, joined)
		f.Crash(t, 0)
	}},
	{name: "peer hung before", before: func(t *testing.T, f *FirewallPair) {
		if err := f.Machines[1].daemon.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}, do: func(t *testing.T, f *FirewallPair, _ []*pairSession) {
		if err := f.Machines[0].daemon.WaitLog(startTimeout, `msg="peer gone"`); err != nil {
			t.Fatal(err)
		}
		joined := f.joined()
		joined[1] = 0 // its own link may have survived
		if err := f.Machines[1].daemon.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		f.waitJoined(t, joined)
		f.Crash(t, 0)
	}},
	{name: "split brain", alone: true, do: func(t *testing.T, f *FirewallPair, list []*pairSession) {
		f.waitAllCarried(t, 1, list)
		f.Split(t)
	}, after: func(t *testing.T, f *FirewallPair) {
		f.Unite(t)
	}},
}

// stopDaemon stops a daemon as its administrator would.
func (f *FirewallPair) stopDaemon(t *testing.T, i int) {
	t.Helper()
	if status, err := f.Machines[i].daemon.Stop(syscall.SIGTERM); err != nil || status != 0 {
		t.Fatalf("stop: exit status %d, %v", status, err)
	}
}

// handOver replaces a daemon by another one, as a restart of its unit does.
func (f *FirewallPair) handOver(t *testing.T, i int) {
	t.Helper()
	old := f.Machines[i].daemon
	old.stopped = true
	if err := old.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if err := old.WaitLog(startTimeout, `msg="waiting for the next daemon"`); err != nil {
		t.Fatal(err)
	}
	f.startDaemon(t, f.Machines[i])
	if status, err := old.Wait(10 * time.Second); status != 0 || err != nil {
		t.Fatalf("exit status %d, %v", status, err)
	}
}

// startAgain starts a daemon that has ended.
func (f *FirewallPair) startAgain(t *testing.T, i int) {
	t.Helper()
	joined := f.joined()
	joined[i] = 0
	f.startDaemon(t, f.Machines[i])
	f.waitJoined(t, joined)
}

// waitAllCarried waits until a machine's conntrackd has all control connections.
func (f *FirewallPair) waitAllCarried(t *testing.T, to int, list []*pairSession) {
	t.Helper()
	for _, s := range list {
		if !s.state.over {
			f.waitCarried(t, to, s.talk)
		}
	}
}
