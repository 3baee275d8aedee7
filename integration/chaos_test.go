// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// chaosSessions is how many sessions run at once on each site.
const chaosSessions = 50

// chaosFlags: without a daemon control connections wait. A pinhole whose
// session's end was lost in a flush of conntrack closes at its timeout.
var chaosFlags = []string{"--fail", "closed", "--pinhole-timeout", "10s"}

// TestChaos runs sessions in all modes in a loop while, at random, the daemon is
// killed, stopped and frozen, the ruleset and conntrack are flushed and a link
// goes down. Every transfer must have the right checksum, every session must
// complete unless an event hit it that breaks sessions without pasvport, too, and
// nothing may be left over. PASVPORT_CHAOS sets the duration; the default is two
// minutes.
func TestChaos(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	length := 2 * time.Minute
	if text := os.Getenv("PASVPORT_CHAOS"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("PASVPORT_CHAOS: %v", err)
		}
	}
	for _, c := range []struct {
		position string
		subject  Subject
	}{{"routed", Expectation}, {"both-nat", Claim}, {"both-nat", Auto}} {
		t.Run(c.position+"/"+c.subject.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSiteOnly(t, position(c.position), AllowRelated, c.subject)
			site.Case(Case{Kind: "chaos"}).Count(t)
			newChaos(t, site).run(t, length)
		})
	}
}

// chaos is one site's run.
type chaos struct {
	site *Site
	seed uint64
	rng  *rand.Rand // source of events
	end  time.Time

	mu     sync.Mutex
	broken []span // conntrack -F, which no connection without NAT survives
	cut    []span // a link is down
	taken  []span // the other machine of a pair takes over
	crash  []span // from a crash to the next start
	unread []span // from a flush of the ruleset until it is healed, and from a stop to the next start
	events map[string]int
	log    []string // events with their times

	completed, transfers int
	excused              map[string]int
	used                 map[netip.AddrPort]span // when the clients' addresses were in use last
	ill                  map[netip.AddrPort]bool // whether their last session was excused
	failed               []error
}

// span is a time during which something was wrong.
type span struct{ from, to time.Time }

func (s span) overlaps(o span) bool { return s.from.Before(o.to) && o.from.Before(s.to) }

func newChaos(t *testing.T, site *Site) *chaos {
	t.Helper()
	fw := site.Firewalls[0]
	// A link that goes down would lose its IPv6 addresses.
	if err := fw.Sysctl("net/ipv6/conf/all/keep_addr_on_down", "1"); err != nil {
		t.Skipf("no keep_addr_on_down: %v", err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return &chaos{site: site, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)),
		events: make(map[string]int), excused: make(map[string]int), used: make(map[netip.AddrPort]span), ill: make(map[netip.AddrPort]bool)}
}

// run is the whole test: chaos, calm, and a check for leftovers.
func (c *chaos) run(t *testing.T, length time.Duration) {
	s := c.site
	before := s.own(t)
	s.StartSubject(t, chaosFlags...)
	c.serve(t)
	c.end = time.Now().Add(length)
	var wg sync.WaitGroup
	for i := range chaosSessions {
		wg.Go(func() { c.loop(i) })
	}
	for time.Now().Before(c.end) {
		c.round(t)
	}
	wg.Wait()
	fmt.Printf("chaos %s/%s: %d sessions of %d transfers completed, %d failed, excused %v, events %v\n",
		s.Position.Name, s.Subject.Name, c.completed, c.transfers, len(c.failed), c.excused, c.events)
	if len(c.failed) > 0 {
		t.Errorf("sessions that should have completed:%s\nevents:\n%s", texts(c.failed), strings.Join(c.log, "\n"))
	}
	if c.completed < chaosSessions/int(slowness) {
		t.Errorf("only %d sessions completed", c.completed)
	}
	c.nothingLeft(t, before)
}

// round causes each event once, in random order, with some calm after each.
func (c *chaos) round(t *testing.T) {
	events := []struct {
		name string
		do   func(*testing.T)
	}{{"kill", c.kill}, {"stop", c.stop}, {"freeze", c.freeze}, {"flush ruleset", c.flush}, {"link down", c.linkDown}, {"conntrack -F", c.forget}}
	c.rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for _, e := range events {
		if time.Now().After(c.end) {
			return
		}
		c.log = append(c.log, time.Now().Format(time.StampMilli)+" "+e.name)
		e.do(t)
		c.events[e.name]++
		time.Sleep(c.between(300, 900))
	}
}

