// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"
	"time"

	"github.com/pasvport/pasvport/nfq"
)

// TestHeartbeat plays a worker's life as nfq.Queue.Run drives it.
func TestHeartbeat(t *testing.T) {
	start := time.Now()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	h := &heartbeat{every: time.Second}
	if h.alive(start, time.Hour) {
		t.Error("alive before the first beat")
	}
	if d := h.deadline(); d.IsZero() || d.After(at(0)) {
		t.Errorf("first deadline %v, want one that has passed", d)
	}
	h.beat(at(0))
	if d := h.deadline(); !d.Equal(at(1)) {
		t.Errorf("second deadline %v, want in a second", d)
	}
	h.beat(at(0.5)) // woken for something else
	if d := h.deadline(); !d.Equal(at(1)) {
		t.Errorf("deadline %v has moved", d)
	}
	if !h.alive(at(2), 2*time.Second) || h.alive(at(2.1), 2*time.Second) {
		t.Error("want alive for exactly two seconds after the beat")
	}
	h.beat(at(3)) // late
	if d := h.deadline(); !d.Equal(at(4)) || !h.alive(at(4), time.Second) {
		t.Errorf("deadline %v after a late beat, want a second later", d)
	}
}

// TestNoHeartbeat: without a watchdog a worker sleeps for as long as it needs.
func TestNoHeartbeat(t *testing.T) {
	var h heartbeat
	if d := h.deadline(); !d.IsZero() {
		t.Errorf("deadline %v, want none", d)
	}
	h.beat(time.Now())
	if h.alive(time.Now(), time.Hour) {
		t.Error("alive without a beat")
	}
}

// TestWorkerDeadline: the worker wakes at its earliest deadline.
func TestWorkerDeadline(t *testing.T) {
	now := time.Now()
	w := &worker{heart: heartbeat{every: time.Minute}}
	w.Wake(now)
	if d := w.Deadline(); !d.Equal(now.Add(time.Minute)) {
		t.Errorf("deadline %v, want the heartbeat", d)
	}
	w.shelf.put(halfLine{}, &nfq.Packet{}, now)
	if d := w.Deadline(); !d.Equal(now.Add(holdTime)) {
		t.Errorf("deadline %v, want that of the held packet", d)
	}
	late := &worker{heart: heartbeat{every: time.Minute}}
	g := &Gateway{lanes: []*lane{{worker: w}, {worker: late}}}
	if g.Alive(time.Hour) {
		t.Error("alive with a worker that has never come round")
	}
	late.Wake(now)
	if !g.Alive(time.Hour) {
		t.Error("not alive with two workers that have")
	}
}
