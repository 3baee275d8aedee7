// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// monitoring is a bench that only monitors, with a logged-in session.
func monitoring(t *testing.T, edit func(*config.Config)) (*bench, *link) {
	b := newBench(t, func(c *config.Config) {
		c.Monitor = true
		if edit != nil {
			edit(c)
		}
	})
	l := b.connect(entryOf(1))
	l.logIn()
	return b, l
}

// TestMonitor: every packet passes unchanged, nothing changes in the kernel, and
// what would have been done is reported.
func TestMonitor(t *testing.T) {
	for _, tt := range []struct {
		name   string
		edit   func(*config.Config)
		lines  []string // of the client, and with "<" of the server
		offer  control.Pinhole
		logged []string
	}{
		{"opened", nil, []string{"PASV", "<227 Entering Passive Mode (10,0,0,2,195,80)."}, control.PinholeMonitored,
			[]string{`msg="pinhole would be opened"`, "verb=PASV", "announced=10.0.0.2:50000", "translated=203.0.113.1:50000", "from=198.51.100.1"}},
		{"refused", nil, []string{"PORT 198,51,100,1,0,22"}, control.PinholeMonitored,
			[]string{`msg="offer would be refused"`, "verb=PORT", "announced=198.51.100.1:22", "hint="}},
		{"denied", func(c *config.Config) { c.DenyCommands = map[string]bool{"DELE": true} }, []string{"DELE file"}, "",
			[]string{`msg="command would be denied"`, "reason=", "rule="}},
		{"cancelled", nil, []string{"PORT 198,51,100,1,200,10", "<500 no"}, control.PinholeMonitored, []string{`msg="pinhole would be opened"`, "verb=PORT"}},
		{"not asked for", nil, []string{"<227 Entering Passive Mode (10,0,0,2,195,80)."}, control.PinholeMonitored,
			[]string{`msg="offer would be refused"`, "reason=" + ftpalg.ReasonUnasked.String()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, l := monitoring(t, tt.edit)
			for _, line := range tt.lines {
				if line[0] == '<' {
					l.accepts(server, line[1:]+"\r\n")
				} else {
					l.accepts(client, line+"\r\n")
				}
			}
			b.logs(tt.logged...)
			if len(b.k.expected)+len(b.k.elements)+len(b.k.adjusted)+len(b.k.left)+len(b.k.steps) > 0 || len(b.pinholes.All()) > 0 {
				t.Errorf("the kernel was told: %v %v %v %v", b.k.expected, b.k.elements, b.k.adjusted, b.k.left)
			}
			c := l.session().Snapshot(pinhole.Traffic{}, time.Now())
			if !c.Monitor || (c.Offer == nil) != (tt.offer == "") || c.Offer != nil && c.Offer.Pinhole != tt.offer {
				t.Errorf("it is shown as %+v, offer %+v", c, c.Offer)
			}
		})
	}
}

// TestMonitorCounts: judgements are counted as if they had been carried out.
func TestMonitorCounts(t *testing.T) {
	b, l := monitoring(t, nil)
	before := b.metrics.Decisions()
	l.accepts(client, "PORT 198,51,100,1,0,22\r\n")
	reason := ftpalg.ReasonPortLow.String()
	if n := b.metrics.Decisions()[reason]; n != before[reason]+1 {
		t.Errorf("refusals: %d", n)
	}
	if b.metrics.Pinholes.Refused.Load() != 0 {
		t.Error("a pinhole was refused where none can be opened")
	}
}

// TestMonitorAside: a session with an in-kernel helper is read, an encrypted one
// is left alone, and no range is opened for it.
func TestMonitorAside(t *testing.T) {
	b := newBench(t, func(c *config.Config) {
		c.Monitor, c.TLS, c.TLSRange = true, config.TLSRange, portRange(50000)
	})
	e := entryOf(1)
	e.Helper = "ftp"
	l := b.connect(e)
	l.logIn()
	if l.session().Left() != succession.LeftNot {
		t.Error("it is left to the helper")
	}
	l.accepts(client, "AUTH TLS\r\n")
	l.accepts(server, "234 go\r\n")
	if b.k.left[1] != succession.LeftEncrypted.String() || len(b.k.peers) != 0 {
		t.Errorf("left as %q, peers %v", b.k.left[1], b.k.peers)
	}
	b.logs(`msg="session is encrypted"`)
}

// TestMonitorMissed: if packets of a session passed unread, it does not know what
// was asked for.
func TestMonitorMissed(t *testing.T) {
	b, l := monitoring(t, nil)
	l.next[client] += uint32(len("PASV\r\n")) // unseen
	l.session().Miss()
	l.accepts(server, "227 Entering Passive Mode (10,0,0,2,195,80).\r\n")
	b.logs(`msg="pinhole would be opened"`, "verb=PASV")
}

// TestMonitorFull: above the limits a session passes unread, even with --fail
// closed.
func TestMonitorFull(t *testing.T) {
	b, _ := monitoring(t, func(c *config.Config) { c.MaxSessions, c.FailClosed = 1, true })
	b.connect(entryOf(2)).accepts(client, "NOOP\r\n")
	b.logs(`msg="control connection not read"`, "client=198.51.100.2:40000")
}

// TestMonitorLeavesAlone: neither time nor failed logins change anything for a
// session that is only monitored.
func TestMonitorLeavesAlone(t *testing.T) {
	b, l := monitoring(t, func(c *config.Config) {
		c.LoginFailures = config.LoginFailures{Most: 1, Within: time.Minute, Block: time.Minute}
	})
	s := l.session()
	data := expect.Tuple{Src: ap("198.51.100.1:41000"), Dst: ap("203.0.113.1:50000")}
	b.pinholes.Data.Found(data, &s.Owner)
	b.pinholes.Data.Spoke(&s.Owner)
	if due := (kept{&b.pinholes.Data}).Due(); len(due) != 0 {
		t.Errorf("the timeouts of %v are kept", due)
	}
	l.accepts(client, "USER eve\r\n")
	l.accepts(server, "331 password\r\n")
	l.accepts(client, "PASS wrong\r\n")
	l.accepts(server, "530 no\r\n")
	b.logs(`msg="client would be blocked"`, "blocked=198.51.100.1/32")
	if len(b.k.blocked) != 0 {
		t.Errorf("blocked: %v", b.k.blocked)
	}
	next := newBench(t, nil) // does more than monitor
	m := next.connect(entryOf(1))
	m.logIn()
	next.pinholes.Data.Found(data, &m.session().Owner)
	next.pinholes.Data.Spoke(&m.session().Owner)
	if due := (kept{&next.pinholes.Data}).Due(); len(due) != 1 {
		t.Errorf("the timeouts of %v are kept", due)
	}
	next.k.refuses = errors.New("no room")
	if next.g.blocker.loginFailed(m.session(), time.Now()); len(next.k.blocked) != 0 {
		t.Error("a client is blocked without the setting")
	}
}
