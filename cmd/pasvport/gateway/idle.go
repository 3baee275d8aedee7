// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

const (
	// probes is how many in a row an end may leave unanswered.
	probes = 3
	// longestProbe bounds the time between two of them.
	longestProbe = 10 * time.Second
	// shortestTick and longestTick bound how often sessions are looked at; a
	// look reads our memory and asks the kernel nothing.
	shortestTick = 100 * time.Millisecond
	longestTick  = 5 * time.Second
)

// idleWatch looks for silent control connections. It belongs to one goroutine.
type idleWatch struct {
	g      *Gateway
	in     *injector
	probed map[*session]*probing
	local  map[netip.Addr]bool // our own addresses, as of the last look
}

// probing is the state of one session's keep-alive, by direction of the probes:
// those in direction d are answered by the other end.
type probing struct {
	sent   [2]time.Time
	missed [2]int
}

// openIdle gets what --keepalive and --session-idle need. Without the right to
// it the daemon does without them.
func (g *Gateway) openIdle() {
	if g.cfg.Keepalive == 0 && g.cfg.SessionIdle == 0 {
		return
	}
	in, err := openInjector()
	if err != nil {
		g.log.Warn("no keep-alive and no end of idle sessions", "keepalive", g.cfg.Keepalive,
			"session_idle", g.cfg.SessionIdle, "err", err)
		g.plan.rules.Bare = false
		return
	}
	g.injector = in
}

// watchIdle probes and ends silent sessions until ctx ends.
func (g *Gateway) watchIdle(ctx context.Context) error {
	if g.injector == nil {
		return nil
	}
	w := &idleWatch{g: g, in: g.injector, probed: map[*session]*probing{}}
	tick := time.NewTicker(w.tick())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			w.look(now)
		}
	}
}

// tick is how often to look: often enough to be late by a tenth only.
func (w *idleWatch) tick() time.Duration {
	d := longestTick
	for _, t := range []time.Duration{w.g.cfg.Keepalive, w.g.cfg.SessionIdle} {
		if t > 0 {
			d = min(d, t/10)
		}
	}
	return max(d, shortestTick)
}

func (w *idleWatch) look(now time.Time) {
	w.local = localAddresses()
	live := map[*session]*probing{}
	for _, worker := range w.g.workers {
		for _, s := range worker.table.all() {
			ends, spoke, ok := s.ends()
			if !ok {
				continue
			}
			p := w.probed[s]
			if p == nil {
				p = &probing{}
			}
			if w.idle(s, &ends, spoke, now) || w.keep(s, p, &ends, now) {
				continue
			}
			live[s] = p
		}
	}
	w.probed = live
}

// idle ends a session that nobody uses, and reports whether it did.
func (w *idleWatch) idle(s *session, ends *[2]wireEnd, spoke, now time.Time) bool {
	after := w.g.cfg.SessionIdle
	if s.transferring.Load() {
		s.mu.Lock()
		s.wire.spoke = now
		s.mu.Unlock()
		return false
	}
	if after == 0 || now.Sub(spoke) < after {
		return false
	}
	w.g.log.Info("idle control connection reset", "client", s.ep.Client, "server", s.ep.Server,
		"idle", now.Sub(spoke).Round(time.Second))
	w.reset(s, ftpalg.Original, ends)
	w.reset(s, ftpalg.Reply, ends)
	return true
}

// keep probes a silent session, and ends it if one of its ends is gone. It
// reports whether it ended it.
//
// It probes one end in a look. The answer carries a newer timestamp to the
// other end, which from then on drops a probe with the one that we know now,
// and does not answer it (tcp_disordered_ack_check in net/ipv4/tcp_input.c).
func (w *idleWatch) keep(s *session, p *probing, ends *[2]wireEnd, now time.Time) bool {
	after := w.g.cfg.Keepalive
	if after == 0 {
		return false
	}
	for d := range ends {
		to := ftpalg.Direction(1 - d) // who has to answer a probe in direction d
		switch {
		case w.isLocal(s, to), !p.due(d, ends[to].heard, after, now):
			continue
		case p.missed[d] >= probes:
			w.gone(s, to, ends)
			return true
		}
		w.probe(s, ftpalg.Direction(d), p, ends, now)
		return false
	}
	return false
}

// due reports whether the time has come for a probe in direction d, and counts
// it if the last one was not answered.
func (p *probing) due(d int, heard time.Time, after time.Duration, now time.Time) bool {
	if heard.After(p.sent[d]) {
		p.sent[d], p.missed[d] = time.Time{}, 0
		return now.Sub(heard) >= after
	}
	if now.Sub(p.sent[d]) < min(after, longestProbe) {
		return false
	}
	p.missed[d]++
	return true
}

func (w *idleWatch) probe(s *session, d ftpalg.Direction, p *probing, ends *[2]wireEnd, now time.Time) {
	p.sent[d] = now
	if err := w.in.probe(s, d, &ends[d]); err != nil {
		w.g.log.Debug("keep-alive not sent", "client", s.ep.Client, "server", s.ep.Server, "err", err)
	}
}

// gone ends a session whose one end does not answer: the other is reset.
func (w *idleWatch) gone(s *session, d ftpalg.Direction, ends *[2]wireEnd) {
	who := map[ftpalg.Direction]string{ftpalg.Original: "client", ftpalg.Reply: "server"}[d]
	w.g.log.Info("control connection reset, one end is gone", "client", s.ep.Client, "server", s.ep.Server, "gone", who)
	w.reset(s, d, ends)
}

// reset resets the end that receives direction d.
func (w *idleWatch) reset(s *session, d ftpalg.Direction, ends *[2]wireEnd) {
	s.mu.Lock()
	s.state = expect.TCPStateClose
	s.mu.Unlock()
	if err := w.in.reset(s, d, &ends[d]); err != nil {
		w.g.log.Warn("reset not sent", "client", s.ep.Client, "server", s.ep.Server, "err", err)
	}
}

// isLocal reports whether the end that sends direction d is on this machine: a
// connection is not lost on the way to it.
func (w *idleWatch) isLocal(s *session, d ftpalg.Direction) bool {
	if d == ftpalg.Original {
		return w.local[s.ep.Client.Addr()]
	}
	return w.local[s.ep.Server.Addr()]
}

func localAddresses() map[netip.Addr]bool {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	local := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				local[addr.Unmap()] = true
			}
		}
	}
	return local
}
