// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// reload is the file that an administrator loads: in one transaction it flushes
// everything and restores his own rules.
func (s *Site) reload() string { return "flush ruleset\n" + s.Position.Ruleset(0, s.Allow) }

// replaceFilter does what firewalld does: it replaces one table in one
// transaction, and touches nothing else.
func (s *Site) replaceFilter() string {
	filter, _, _ := strings.Cut(s.Position.Ruleset(0, s.Allow), "table inet nat")
	return "table inet filter\ndelete table inet filter\n" + filter
}

// own is the daemon's part of the ruleset, without counters, times and the order
// of tables.
//
// Rules note in some sets which connections they have seen.
func (s *Site) own(t *testing.T) string {
	t.Helper()
	// nft mentions xtables targets on standard error, too.
	out, err := s.Firewalls[0].Run(10*time.Second, Cmd("sh", "-c", "nft list ruleset 2>/dev/null"))
	if err != nil {
		t.Fatal(err)
	}
	out = seenConnections.ReplaceAllString(counters.ReplaceAllString(out, ""), "$1")
	tables := strings.Split("\n"+out, "\ntable ")
	for i := range tables {
		tables[i] = strings.TrimSpace(tables[i])
	}
	slices.Sort(tables)
	return strings.Join(tables, "\n")
}

var seenConnections = regexp.MustCompile(`(set (?:seen|guarded)[46] \{[^}]*?)\s*elements = \{[^}]*\}`)

// heals is how often the daemon has put its rules back.
func (d *Daemon) heals() int { return strings.Count(d.Output(), `msg="rules put back"`) }

// TestHeal: the ruleset changes while an offer is open, and the data connection
// that follows still passes.
func TestHeal(t *testing.T) {
	for _, c := range []struct {
		name   string
		allow  Allow
		change func(*Site) string
	}{
		{"reload", AllowRelated, (*Site).reload},
		{"our table", AllowRelated, func(*Site) string { return "delete table inet pasvport" }},
		{"our rules", AllowRelated, func(*Site) string { return "flush table inet pasvport" }},
		{"our sets", AllowChain, func(*Site) string {
			return "flush set inet filter pasvport4; flush set inet filter pasvport6"
		}},
		{"reload, chains", AllowChain, (*Site).reload},
		{"table replaced, chains", AllowChain, (*Site).replaceFilter},
	} {
		for _, s := range []Subject{Expectation, Claim} {
			t.Run(c.name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := lifecycleSite(t, s, c.allow, "heal")
				site.StartSubject(t)
				site.testHeal(t, c.change(site))
			})
		}
	}
}

func (s *Site) testHeal(t *testing.T, change string) {
	fw, d := s.Firewalls[0], s.Daemons[0]
	talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
	before := s.own(t)
	for i, m := range []Mode{PASV, PORT} {
		offer := talk.Announce(m)
		fw.LoadRules(t, change)
		if err := waitFor(startTimeout, "healing", func() bool { return d.heals() > i }); err != nil {
			t.Fatal(err)
		}
		offer.MustOpen(t).Close()
		offer.MustRefuse(t, offer.Opener, "a second time")
	}
	// Elements that were used go with their connections.
	err := waitFor(startTimeout, "ruleset as before", func() bool { return s.own(t) == before })
	if err != nil {
		t.Errorf("%v:\n%s\nbefore:\n%s", err, s.own(t), before)
	}
}

