// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pairChaosSessions is how many sessions run at once on each pair.
const pairChaosSessions = 16

// TestPairChaos runs sessions in all modes in a loop while one machine of a pair
// after the other fails, in every way, and returns. Every transfer must have the
// right checksum, every session must complete, and nothing may be left open. What
// begins in the second in which another machine, or another daemon, takes over
// may be lost, if that is rare. PASVPORT_PAIR_CHAOS sets the duration; the
// default is 25 seconds. What is known of a lost session is printed: its packets at
// both ends and both machines, its entries, and what the daemons say of it.
func TestPairChaos(t *testing.T) {
	needDaemon(t)
	length := 25 * time.Second
	if text := os.Getenv("PASVPORT_PAIR_CHAOS"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("PASVPORT_PAIR_CHAOS: %v", err)
		}
	}
	type setUp struct {
		position Position
		subject  Subject
		allow    Allow
		conf     PairConf
	}
	for _, c := range []setUp{
		{position("routed"), Claim, AllowChain, PairConf{NoExternalCache: true}},
		{pairNAT, Expectation, AllowRelated, PairConf{}},
	} {
		t.Run(c.position.Name+"/"+c.subject.Name, func(t *testing.T) {
			t.Parallel()
			f := NewPair(t, c.position, c.allow, c.subject, c.conf, chaosFlags...)
			f.Site.Case(Case{Kind: "pair chaos"}).Count(t)
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			p := &pairChaos{f: f, trace: newTrace(t, f), rng: rand.New(rand.NewPCG(seed, 0)), chaos: &chaos{
				site: f.Site, seed: seed, excused: map[string]int{}, events: map[string]int{},
				used: map[netip.AddrPort]span{}, ill: map[netip.AddrPort]bool{},
			}}
			p.run(t, length)
		})
	}
}

// pairChaos is one pair's run.
type pairChaos struct {
	*chaos
	f     *FirewallPair
	trace *trace
	rng   *rand.Rand
	told  [2]atomic.Int32 // how many failed and excused sessions were told of
}

func (p *pairChaos) run(t *testing.T, length time.Duration) {
	p.serve(t)
	p.end = time.Now().Add(length)
	var wg sync.WaitGroup
	for i := range pairChaosSessions {
		wg.Go(func() { p.loopPair(i) })
	}
	defer func() { // also if a machine could not be brought back
		p.mu.Lock()
		p.end = time.Now()
		p.mu.Unlock()
		wg.Wait()
		fmt.Printf("chaos of a pair, %s/%s: %d sessions of %d transfers completed, %d failed, excused %v, events %v\n",
			p.site.Position.Name, p.site.Subject.Name, p.completed, p.transfers, len(p.failed), p.excused, p.events)
		if len(p.failed) > 0 {
			t.Errorf("sessions that should have completed:%s\nevents:\n%s", texts(p.failed), strings.Join(p.log, "\n"))
		}
	}()
	for time.Now().Before(p.end) && !t.Failed() {
		p.round(t)
	}
	wg.Wait()
	if n := p.excused[duringTakeOver]; n > p.completed/50+2 {
		t.Errorf("%d sessions that began while another machine or daemon took over were lost, %d completed", n, p.completed)
	}
	if p.completed < pairChaosSessions/int(slowness) {
		t.Errorf("only %d sessions completed", p.completed)
	}
	p.f.NothingOpen(t)
}

func (p *pairChaos) until() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

// loopPair runs one session after the other until the end.
func (p *pairChaos) loopPair(i int) {
	rng := rand.New(rand.NewPCG(p.seed, uint64(i)+1))
	for time.Now().Before(p.until()) {
		began := time.Now()
		o := p.session(p.site.Client, IPv4, rng) // TestPair covers IPv6
		o.life = span{began, time.Now()}
		if excuse := p.count(&o); o.err != nil {
			p.tell(&o, excuse)
		}
		for _, a := range o.used {
			p.trace.forget(a.Port())
		}
	}
}

// tell prints what is known of a lost session, of excused ones only if the test is run
// on purpose.
func (p *pairChaos) tell(o *outcome, excuse string) {
	const most = 4
	told := &p.told[0]
	if excuse != "" {
		told = &p.told[1]
	}
	if excuse != "" && os.Getenv("PASVPORT_PAIR_CHAOS") == "" || told.Add(1) > most {
		return
	}
	ports := p.trace.unanswered(o.life)
	if len(o.used) > 0 {
		ports = []uint16{o.used[0].Port()}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "---- lost session (excuse: %q), from %s to %s: %v\n", excuse, o.life.from.Format(time.StampMilli), o.life.to.Format(time.StampMilli), o.err)
	for _, port := range ports {
		p.trace.write(&b, port, o.life)
	}
	p.mu.Lock()
	for _, line := range p.log {
		fmt.Fprintf(&b, "event: %s\n", line)
	}
	p.mu.Unlock()
	fmt.Print(&b)
}

// round causes each event once, in random order, with some calm after each.
func (p *pairChaos) round(t *testing.T) {
	f := p.f
	pause := func() { time.Sleep(time.Duration(500+p.rng.IntN(2000)) * time.Millisecond) }
	events := []struct {
		name string
		do   func()
	}{
		{"move and back", func() {
			p.takeOver(func() { f.Move(t, 0) })
			pause()
			p.takeOver(func() { f.Back(t) })
		}},
		{"crash and return", func() {
			p.takeOver(func() { f.Crash(t, 0) })
			pause()
			p.takeOver(func() { p.comeBack(t, 0) })
		}},
		{"the other one crashes", func() { f.Crash(t, 1); pause(); p.comeBack(t, 1) }},
		{"daemon crashes", func() { p.again(t, 0) }},
		{"the other daemon crashes", func() { p.again(t, 1) }},
		{"link cut", func() {
			before := f.joined()
			f.Cut(t, "tcp dport 2121")
			time.Sleep(3 * time.Second)
			f.Mend(t)
			f.waitJoined(t, before)
		}},
	}
	p.rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for _, e := range events {
		if time.Now().After(p.end) || t.Failed() {
			return
		}
		p.note(e.name)
		e.do()
		p.note("done")
		p.events[e.name]++
		pause()
	}
}

// note notes an event.
func (p *pairChaos) note(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, time.Now().Format(time.StampMilli)+" "+name)
}

// takeOver records when another machine, or another daemon, takes over.
func (p *pairChaos) takeOver(do func()) {
	end := p.begin(&p.taken)
	do()
	time.Sleep(time.Second)
	end()
}

// comeBack brings a machine back once it has the other one's state.
func (p *pairChaos) comeBack(t *testing.T, i int) {
	p.f.Return(t, i, func() { p.f.waitSynced(t, i) })
	p.f.waitSynced(t, 1) // the other one, in the end
}

// again crashes a daemon and starts it again. A planned stop, during which lines
// pass unread, has nothing to do with a pair.
func (p *pairChaos) again(t *testing.T, i int) {
	p.takeOver(func() {
		if err := p.f.Machines[i].daemon.Crash(); err != nil {
			t.Fatal(err)
		}
		p.f.startAgain(t, i)
	})
}
