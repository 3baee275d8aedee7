// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
)

// TestPinholeEvents: the end of a pinhole is counted, and its cause reported.
func TestPinholeEvents(t *testing.T) {
	b := newBench(t, nil)
	e := &b.holes
	s := newSession(entryOf(1))
	p := &pinhole.Pinhole{Spec: pinhole.Spec{Key: pinhole.Key{Source: s.Ends().Client.Addr(), Public: ap("203.0.113.1:50000")}}, Owner: &s.Owner}
	e.PinholeOpened(p)
	e.PinholeUsed(p)
	e.takenBack(p)
	e.PinholeEnded(p, "because")
	b.logs(`msg="pinhole used"`, "session=1")
	b.logs(`msg="pinhole taken back"`)
	b.logs(`msg="pinhole closed"`, "reason=because")
	e.failed("pinhole expired", p, "dropped")
	b.logs(`msg="pinhole expired"`, "cause=dropped", "pasvport doctor --client 198.51.100.1 --server 10.0.0.2")
	if m := &b.metrics.Pinholes; m.Opened.Load() != 1 || m.Used.Load() != 1 || m.Closed.Load() != 1 || m.Open.Load() != 0 {
		t.Error("it is not counted")
	}
}

// TestDropped: the kernel has used an expectation, but no data connection was
// seen: the ruleset has dropped it.
func TestDropped(t *testing.T) {
	b := newBench(t, nil)
	b.announced(entryOf(1))
	b.k.expected = nil
	b.sweeper().sweep(time.Now().Add(2 * time.Minute))
	b.logs("level=WARN", `msg="pinhole expired"`, "the ruleset of this machine dropped it", "pasvport doctor --client 198.51.100.1 --server 10.0.0.2")
	if m := &b.metrics.Pinholes; m.Dropped.Load() != 1 || m.Expired.Load() != 1 || m.Open.Load() != 0 {
		t.Error("it is not counted")
	}
}

// TestUnanswered: a SYN of a claimed data connection without an answer is
// reported once.
func TestUnanswered(t *testing.T) {
	b := newBench(t, nil)
	l := b.announced(plainEntry(1))
	data := dataOf(l, 50000)
	b.handle(packetOf(t, data.Original, 1, 0, "", nfq.FlagSYN))
	b.watcher().event(b.k, &expect.Event{Type: expect.New, Entry: *b.k.entries[data.Original]})
	sweeper := b.sweeper()
	if sweeper.sweep(time.Now()); b.log.has("not answered") {
		t.Error("it is reported before it can be answered")
	}
	for range 2 {
		sweeper.sweep(time.Now().Add(answerTime + time.Second))
	}
	b.logs(`msg="data connection not answered"`, "to=203.0.113.1:50000")
	if n := b.metrics.Pinholes.Dropped.Load(); n != 1 {
		t.Errorf("reported %d times", n)
	}
}

// TestAnswerUnreported: no event reports that a data connection was answered, as where
// conntrackd writes several steps of it at once. Its rule goes all the same, and nothing
// is reported.
func TestAnswerUnreported(t *testing.T) {
	for _, e := range []expect.Entry{plainEntry(1), entryOf(1)} { // claimed and expected
		b := newBench(t, nil)
		l := b.announced(e)
		data := dataOf(l, 50000)
		if b.handle(packetOf(t, data.Original, 1, 0, "", nfq.FlagSYN)); b.k.entries[data.Original] == nil {
			b.k.enter(data)
		}
		known := b.k.entries[data.Original]
		b.watcher().event(b.k, &expect.Event{Type: expect.New, Entry: *known})
		if len(b.k.elements) == 0 {
			t.Fatal("it has no rule")
		}
		known.TCPState = expect.TCPStateEstablished
		sweeper := b.sweeper()
		if sweeper.sweep(time.Now()); len(b.k.elements) == 0 {
			t.Error("it was looked up at once")
		}
		sweeper.sweep(time.Now().Add(answerTime + time.Second))
		if len(b.k.elements) != 0 || b.log.has("not answered") || b.metrics.Pinholes.Dropped.Load() != 0 {
			t.Errorf("open: %v, counted %d", b.k.elements, b.metrics.Pinholes.Dropped.Load())
		}
	}
}
