// SPDX-License-Identifier: Apache-2.0

package keepalive

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/pasvport/pasvport/expect"
)

const (
	// probes is how many probes in a row an end may leave unanswered.
	probes = 3
	// longestProbe limits the time between two of them.
	longestProbe = 10 * time.Second
	// shortestTick and longestTick limit how often sessions are checked; a check
	// reads our memory and does not ask the kernel.
	shortestTick = 100 * time.Millisecond
	longestTick  = 5 * time.Second
)

// Session is a control connection that a Watch watches. Its methods are safe for
// concurrent use.
type Session interface {
	comparable
	// Keepalive returns what is known of the connection.
	Keepalive() State
	// SetClosed records that the connection was reset.
	SetClosed()
}

// State is a control connection at one moment.
type State struct {
	Conn         *Conn           // nil if no segment was recorded yet
	Tuples       [2]expect.Tuple // by direction
	Established  bool            // and in no zone: a segment of ours leaves by the default one
	Adjusted     bool            // its sequence numbers are adjusted
	Transferring bool            // it has open data connections
}

// Cause is why we ended a session.
type Cause uint8

const (
	// CauseNone: we did not.
	CauseNone Cause = iota
	// CauseIdle: no one used it for Watch.Idle.
	CauseIdle
	// CauseClientGone and CauseServerGone: that end did not answer.
	CauseClientGone
	CauseServerGone
	// CauseByHand: an administrator ended it.
	CauseByHand
)

// String returns the words of the log, "" for CauseNone.
func (c Cause) String() string {
	return [...]string{"", "idle", "client gone", "server gone", "by hand"}[c]
}

// sender is the part of a Sender that a Watch needs.
type sender interface {
	Probe(expect.Tuple, *End) error
	Reset(expect.Tuple, *End) error
}

// Watch probes silent control connections and ends idle ones. It belongs to the
// goroutine of Run.
type Watch[S Session] struct {
	Every    time.Duration // silence after which an end is probed; 0: no probes
	Idle     time.Duration // disuse after which a session is ended; 0: never
	Sender   sender
	Sessions func() []S
	// Ended is called for each session that was ended, with how long it was
	// unused.
	Ended func(s S, c Cause, unused time.Duration)
	// Failed is called if a segment could not be sent.
	Failed func(s S, reset bool, err error)

	probed map[S]*probing
	local  map[netip.Addr]bool // our own addresses, as of the last check
}

// probing is the state of one session's keep-alive, by direction of the probes:
// those in direction d are answered by the other end.
type probing struct {
	sent   [2]time.Time
	missed [2]int
}

// Run watches the sessions until ctx ends.
func (w *Watch[S]) Run(ctx context.Context) error {
	tick := time.NewTicker(w.tick())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			w.local = localAddresses()
			w.look(now)
		}
	}
}

// tick is the interval of checks: short enough to be late by at most a tenth.
func (w *Watch[S]) tick() time.Duration {
	d := longestTick
	for _, t := range []time.Duration{w.Every, w.Idle} {
		if t > 0 {
			d = min(d, t/10)
		}
	}
	return max(d, shortestTick)
}

func (w *Watch[S]) look(now time.Time) {
	live := map[S]*probing{}
	for _, s := range w.Sessions() {
		st := s.Keepalive()
		if !st.Established || st.Conn == nil {
			continue
		}
		ends, used, ok := st.Conn.Silent(st.Adjusted)
		if !ok {
			continue
		}
		p := w.probed[s]
		if p == nil {
			p = &probing{}
		}
		if w.endIdle(s, &st, &ends, now.Sub(used), now) || w.keep(s, &st, p, &ends, now) {
			continue
		}
		live[s] = p
	}
	w.probed = live
}

// endIdle ends an unused session, and reports whether it did.
func (w *Watch[S]) endIdle(s S, st *State, ends *Ends, unused time.Duration, now time.Time) bool {
	if st.Transferring {
		st.Conn.Use(now)
		return false
	}
	if w.Idle == 0 || unused < w.Idle {
		return false
	}
	w.reset(s, st, 0, ends)
	w.reset(s, st, 1, ends)
	w.Ended(s, CauseIdle, unused)
	return true
}

// keep probes a silent session, and ends it if one of its ends is gone. It
// reports whether it ended it.
//
// It probes one end per check. The answer carries a newer timestamp to the other
// end, which from then on drops a probe with the one that we know now, and does
// not answer it (tcp_disordered_ack_check in net/ipv4/tcp_input.c).
func (w *Watch[S]) keep(s S, st *State, p *probing, ends *Ends, now time.Time) bool {
	if w.Every == 0 {
		return false
	}
	for d := range ends {
		to := 1 - d // the end that has to answer a probe in direction d
		switch {
		case w.local[st.Tuples[to].Src.Addr()]: // a connection is not lost on the way to this machine
			continue
		case !p.due(d, ends[to].Heard, w.Every, now):
			continue
		case p.missed[d] < probes:
			p.sent[d] = now
			if err := w.Sender.Probe(st.Tuples[d], &ends[d]); err != nil {
				w.Failed(s, false, err)
			}
			return false
		}
		w.reset(s, st, to, ends)
		w.Ended(s, CauseClientGone+Cause(to), now.Sub(ends[to].Heard))
		return true
	}
	return false
}

// due reports whether it is time for a probe in direction d, and counts the last
// one if it was not answered.
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

// reset resets the end that receives direction d.
func (w *Watch[S]) reset(s S, st *State, d int, ends *Ends) {
	s.SetClosed()
	if err := w.Sender.Reset(st.Tuples[d], &ends[d]); err != nil {
		w.Failed(s, true, err)
	}
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
