// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"net/netip"
	"testing"
	"time"

	"github.com/pasvport/pasvport/ftpalg"
)

// TestCensus: who counts, by whom, and that nothing is kept of who has gone.
func TestCensus(t *testing.T) {
	c := newCensus()
	set := newSettings(load(t, "--max-sessions=3", "--max-client-sessions=2"))
	client := func(i int) *session {
		return &session{ep: &ftpalg.Endpoints{Client: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:40000", i))}}
	}
	a, b, d := client(1), client(1), client(2)
	room := func(s *session, want report.Reason) {
		t.Helper()
		if got := c.room(s.ep.Client.Addr(), set); got != want {
			t.Errorf("%v for %v, want %v", got, s.ep.Client, want)
		}
	}
	c.enter(a)
	room(b, report.ReasonPlain)
	c.enter(b)
	room(a, report.ReasonClientSessions)
	room(d, report.ReasonPlain)
	c.enter(d)
	room(d, report.ReasonSessions)
	for _, s := range []*session{a, a, b} { // a state may be told twice
		if surplus := c.close(s, 2); surplus != nil {
			t.Errorf("%v is surplus", surplus.ep.Client)
		}
	}
	room(a, report.ReasonPlain)
	surplus := c.close(d, 2)
	if surplus == nil {
		t.Fatal("three closed sessions are kept")
	}
	c.forget(surplus)
	for _, s := range []*session{a, b, d, d} {
		c.forget(s)
	}
	if c.living+len(c.closed)+len(c.of) != 0 {
		t.Errorf("kept: %d living, %d closed, %d clients", c.living, len(c.closed), len(c.of))
	}
	now := time.Now()
	for i, want := range []int{0, -1, -1, 2} {
		more, ok := c.heard(now)
		if ok != (want >= 0) || ok && more != want {
			t.Errorf("line %d: %d, %v", i, more, ok)
		}
		if i == 2 {
			now = now.Add(warnEvery)
		}
	}
}
