// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// queueBound is how many packets a queue holds (nfq.Config.MaxLen).
	queueBound = 4096
	// overloadSessions send as many segments as a new connection may have
	// unacknowledged (RFC 6928), which is more than the queue holds.
	overloadSessions, overloadSegments = 480, 10
	// overloadLine is a line that always has to be read.
	overloadLine = "STAT\r\n"
)

// TestOverload offers more control packets than the daemon handles: it suspends
// the daemon, which is the worst overload. Packets wait up to the queue's bound,
// and the excess passes or is dropped, depending on --fail. When the daemon
// continues, everyone gets every answer, new sessions work at once, and nothing
// is left behind.
func TestOverload(t *testing.T) {
	needDaemon(t)
	for _, fail := range []string{"open", "closed"} {
		t.Run(fail, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("masquerade"), AllowRelated, Auto, "--queues", "1", "--fail", fail, "--log-level", "info")
			startMini(t, site.ServerHost(), netip.AddrPortFrom(site.ServerAddr(IPv4), 21))
			overload(t, site, fail == "open")
		})
	}
}

func overload(t *testing.T, site *Site, passes bool) {
	d := site.Daemons[0]
	var sessions []*miniSession
	for range overloadSessions {
		sessions = append(sessions, site.miniLogin(t))
	}
	quiet := site.miniLogin(t)
	before := d.memory(t)
	if err := d.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Signal(syscall.SIGCONT) }) // it is asked to stop later
	for _, s := range sessions {
		for range overloadSegments {
			if _, err := io.WriteString(s.c, overloadLine); err != nil {
				t.Fatal(err)
			}
		}
	}
	site.waitFull(t)
	beyond(t, site, quiet, passes)
	if err := d.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	site.transferSoon(t)
	for i, s := range sessions {
		for j := range overloadSegments {
			// TCP retransmits dropped segments later each time.
			s.c.SetReadDeadline(time.Now().Add(3 * lineTimeout))
			if line, err := s.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "200") {
				t.Fatalf("session %d, answer %d: %q, %v", i, j, line, err)
			}
		}
	}
	if !passes {
		if line, err := quiet.reply(); err != nil { // its line was retransmitted
			t.Errorf("the session above the bound: %q, %v", line, err)
		}
	}
	site.nothingLeft(t, passes)
	if after := d.memory(t); after > before+16<<10 {
		t.Errorf("the daemon had %d kB before and has %d kB", before, after)
	}
}

// miniLogin opens a session from the client's host.
func (s *Site) miniLogin(t *testing.T) *miniSession {
	t.Helper()
	h := s.ClientHost()
	m, err := miniLogin(h, s.Dial(h, IPv4, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.c.Close() })
	return m
}

// waitFull waits until the queue is full, and checks for a while that it does not
// exceed its bound.
func (s *Site) waitFull(t *testing.T) {
	t.Helper()
	if err := waitFor(20*time.Second, "full queue", func() bool { return s.waiting(t) >= queueBound }); err != nil {
		t.Fatalf("%v: %d packets wait", err, s.waiting(t))
	}
	for range 20 {
		if n := s.waiting(t); n > queueBound {
			t.Fatalf("%d packets wait, more than %d", n, queueBound)
		}
		time.Sleep(10 * time.Millisecond) // retransmissions arrive meanwhile
	}
}

// waiting is how many packets wait for a verdict.
func (s *Site) waiting(t *testing.T) int {
	t.Helper()
	return s.Firewalls[0].queued()
}

// queued is how many packets wait in the queues of a host.
func (h *Host) queued() (n int) {
	for line := range strings.Lines(h.Proc("netfilter/nfnetlink_queue")) {
		var queue, port, waiting int
		if _, err := fmt.Sscan(line, &queue, &port, &waiting); err == nil {
			n += waiting
		}
	}
	return n
}

// beyond sends a command while nothing can be queued any more.
func beyond(t *testing.T, site *Site, quiet *miniSession, passes bool) {
	t.Helper()
	wait := time.Second
	if passes {
		wait = lineTimeout
	}
	if _, err := io.WriteString(quiet.c, overloadLine); err != nil {
		t.Fatal(err)
	}
	quiet.c.SetReadDeadline(time.Now().Add(wait))
	line, err := quiet.in.ReadString('\n')
	if (err == nil) != passes {
		t.Errorf("a command above the bound: %q, %v; want an answer: %t", line, err, passes)
	}
	if !passes {
		quiet.in = bufio.NewReader(quiet.c) // forget the error
		return
	}
	site.miniLogin(t)
}

// transferSoon transfers a file in a new session as soon as the queue has room:
// before that its announcement would pass unread, or be dropped.
func (s *Site) transferSoon(t *testing.T) {
	t.Helper()
	start := time.Now()
	if err := waitFor(20*time.Second, "empty queue", func() bool { return s.waiting(t) == 0 }); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packets handled in %v", queueBound, time.Since(start).Round(time.Millisecond))
	m := s.miniLogin(t)
	for _, mode := range []Mode{PASV, PORT} {
		if n, err := m.transfer(mode, "small", io.Discard); err != nil || n != miniSmall {
			t.Errorf("%s after the overload: %d bytes, %v", mode, n, err)
		}
	}
	t.Logf("a new session and two transfers done %v after the overload", time.Since(start).Round(time.Millisecond))
}

// nothingLeft checks that no packet waits, no pinhole is open, and the counters
// are right.
func (s *Site) nothingLeft(t *testing.T, passes bool) {
	t.Helper()
	var status, queue Object
	err := waitFor(20*time.Second, "empty queue, and no open pinhole", func() bool {
		var err error
		if status, err = s.Daemons[0].Status(); err != nil {
			t.Fatal(err)
		}
		queue = status["queues"].([]any)[0].(Object)
		return queue["waiting"] == 0.0 && status["pinholes_open"] == 0.0
	})
	if err != nil {
		t.Errorf("%v: %v pinholes are open, queue %v", err, status["pinholes_open"], queue)
	}
	if dropped := queue["dropped"].(float64); (dropped > 0) == passes {
		t.Errorf("queue %v; want drops: %t", queue, !passes)
	}
}
