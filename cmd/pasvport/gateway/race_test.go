// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/rules"
)

// TestAllAtOnce: the worker reads a session while every other goroutine of a gateway
// does to it what it may do at any time. The race detector sees what is not guarded.
func TestAllAtOnce(t *testing.T) {
	b := newBench(t, nil)
	b.notes = true
	l := b.connect(plainEntry(1))
	l.logIn()
	watcher, sweeper := b.watcher(), b.sweeper()
	healer := &healer{services: b.services, registry: b.registry, older: b.w.older}
	g := b.g
	s := l.session()
	entry := plainEntry(1)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, f := range []func(){
		func() { watcher.event(b.k, &expect.Event{Type: expect.Update, Entry: entry}) },
		func() {
			other := entryOf(2)
			watcher.event(b.k, &expect.Event{Type: expect.Destroy, Entry: other})
		},
		func() { sweeper.sweep(time.Now()) },
		sweeper.reconcile,
		func() { g.list(time.Now()); g.limits() },
		func() { healer.healed(rules.Healing{}, nil); s.Miss() },
		func() { s.Keepalive(); s.SetNote("noted"); s.TransferWaits(); s.Lost() },
	} {
		wg.Go(func() {
			for ctx.Err() == nil {
				f()
			}
		})
	}
	for i := range 100 {
		l.passive(50000 + i)
		l.say(client, "RETR file\r\n")
		l.say(server, "550 no\r\n")
	}
	cancel()
	wg.Wait()
	if l.session() != s || b.metrics.Pinholes.Opened.Load() != 100 {
		t.Errorf("%d pinholes were opened", b.metrics.Pinholes.Opened.Load())
	}
}
