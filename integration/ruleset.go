// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// openElement matches an element of a set of pinholes. Those of the set asked may
// exist for a moment.
var openElement = regexp.MustCompile(`\. \d+( timeout \S+)? expires`)

// openElements counts the elements for pinholes in a ruleset.
func openElements(rules string) int { return len(openElement.FindAllString(rules, -1)) }

// RulesetChange is the end of a transaction that changed the ruleset.
type RulesetChange struct {
	by string // name of the program
	at time.Time
}

// RulesetChanges are the changes of a host's ruleset, as they happen.
type RulesetChanges <-chan RulesetChange

// watchRuleset follows the ruleset of the host until the test ends.
func (h *Host) watchRuleset(t testing.TB) RulesetChanges {
	t.Helper()
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: h.FD})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadBuffer(8 << 20); err != nil {
		t.Fatal(err)
	}
	changes := make(chan RulesetChange, 10_000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			list, err := c.Receive()
			if err != nil {
				return
			}
			now := time.Now()
			for _, m := range list {
				if m.Header.Type == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN && len(m.Data) > 4 {
					changes <- RulesetChange{programOf(m.Data[4:]), now}
				}
			}
		}
	}()
	t.Cleanup(func() {
		c.SetReadDeadline(time.Unix(1, 0))
		<-done
		c.Close()
	})
	return changes
}

// programOf reads NFTA_GEN_PROC_NAME.
func programOf(b []byte) string {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err.Error()
	}
	for d.Next() {
		if d.Type() == unix.NFTA_GEN_PROC_NAME {
			return d.String()
		}
	}
	return "?"
}

// next waits for a change.
func (c RulesetChanges) next(t testing.TB) RulesetChange {
	t.Helper()
	select {
	case change := <-c:
		return change
	case <-time.After(startTimeout * slowness):
		t.Fatal("the ruleset did not change")
		return RulesetChange{}
	}
}

// quiet fails the test if the ruleset changes within d.
func (c RulesetChanges) quiet(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case change := <-c:
		t.Errorf("the ruleset was changed by %q, although there was no reason", change.by)
	case <-time.After(d):
	}
}

// cpuTime is how much processor time the process has used.
func (p *Process) cpuTime(t testing.TB) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// proc_pid_stat(5): utime and stime are fields 14 and 15, in hundredths of
	// a second; the second field is in parentheses.
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