// TestHealingTime flushes the ruleset a hundred times. It measures by the
// kernel's events: from the end of the transaction that removed our table to the
// end of the one that restored it. The bound is for the median: of a busy machine some
// flushes wait for a processor.
func TestHealingTime(t *testing.T) {
	for _, s := range []Subject{Expectation, Claim} {
		t.Run(s.Name, func(t *testing.T) {
			site := lifecycleSite(t, s, AllowChain, "healing time")
			site.StartSubject(t, "--pinhole-timeout", "1h") // its end would change the ruleset, too
			times := site.healingTimes(t, 100)
			slices.Sort(times)
			p50, p99, worst := times[len(times)/2], times[len(times)*99/100-1], times[len(times)-1]
			fmt.Printf("healing time %-12s p50 %v, p99 %v, longest %v of %d flushes\n", s.Name, p50, p99, worst, len(times))
			if limit := site.healLimit(t); p50 > limit {
				t.Errorf("the median is %v, want at most %v", p50, limit)
			}
			d := site.Daemons[0]
			if err := waitFor(startTimeout, "all healings in the log", func() bool { return d.heals() >= len(times) }); err != nil || d.heals() > len(times) {
				t.Errorf("%d healings in the log, want %d", d.heals(), len(times))
			}
		})
	}
}

// healLimit is how long healing may take. To add a rule with an xtables target,
// the kernel waits until everything deleted is destroyed
// (nft_compat_wait_for_destructors): one RCU grace period, sometimes two, whose
// length depends on the load of the machine. A virtual machine without KVM is ten
// times as slow.
func (s *Site) healLimit(t *testing.T) time.Duration {
	t.Helper()
	status, err := s.Daemons[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case strings.Contains(string(cpu), "QEMU TCG"):
		return time.Second
	case status["queue_kind"] == "xt":
		return 300 * time.Millisecond
	}
	return 100 * time.Millisecond
}

func (s *Site) healingTimes(t *testing.T, n int) []time.Duration {
	t.Helper()
	fw := s.Firewalls[0]
	talk := s.Talk(t, s.ListenControl(t, IPv4), s.Client, IPv4)
	talk.Announce(PASV) // something to restore
	changes := fw.watchRuleset(t)
	var times []time.Duration
	for range n {
		fw.LoadRules(t, s.reload())
		gone := changes.next(t)
		back := changes.next(t)
		if gone.by != "nft" || back.by != "pasvport" {
			t.Fatalf("the ruleset was changed by %q, then by %q", gone.by, back.by)
		}
		times = append(times, back.at.Sub(gone.at))
		changes.quiet(t, 20*time.Millisecond) // our own changes must cause no work
	}
	return times
}

// TestReloadStorm reloads the ruleset every 10 ms for 10 s.
func TestReloadStorm(t *testing.T) {
	site := lifecycleSite(t, Claim, AllowChain, "reload storm")
	site.StartSubject(t)
	ln := site.ListenControl(t, IPv4)
	fw, d := site.Firewalls[0], site.Daemons[0]
	before := site.own(t)
	file, err := fw.File("reload.nft", site.reload())
	if err != nil {
		t.Fatal(err)
	}
	const storm, every = 10 * time.Second, 10 * time.Millisecond
	cpu := d.cpuTime(t)
	reloads := 0
	tick := time.NewTicker(every)
	defer tick.Stop()
	for end := time.Now().Add(storm); time.Now().Before(end); <-tick.C {
		if out, err := fw.Run(10*time.Second, Cmd("nft", "-f", file)); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		reloads++
	}
	used := d.cpuTime(t) - cpu
	if err := waitFor(startTimeout, "ruleset as before", func() bool { return site.own(t) == before }); err != nil {
		t.Errorf("%v:\n%s", err, site.own(t))
	}
	fmt.Printf("reload storm: %d reloads in %v, %d healings, %v of CPU\n", reloads, storm, d.heals(), used)
	if used > storm/4*slowness {
		t.Errorf("the daemon took %v of CPU in %v", used, storm)
	}
	site.mustOpen(t, ln)
	if err := waitFor(startTimeout, "no element", func() bool { return openElements(fw.Rules(t)) == 0 }); err != nil {
		t.Error(err) // they go when conntrack has reported their connections
	}
	fw.watchRuleset(t).quiet(t, time.Second)
}

