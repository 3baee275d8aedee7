// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// One packet in eight is lost on each of four paths, which breaks three round
// trips in seven. With PASVPORT_LOSS_RUNS TCP keeps its default timeouts, which
// may reach minutes.
const (
	helperLossOneIn    = 8
	helperLossSessions = 40
	// helperLossLimit is more than any session needs. Nothing else ends one: an
	// announced data port is dialled until then.
	helperLossLimit = 5 * time.Minute
)

// TestLossHelper transfers files over links that lose control packets, side by
// side with the in-kernel helper and with a firewall that lets everything
// through, and compares how many sessions finish, and when. PASVPORT_LOSS_RUNS
// repeats that.
func TestLossHelper(t *testing.T) {
	needDaemon(t)
	runs := envInt(t, "PASVPORT_LOSS_RUNS", 1)
	for _, p := range []Position{position("both-nat"), position("nat66")} {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			times := map[string][]time.Duration{}
			finished := map[string][]int{}
			names := []string{openFirewall.Name, KernelHelper.Name, Expectation.Name, Claim.Name}
			for range runs {
				var mu sync.Mutex
				t.Run("run", func(t *testing.T) {
					for _, s := range []Subject{openFirewall, KernelHelper, Expectation, Claim} {
						t.Run(s.Name, func(t *testing.T) {
							t.Parallel()
							took := lossBeside(t, p, s)
							mu.Lock()
							defer mu.Unlock()
							times[s.Name] = append(times[s.Name], took...)
							finished[s.Name] = append(finished[s.Name], len(took))
						})
					}
				})
			}
			var b strings.Builder
			for _, name := range names {
				all := slices.Sorted(slices.Values(times[name]))
				if len(all) == 0 {
					t.Errorf("%s: no session finished", name)
					continue
				}
				fmt.Fprintf(&b, "loss %-9s %-13s finished %v, p50 %v, p90 %v, slowest %v\n", p.Name, name, finished[name],
					all[len(all)/2].Round(time.Millisecond), all[len(all)*9/10].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
			}
			fmt.Print(b.String())
		})
	}
}

// lossBeside returns how long the finished sessions took.
func lossBeside(t *testing.T, p Position, s Subject) (took []time.Duration) {
	f := p.families()[0]
	open := s == openFirewall
	if open { // what the helper would do for EPSV
		p.NAT = slices.Clone(p.NAT)
		p.NAT[0].Pre += `
		iifname "in*" fib daddr type local tcp dport 1024-65535 dnat ip to 203.0.113.2
		iifname "in*" fib daddr type local tcp dport 1024-65535 dnat ip6 to 2001:db8:113::2`
	}
	site := NewSite(t, p, AllowRelated, s)
	site.Case(Case{Family: f, Kind: "loss beside the helper"}).Count(t)
	if open {
		site.Firewalls[0].LoadRules(t, "insert rule inet filter forward accept")
	}
	if os.Getenv("PASVPORT_LOSS_RUNS") == "" {
		site.patience(t)
	}
	n := &numberedServer{startMini(t, site.ServerHost()), !open}
	n.patience = helperLossLimit
	go acceptAll(site.ListenControl(t, f), n.serve)
	sessions := make([]*numberedSession, helperLossSessions)
	for i := range sessions {
		h := []*Host{site.Client, site.Client2}[i%2]
		var err error
		if sessions[i], err = numberedLogin(h, i, site.Dial(h, f, 0), !open); err != nil {
			t.Fatal(err)
		}
	}
	site.lose(t, envInt(t, "PASVPORT_LOSS_ONE_IN", helperLossOneIn))
	ends := make([]time.Duration, len(sessions))
	errs := make([]error, len(sessions))
	began := time.Now()
	var wg sync.WaitGroup
	for i, l := range sessions {
		wg.Go(func() {
			l.limit(helperLossLimit)
			if err := l.filesUnderLoss(f, open); err != nil {
				errs[i] = fmt.Errorf("session %d: %w\n%s", i, err, site.ends(l))
			}
			ends[i] = time.Since(began)
			l.c.Close()
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err == nil {
			took = append(took, ends[i])
		}
	}
	if err := errors.Join(errs...); err != nil && s.Strategy != "" {
		t.Error(err)
	} else if err != nil {
		t.Log(err)
	}
	return took
}

// filesUnderLoss fetches a file in each mode, twice, with numbered lines between.
// Where nothing is translated the server cannot connect to the client.
func (s *numberedSession) filesUnderLoss(f Family, open bool) error {
	for range 2 {
		for _, m := range f.Modes() {
			if open {
				m = EPSV
			}
			if err := s.exchange(s.noop()); err != nil {
				return err
			}
			if err := s.transfer(m); err != nil {
				return fmt.Errorf("%s: %w", m, err)
			}
		}
	}
	return nil
}
