// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

// census counts the sessions, so that nobody's connections can fill the memory.
// Those that both ends have closed do not count; the tracker keeps their
// entries for minutes, and they are forgotten sooner if they are too many.
type census struct {
	mu      sync.Mutex
	living  int
	of      map[netip.Addr]int // the living, by client
	closed  map[*session]struct{}
	warned  time.Time
	unheard int // sessions turned away since then without a line in the log
}

// standing is where a session is counted. It is guarded by the census's lock.
type standing uint8

const (
	unknown standing = iota
	living
	closed
)

func newCensus() census {
	return census{closed: map[*session]struct{}{}, of: map[netip.Addr]int{}}
}

// room returns why another session of a client is not to be read, ReasonPlain
// if it is.
func (c *census) room(client netip.Addr, set *settings) report.Reason {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.living >= set.MaxSessions:
		return report.ReasonSessions
	case c.of[client] >= set.MaxClientSessions:
		return report.ReasonClientSessions
	}
	return report.ReasonPlain
}

// alive returns how many sessions live.
func (c *census) alive() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.living
}

func (c *census) enter(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.standing = living
	c.living++
	c.of[s.ep.Client.Addr()]++
}

// close counts a session that is closed no more. If more than most are kept it
// returns one that is to be forgotten.
func (c *census) close(s *session, most int) (surplus *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.standing != living {
		return nil
	}
	c.leave(s)
	s.standing, c.closed[s] = closed, struct{}{}
	if len(c.closed) > most {
		for surplus = range c.closed {
			break
		}
	}
	return surplus
}

// forget forgets a session.
func (c *census) forget(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.standing == living {
		c.leave(s)
	}
	s.standing = unknown
	delete(c.closed, s)
}

// leave counts a living session no more.
func (c *census) leave(s *session) {
	c.living--
	client := s.ep.Client.Addr()
	if c.of[client]--; c.of[client] == 0 {
		delete(c.of, client)
	}
}

// warnEvery is how often sessions that are turned away are told of.
const warnEvery = 10 * time.Second

// heard reports whether a session that was turned away may be told of in the
// log now, and how many were not since the last time.
func (c *census) heard(now time.Time) (more int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.warned) < warnEvery {
		c.unheard++
		return 0, false
	}
	more, c.unheard, c.warned = c.unheard, 0, now
	return more, true
}

// turnAway makes a session of an entry beyond a limit that is not kept. It is
// treated as if there was no daemon: it passes unread and leaves the queue, or,
// with --fail closed, waits until there is room.
func (w *worker) turnAway(e *expect.Entry, r report.Reason) *session {
	s := newSession(e, w.g.settings().policyFor(e), w.now, false, &w.work)
	s.aside, s.waits = true, w.g.cfg.FailClosed
	w.g.count(r)
	if more, ok := w.g.census.heard(w.now); ok {
		w.g.report.Report(slog.LevelWarn, s.subject(), "control connection not read", "reason", r, "more", more, "hint", r.Hint())
	}
	if !s.waits {
		w.g.leaveQueue(w.ct, s, succession.LeftAlone)
	}
	return s
}
