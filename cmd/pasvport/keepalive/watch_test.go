// SPDX-License-Identifier: Apache-2.0

package keepalive

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// control is a session of the tests.
type control struct {
	state  State
	closed bool
}

func (c *control) Keepalive() State { return c.state }
func (c *control) SetClosed()       { c.closed, c.state.Established = true, false }

// wire is a sender that records what is sent.
type wire struct {
	sent []string
	err  error
}

func (w *wire) Probe(t expect.Tuple, e *End) error {
	w.sent = append(w.sent, fmt.Sprintf("probe %v %d", t.Dst.Port(), e.Next))
	return w.err
}

func (w *wire) Reset(t expect.Tuple, e *End) error {
	w.sent = append(w.sent, fmt.Sprintf("reset %v %d", t.Dst.Port(), e.Next))
	return w.err
}

// scene is a watch over one silent session, client port 4000, server port 21.
type scene struct {
	Watch[*control]
	wire  wire
	c     *control
	ended []Cause
	now   time.Time
}

var began = time.Unix(2000, 0)

func newScene() *scene {
	original := tuple("192.0.2.1:4000", "192.0.2.2:21")
	st := &scene{now: began, c: &control{state: State{Conn: new(Conn), Established: true,
		Tuples: [2]expect.Tuple{original, {Src: original.Dst, Dst: original.Src}}}}}
	st.Sender, st.Sessions = &st.wire, func() []*control { return []*control{st.c} }
	st.Ended = func(_ *control, c Cause, _ time.Duration) { st.ended = append(st.ended, c) }
	st.Failed = func(*control, bool, error) {}
	st.c.state.Conn.Note(ftpalg.Original, packet(100, 200, ""), began)
	st.c.state.Conn.Note(ftpalg.Reply, packet(200, 100, ""), began)
	return st
}

// look lets time pass and makes the watch look; want is what it sends.
func (st *scene) look(t *testing.T, wait time.Duration, want ...string) {
	t.Helper()
	st.wire.sent = nil
	st.now = st.now.Add(wait)
	st.Watch.look(st.now)
	if !slices.Equal(st.wire.sent, want) {
		t.Errorf("after %v: sent %q, want %q", st.now.Sub(began), st.wire.sent, want)
	}
}

// answer makes an end answer a probe.
func (st *scene) answer(d ftpalg.Direction) {
	numbers := [2][2]uint32{{100, 200}, {200, 100}}[d]
	st.c.state.Conn.Note(d, packet(numbers[0], numbers[1], ""), st.now)
}

const (
	toServer = "probe 21 100"
	toClient = "probe 4000 200"
)

// TestOneProbeInALook: the two ends of a silent session are probed in turn. A
// probe that overtakes the timestamp in the other end's answer is not answered,
// and a living end would seem dead.
func TestOneProbeInALook(t *testing.T) {
	const after, tick = 3 * time.Second, 300 * time.Millisecond
	st := newScene()
	st.Every = after
	st.look(t, after-tick)
	st.look(t, tick, toServer)
	st.look(t, tick, toClient)
	st.answer(ftpalg.Reply)
	st.look(t, tick)
	st.look(t, after-tick, toServer)
	st.look(t, tick, toClient) // the second unanswered
	st.answer(ftpalg.Reply)
	st.look(t, after, toServer)
	st.look(t, tick, toClient)
	st.answer(ftpalg.Reply)
	st.look(t, after, toServer)
	st.look(t, tick, "reset 21 100") // the client has not answered three: its server is reset
	if !slices.Equal(st.ended, []Cause{CauseClientGone}) || !st.c.closed {
		t.Errorf("ended %v, closed %t", st.ended, st.c.closed)
	}
	st.look(t, after)
}

func TestServerGone(t *testing.T) {
	st := newScene()
	st.Every = time.Second
	for range probes {
		st.look(t, time.Second, toServer)
		st.answer(ftpalg.Original)
	}
	st.look(t, time.Second, "reset 4000 200")
	if !slices.Equal(st.ended, []Cause{CauseServerGone}) {
		t.Errorf("ended %v", st.ended)
	}
}

// An end on this machine is not probed: no connection is lost on the way to it.
func TestLocalEnd(t *testing.T) {
	st := newScene()
	st.Every, st.local = time.Second, map[netip.Addr]bool{st.c.state.Tuples[0].Src.Addr(): true}
	for range 2 {
		st.look(t, time.Second, toServer)
		st.answer(ftpalg.Reply)
	}
}

func TestIdle(t *testing.T) {
	st := newScene()
	st.Idle = time.Minute
	st.c.state.Transferring = true
	st.look(t, time.Hour) // a transfer counts as use
	st.c.state.Transferring = false
	st.look(t, time.Minute-time.Second)
	st.look(t, time.Second, "reset 21 100", "reset 4000 200")
	if !slices.Equal(st.ended, []Cause{CauseIdle}) {
		t.Errorf("ended %v", st.ended)
	}
}

// A session of which too little is known is left alone.
func TestLeftAlone(t *testing.T) {
	for name, change := range map[string]func(*State){
		"nothing seen":     func(s *State) { s.Conn = nil },
		"one end adjusted": func(s *State) { s.Conn, s.Adjusted = new(Conn), true; s.Conn.Note(0, packet(1, 2, ""), began) },
		"not established":  func(s *State) { s.Established = false },
	} {
		t.Run(name, func(t *testing.T) {
			st := newScene()
			st.Every, st.Idle = time.Second, time.Minute
			change(&st.c.state)
			st.look(t, time.Hour)
		})
	}
}

// A failure to send is reported, and the session continues to its end.
func TestSendFails(t *testing.T) {
	st := newScene()
	st.Every, st.wire.err = time.Second, errors.New("network is down")
	var failed []bool
	st.Failed = func(_ *control, reset bool, _ error) { failed = append(failed, reset) }
	for range 2*probes + 2 {
		st.now = st.now.Add(time.Second)
		st.Watch.look(st.now)
	}
	if !slices.Contains(failed, false) || !slices.Contains(failed, true) || len(st.ended) != 1 {
		t.Errorf("failed %v, ended %v", failed, st.ended)
	}
}

func TestTick(t *testing.T) {
	for _, tt := range []struct{ every, idle, want time.Duration }{
		{0, 0, longestTick}, {time.Hour, 0, longestTick}, {10 * time.Second, 0, time.Second},
		{time.Hour, 20 * time.Second, 2 * time.Second}, {100 * time.Millisecond, 0, shortestTick},
	} {
		w := Watch[*control]{Every: tt.every, Idle: tt.idle}
		if got := w.tick(); got != tt.want {
			t.Errorf("%v and %v: a tick of %v, want %v", tt.every, tt.idle, got, tt.want)
		}
	}
}

// Run looks until its context ends.
func TestRun(t *testing.T) {
	st := newScene()
	st.Every = shortestTick
	ctx, cancel := context.WithCancel(context.Background())
	probed := make(chan struct{}, 16)
	st.Sessions = func() []*control {
		select {
		case probed <- struct{}{}:
		default:
		}
		return nil
	}
	done := make(chan error)
	go func() { done <- st.Run(ctx) }()
	<-probed
	<-probed
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
