// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// TestBlocker: a client whose logins fail is blocked, is shown, and can be
// unblocked.
func TestBlocker(t *testing.T) {
	b := newBench(t, func(c *config.Config) {
		c.LoginFailures = config.LoginFailures{Most: 2, Within: time.Minute, Block: time.Hour}
	})
	k := &blocker{services: b.services}
	b.accounts.LoginFailed = k.loginFailed
	l := b.connect(entryOf(1))
	l.accepts(server, "220 ready\r\n")
	addr := netip.MustParseAddr("198.51.100.1")
	for i := range 2 {
		if len(b.k.blocked) != 0 {
			t.Errorf("blocked after %d failures", i)
		}
		l.accepts(client, "USER ada\r\n")
		l.accepts(server, "331 password\r\n")
		l.accepts(client, "PASS wrong\r\n")
		l.accepts(server, "530 no\r\n")
	}
	if b.k.blocked[addr] != time.Hour {
		t.Fatalf("blocked: %v", b.k.blocked)
	}
	b.logs(`msg="client blocked"`, "failures=2")
	if list := k.blocked(); len(list) != 1 || list[0].Client != "198.51.100.1/32" {
		t.Errorf("shown: %+v", list)
	}
	if err := k.unblock(addr); err != nil || len(b.k.blocked) != 0 {
		t.Errorf("%v, blocked: %v", err, b.k.blocked)
	}
	if k.unblock(addr) == nil {
		t.Error("one that is not blocked is unblocked")
	}
	b.k.refuses = errors.New("no room")
	s := l.session()
	for range 2 {
		k.loginFailed(s, time.Now())
	}
	b.logs(`msg="cannot block a client"`)
}

// TestNotBlocked: without the setting nothing is counted and the kernel is not
// asked.
func TestNotBlocked(t *testing.T) {
	b := newBench(t, nil)
	k := &blocker{services: b.services}
	for range 100 {
		k.loginFailed(newSession(entryOf(1)), time.Now())
	}
	if len(b.k.blocked) != 0 || k.blocked() != nil {
		t.Error("a client is blocked")
	}
}
