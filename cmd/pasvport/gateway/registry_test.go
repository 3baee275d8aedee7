// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

func newSession(e expect.Entry) *session.Session {
	r := session.New(&e, &ftpalg.Policy{}, time.Now(), true, new(ftpalg.Workspace))
	r.Release()
	return r.Session
}

// TestRegistry: a session is found wherever it is, with its table.
func TestRegistry(t *testing.T) {
	tables := []*session.Table{new(session.Table), new(session.Table)}
	r := registry{queues: tables}
	a, b, orphan := newSession(entryOf(1)), newSession(entryOf(2)), newSession(entryOf(3))
	tables[0].Add(a)
	tables[1].Add(b)
	r.orphans.Add(orphan)
	for s, want := range map[*session.Session]*session.Table{a: tables[0], b: tables[1], orphan: &r.orphans} {
		for _, tuple := range []expect.Tuple{s.Original(), s.Reply()} {
			if table, got := r.find(tuple); got != s || table != want || r.session(tuple) != s {
				t.Errorf("%v is not found where it is", tuple)
			}
		}
	}
	if table, s := r.find(entryOf(4).Original); table != nil || s != nil {
		t.Error("a session is found that is not there")
	}
	n := 0
	for table, s := range r.all() {
		if table.Find(s.Original()) != s {
			t.Errorf("%v is not in its table", s.Original())
		}
		n++
	}
	if n != 3 || len(r.met()) != 2 {
		t.Errorf("%d in all, %d met", n, len(r.met()))
	}
	for range r.all() {
		break // stop early
	}
}

// TestRegistryMove: a session that is being moved is always found.
func TestRegistryMove(t *testing.T) {
	r := registry{queues: []*session.Table{new(session.Table), new(session.Table)}}
	const n = 40
	var list []*session.Session
	for i := range uint32(n) {
		s := newSession(entryOf(i + 1))
		list = append(list, s)
		r.orphans.Add(s)
	}
	for _, s := range list {
		var stop atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for !stop.Load() {
					if r.session(s.Original()) != s {
						t.Errorf("%v is not found while it is moved", s.Original())
						return
					}
				}
			})
		}
		time.Sleep(50 * time.Microsecond)
		r.queues[0].Move(s.Original(), &r.orphans)
		stop.Store(true)
		wg.Wait()
	}
}
