// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// restarts is how often TestPlannedRestart restarts the daemon in all.
func restarts(t *testing.T) int {
	text := os.Getenv("PASVPORT_RESTARTS")
	if text == "" {
		return 6
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("PASVPORT_RESTARTS=%q: %v", text, err)
	}
	return n
}

// longestWait is how much longer than usual, beside the start of the next daemon, an
// announcement and its data connection may take during a restart: a SYN that was lost
// comes again after a second.
const longestWait = 500 * time.Millisecond

// TestPlannedRestart restarts the daemon under ten sessions that transfer all the
// time, with the strategies and ways of --allow in turn. No announcement is lost
// or passes untranslated, no transfer fails, and none waits for long.
func TestPlannedRestart(t *testing.T) {
	allows, subjects := []Allow{AllowRelated, AllowMark, AllowChain}, []Subject{Expectation, Claim}
	rounds := max(1, restarts(t)/len(allows)/len(subjects))
	for _, a := range allows {
		for _, subject := range subjects {
			t.Run(string(a)+"/"+subject.Name, func(t *testing.T) {
				needDaemon(t)
				s := NewSite(t, position("both-nat"), a, subject)
				s.Case(Case{Kind: "restart"}).Count(t)
				s.restartUnderLoad(t, rounds)
			})
		}
	}
}

func (s *Site) restartUnderLoad(t *testing.T, rounds int) {
	t.Helper()
	ln := s.ListenControl(t, IPv4)
	var longest atomic.Int64
	var transfers atomic.Int32
	var ended atomic.Bool
	var wg sync.WaitGroup
	defer wg.Wait()
	defer ended.Store(true)
	for i := range 10 {
		d := s.Talk(t, ln, s.Client, IPv4)
		wg.Go(func() {
			for n := i; !ended.Load(); n++ {
				began := time.Now()
				mode := IPv4.Modes()[n%len(IPv4.Modes())]
				if err := d.transfer(mode, openTimeout); err != nil {
					t.Errorf("session %d, %s: %v", i, mode, err)
					return
				}
				transfers.Add(1)
				took := int64(time.Since(began))
				for old := longest.Load(); took > old && !longest.CompareAndSwap(old, took); old = longest.Load() {
				}
			}
		})
	}
	var start, usual time.Duration
	for range rounds {
		before := transfers.Load()
		if err := waitFor(openTimeout, "transfers", func() bool { return transfers.Load() > before+20 || t.Failed() }); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			break
		}
		if usual == 0 {
			usual = time.Duration(longest.Load())
		}
		began := time.Now()
		s.replace(t)
		start = max(start, time.Since(began))
	}
	ended.Store(true)
	wg.Wait()
	if t.Failed() {
		t.Logf("%s", lastLines(s.Daemons[0].Output(), 60))
	}
	t.Logf("%d restarts of up to %v, %d transfers, the longest took %v, and %v before", rounds, start.Round(time.Millisecond),
		transfers.Load(), time.Duration(longest.Load()).Round(time.Millisecond), usual.Round(time.Millisecond))
	// The limit is for the wait, not for a start or a transfer that takes long on a
	// busy machine.
	most := start + longestWait + usual
	if time.Duration(longest.Load()) > most {
		t.Errorf("a transfer took %v, want at most %v", time.Duration(longest.Load()), most)
	}
}

// replace does a planned restart of the first firewall's daemon.
func (s *Site) replace(t *testing.T, flags ...string) {
	t.Helper()
	old := s.leave(t)
	s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0], flags...)
	if status, err := old.Wait(10 * time.Second); status != 0 || err != nil {
		t.Fatalf("exit status %d, %v", status, err)
	}
}

// leave makes the first firewall's daemon wait for the next one.
func (s *Site) leave(t *testing.T) *Daemon {
	t.Helper()
	old := s.Daemons[0]
	old.stopped = true
	if err := old.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if err := old.WaitLog(startTimeout, `msg="waiting for the next daemon"`); err != nil {
		t.Fatal(err)
	}
	return old
}

// TestPlannedRestartAlone: if no daemon follows, a restart is a stop, which
// leaves nothing behind; a daemon that starts later finds what was handed over.
func TestPlannedRestartAlone(t *testing.T) {
	for _, subject := range []Subject{Expectation, Claim} {
		t.Run(subject.Name, func(t *testing.T) {
			t.Parallel()
			needDaemon(t)
			s := NewSite(t, position("both-nat"), AllowChain, subject)
			s.Case(Case{Kind: "restart"}).Count(t)
			talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
			offer := talk.Announce(PASV)
			if status, err := s.Daemons[0].Stop(syscall.SIGUSR1); status != 0 || err != nil {
				t.Fatalf("exit status %d, %v", status, err)
			}
			s.mustBeEmpty(t)
			offer.MustRefuse(t, offer.Opener, "while stopped")
			s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0])
			offer.MustOpen(t)
		})
	}
}

// TestPlannedRestartAnswer: a reply that arrives while there is no daemon waits
// for the next one, and is translated.
func TestPlannedRestartAnswer(t *testing.T) {
	for _, subject := range []Subject{Expectation, Claim} {
		t.Run(subject.Name, func(t *testing.T) {
			t.Parallel()
			needDaemon(t)
			s := NewSite(t, position("both-nat"), AllowChain, subject)
			s.Case(Case{Kind: "restart"}).Count(t)
			talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
			done := make(chan error, 1)
			s.leave(t)
			go func() { done <- talk.transfer(PASV, openTimeout) }()
			s.Daemons[0] = s.StartDaemon(t, s.Firewalls[0])
			if err := <-done; err != nil {
				t.Errorf("announced while there was no daemon: %v", err)
			}
		})
	}
}