// between is a random duration; low and high are milliseconds.
func (c *chaos) between(low, high int) time.Duration {
	return time.Duration(low+c.rng.IntN(high-low)) * time.Millisecond
}

func (c *chaos) kill(t *testing.T) {
	defer c.begin(&c.crash)()
	c.site.crash(t)
	time.Sleep(c.between(0, 500))
	c.site.Daemons[0] = c.site.StartDaemon(t, c.site.Firewalls[0], chaosFlags...)
}

// stop removes the rules for a moment. Open pinholes are handed over.
func (c *chaos) stop(t *testing.T) {
	defer c.begin(&c.unread)()
	if status, err := c.site.Daemons[0].Stop(syscall.SIGTERM); status != 0 || err != nil {
		t.Fatalf("stop: exit status %d, %v", status, err)
	}
	time.Sleep(c.between(0, 300))
	c.site.Daemons[0] = c.site.StartDaemon(t, c.site.Firewalls[0], chaosFlags...)
}

// freeze lets the queue fill.
func (c *chaos) freeze(t *testing.T) {
	d := c.site.Daemons[0]
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := d.Signal(s); err != nil {
			t.Fatal(err)
		}
		if s == syscall.SIGSTOP {
			time.Sleep(c.between(100, 700))
		}
	}
}

// flush reloads the administrator's file. What is announced before our table is
// back is not read.
func (c *chaos) flush(t *testing.T) {
	d := c.site.Daemons[0]
	healed := d.heals()
	defer c.begin(&c.unread)()
	c.site.Firewalls[0].LoadRules(t, c.site.reload())
	if err := waitFor(startTimeout, "healing", func() bool { return d.heals() > healed }); err != nil {
		t.Fatal(err)
	}
}

func (c *chaos) forget(t *testing.T) {
	defer c.begin(&c.broken)()
	if out, err := c.site.Firewalls[0].Run(10*time.Second, Cmd("conntrack", "-F")); err != nil {
		t.Fatalf("conntrack -F: %v: %s", err, out)
	}
}

func (c *chaos) linkDown(t *testing.T) {
	defer c.begin(&c.cut)()
	nl := c.site.Firewalls[0].Links
	dev, err := nl.LinkByName("in0")
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []func(netlink.Link) error{nl.LinkSetDown, nl.LinkSetUp} {
		if err := set(dev); err != nil {
			t.Fatal(err)
		}
		time.Sleep(c.between(50, 400))
	}
}

// begin begins a span, which lasts until the returned function is called.
func (c *chaos) begin(list *[]span) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, from := len(*list), time.Now()
	*list = append(*list, span{from, from.Add(time.Hour)})
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		(*list)[i].to = time.Now()
	}
}

// nothingLeft checks that the daemon, the kernel and the ruleset are as before.
func (c *chaos) nothingLeft(t *testing.T, before string) {
	t.Helper()
	s := c.site
	fw := s.Firewalls[0]
	list := func(args ...string) string {
		out, err := fw.Run(10*time.Second, Cmd(args...))
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return out
	}
	var status Object
	if err := waitFor(15*time.Second, "end of all pinholes", func() bool {
		var err error
		status, err = s.Daemons[0].Status()
		return err == nil && status["pinholes_open"] == 0.0 &&
			!strings.Contains(list("conntrack", "-L", "expect"), "dport=") && openElements(fw.Rules(t)) == 0
	}); err != nil {
		t.Errorf("%v: %v\n%s\n%s", err, status["pinholes_open"], list("conntrack", "-L", "expect"), fw.Rules(t))
	}
	if code, err := s.Daemons[0].Stop(syscall.SIGTERM); err != nil || code != 0 {
		t.Errorf("stop: exit status %d, %v", code, err)
	}
	if after := s.own(t); after != before {
		t.Errorf("ruleset in the end is\n%s\nand was\n%s", after, before)
	}
	// Not from inside the namespace, or it would find itself. scripts/vm-test
	// records packets.
	pids, err := exec.Command("ip", "netns", "pids", fw.name).Output()
	left := slices.DeleteFunc(strings.Fields(string(pids)), func(pid string) bool {
		comm, _ := os.ReadFile("/proc/" + pid + "/comm")
		return string(comm) == "tcpdump\n"
	})
	if err != nil || len(left) > 0 {
		t.Errorf("processes remain: %v, %v", left, err)
	}
	if left := c.controls(list("conntrack", "-L") + list("conntrack", "-L", "-f", "ipv6")); len(left) > 0 {
		t.Errorf("control connections remain:\n%s", strings.Join(left, "\n"))
	}
}
