// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pasvport/pasvport/expect"
)

func (b *bench) sweeper() *sweeper {
	return &sweeper{life: b.life, ct: b.k, lost: make(chan struct{}), ended: map[uint32]expect.Tuple{}}
}

// TestSweep: pinholes end with their timeout and with their session, even if
// events were lost.
func TestSweep(t *testing.T) {
	for _, tt := range []struct {
		name   string
		after  time.Duration
		edit   func(*bench, *link)
		open   bool
		logged string
	}{
		{"in time", 0, func(*bench, *link) {}, true, "pinhole opened"},
		{"its time is over", 2 * time.Minute, func(*bench, *link) {}, false, `msg="pinhole expired"`},
		{"its entry is gone", 0, func(b *bench, l *link) { b.k.remove(l.entry) }, false, `msg="pinhole closed"`},
		{"its connection is closed", 0, func(b *bench, l *link) { l.entry.TCPState = expect.TCPStateTimeWait }, false, `msg="session ended"`},
		{"its session is gone", 0, func(b *bench, l *link) {
			b.w.table.Remove(l.session())
			l.entry.TCPState = expect.TCPStateTimeWait
		}, false, `msg="pinhole closed"`},
		{"a transfer waits", 59500 * time.Millisecond, func(b *bench, l *link) { l.say(client, "RETR file\r\n") }, true, "pinhole opened"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			l := b.announced(plainEntry(1))
			tt.edit(b, l)
			before := time.Time{}
			for _, p := range b.pinholes.All() {
				before = p.Until()
			}
			b.sweeper().sweep(time.Now().Add(tt.after))
			all := b.pinholes.All()
			if (len(all) == 1) != tt.open {
				t.Errorf("open: %v", all)
			}
			if tt.name == "a transfer waits" && !all[0].Until().After(before) {
				t.Error("it is not kept")
			}
			b.logs(tt.logged)
		})
	}
}

// TestRepeatedAnnouncement: as long as an announcement is retransmitted, because
// the client has not received it, its pinhole stays.
func TestRepeatedAnnouncement(t *testing.T) {
	for _, repeated := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, nil)
			l := b.connect(entryOf(1))
			l.logIn()
			before := l.next[server]
			said := l.passive(50000)
			sweeper := b.sweeper()
			for second := range 200 {
				time.Sleep(time.Second)
				if sweeper.sweep(time.Now()); repeated && (second == 25 || second == 51 || second == 102) {
					l.next[server] = before
					if _, again := l.say(server, "227 Entering Passive Mode (10,0,0,2,195,80).\r\n"); again != said {
						t.Errorf("%q was retransmitted as %q", said, again)
					}
				}
				if open := len(b.pinholes.All()) == 1; open != (second < 60 || repeated) {
					t.Fatalf("repeated %v: after %d s it is open: %v", repeated, second+1, open)
				}
			}
		})
	}
}

// TestReconcile: sessions that conntrack no longer has are forgotten, and no
// others.
func TestReconcile(t *testing.T) {
	b := newBench(t, nil)
	stays, goes := b.connect(entryOf(1)), b.connect(entryOf(2))
	stays.logIn()
	goes.logIn()
	b.k.remove(goes.entry)
	w := b.sweeper()
	for range 2 {
		w.reconcile()
	}
	if stays.session() == nil || goes.session() != nil {
		t.Error("the wrong session is forgotten")
	}
}

// TestSweeperRuns: it sweeps in time, compares after events were lost, and ends.
func TestSweeperRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		gone := b.connect(entryOf(1))
		gone.logIn()
		b.k.remove(gone.entry)
		w := b.sweeper()
		lost := make(chan struct{})
		w.lost = lost
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.run(ctx) }()
		time.Sleep(2 * sweepEvery)
		if gone.session() == nil {
			t.Error("it is forgotten before it is compared")
		}
		lost <- struct{}{}
		time.Sleep(2 * sweepEvery)
		synctest.Wait()
		if gone.session() != nil {
			t.Error("it is not forgotten though events were lost")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		b.logs(`msg="conntrack events were lost"`)
	})
}

// TestSayLeft: the number of lines that the log left out is reported once.
func TestSayLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		l := b.connect(entryOf(1))
		l.logIn()
		w := b.sweeper()
		for range 1000 {
			b.warn(l.session().Subject(), "odd")
		}
		if w.sayLeft(); b.log.has("left out") {
			t.Error("it is reported while a later line may report it")
		}
		time.Sleep(2 * time.Minute)
		w.sayLeft()
		n := b.log.b.Len()
		if w.sayLeft(); !b.log.has(`msg="lines were left out of the log"`) || b.log.b.Len() != n {
			t.Error("it is not reported once")
		}
	})
}