// TestHealWithoutChain: the administrator's table disappears and comes back
// later.
func TestHealWithoutChain(t *testing.T) {
	site := lifecycleSite(t, Expectation, AllowChain, "heal")
	site.StartSubject(t)
	ln := site.ListenControl(t, IPv4)
	fw, d := site.Firewalls[0], site.Daemons[0]
	fw.LoadRules(t, "flush ruleset")
	if err := d.WaitLog(startTimeout, `msg="chains of --allow are gone"`); err != nil {
		t.Fatal(err)
	}
	if rules := fw.Rules(t); !strings.Contains(rules, "table inet pasvport") || strings.Contains(rules, "pasvport4") {
		t.Errorf("without the administrator's table:\n%s", rules)
	}
	for range 5 { // reported once
		fw.LoadRules(t, "add table inet other\ndelete table inet other\n")
	}
	fw.LoadRules(t, site.Position.Ruleset(0, site.Allow))
	if err := d.WaitLog(startTimeout, `msg="all chains of --allow are there again"`); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(d.Output(), `msg="chains of --allow are gone"`); n != 1 {
		t.Errorf("reported missing chains %d times", n)
	}
	site.mustOpen(t, ln)
}

// TestSavedRuleset: `nft list ruleset > file` and `nft -f file`, as is and after
// a flush, do no harm, whether or not nft can read its own listing.
func TestSavedRuleset(t *testing.T) {
	for _, s := range []Subject{Auto, Expectation, Claim} {
		for _, a := range []Allow{AllowRelated, AllowChain} {
			t.Run(s.Name+"/"+string(a), func(t *testing.T) {
				t.Parallel()
				site := lifecycleSite(t, s, a, "saved ruleset")
				site.StartSubject(t)
				site.testSavedRuleset(t)
			})
		}
	}
}

func (s *Site) testSavedRuleset(t *testing.T) {
	fw := s.Firewalls[0]
	ln := s.ListenControl(t, IPv4)
	before := s.own(t)
	file := filepath.Join(fw.Dir, "saved.nft")
	for _, head := range []string{"", "flush ruleset\n"} {
		saved, err := fw.Run(10*time.Second, Command{Args: []string{"sh", "-c", "nft list ruleset 2>/dev/null"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(head+saved), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := fw.Run(10*time.Second, Cmd("nft", "-f", file))
		if firstLine, _, _ := strings.Cut(out, "\n"); err != nil {
			t.Logf("nft -f of %q and the listing: %s", head, firstLine)
		}
		if head == "" && err == nil { // the administrator's rules are there twice now
			fw.LoadRules(t, s.reload())
		}
		if err := waitFor(startTimeout, "ruleset as before", func() bool { return s.own(t) == before }); err != nil {
			t.Errorf("%v:\n%s\nbefore:\n%s", err, s.own(t), before)
		}
		s.mustOpen(t, ln)
	}
}

// mustOpen opens data connections in both modes, in a session of its own.
func (s *Site) mustOpen(t *testing.T, ln *net.TCPListener) {
	t.Helper()
	talk := s.Talk(t, ln, s.Client, IPv4)
	for _, m := range []Mode{PORT, PASV} {
		talk.Announce(m).MustOpen(t).Close()
	}
	talk.Client.Close()
	talk.Server.Close()
}

// TestSavedRulesetWithoutOurs is the command of docs/operations.md.
func TestSavedRulesetWithoutOurs(t *testing.T) {
	site := lifecycleSite(t, Claim, AllowRelated, "saved ruleset")
	fw := site.Firewalls[0]
	before := fw.rulesWithoutCounters(t)
	site.StartSubject(t)
	guide, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	const sed = `sed '/^table inet pasvport {/,/^}/d'`
	if !strings.Contains(string(guide), sed) {
		t.Fatalf("docs/operations.md has no %s", sed)
	}
	saved, err := fw.Run(10*time.Second, Cmd("sh", "-c", "nft list ruleset 2>/dev/null | "+sed))
	if err != nil {
		t.Fatal(err)
	}
	if saved = counters.ReplaceAllString(saved, ""); saved != before {
		t.Errorf("saved:\n%s\nwant:\n%s", saved, before)
	}
}
