// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pasvport/pasvport/expect"
)

// TestOlder: which connections may have begun before our rules were installed,
// before they are listed and after.
func TestOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOlderConnections()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		var lists atomic.Int32
		there := []uint32{1, 2} // when a list is due
		go func() {
			ended <- o.run(ctx, func(f func(uint32)) {
				lists.Add(1)
				for _, id := range there {
					f(id)
				}
			})
		}()
		want := func(when string, id uint32, want bool) {
			t.Helper()
			if got := o.has(id); got != want {
				t.Errorf("%s: connection %d is older: %v, want %v", when, id, got, want)
			}
		}
		want("before the rules are there", 1, true)
		o.note()
		o.begins(2)
		want("seen to begin", 2, false)
		if lists.Load() != 0 {
			t.Error("they are listed although no one has asked")
		}
		began := time.Now()
		want("listed because it is asked for", 3, false)
		if lists.Load() != 1 || time.Since(began) > 0 {
			t.Errorf("%d lists after %v", lists.Load(), time.Since(began))
		}
		want("listed", 1, true)
		want("listed", 2, false)
		o.begins(1) // has no effect now
		want("listed", 1, true)

		there = []uint32{3}
		o.note()
		time.Sleep(olderAfter + 1)
		if lists.Load() != 2 {
			t.Error("they are not listed a second later")
		}
		want("listed again", 1, false)
		want("listed again", 3, true)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestOlderAgain: the rules were missing once more while the list was made.
func TestOlderAgain(t *testing.T) {
	o := newOlderConnections()
	o.note()
	lists := 0
	list := func(f func(uint32)) {
		if lists++; lists == 1 {
			o.begins(1)
			o.note()
			return
		}
		f(1)
	}
	for o.make(list) {
	}
	if !o.has(1) || lists != 2 {
		t.Errorf("%d lists, and connection 1 is not an older one", lists)
	}
}

// TestOlderBound: a packet does not wait for long.
func TestOlderBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOlderConnections()
		o.note() // and no one makes the list
		began := time.Now()
		if !o.has(1) || time.Since(began) != olderBound {
			t.Errorf("after %v it does not count as an older one", time.Since(began))
		}
	})
}

// TestStarted: connections that show that they were picked up are not asked for.
func TestStarted(t *testing.T) {
	a := &adopter{older: newOlderConnections()}
	a.older.note()
	for a.older.make(func(f func(uint32)) { f(1) }) {
	}
	for id, want := range map[uint32]bool{1: false, 2: true} {
		if a.started(&expect.Entry{ID: id}) != want {
			t.Errorf("connection %d: want %v", id, want)
		}
	}
	if a.started(&expect.Entry{ID: 2, Liberal: true}) {
		t.Error("a connection that was picked up in the middle is seen from its start")
	}
}
