// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"context"
	"sync"
	"time"
)

// tasks are done one after the other, by one goroutine, so that the handling of a
// session never overlaps.
type tasks struct {
	mu     sync.Mutex
	room   sync.Cond
	list   []func()
	added  uint64
	done   uint64
	wake   chan struct{}
	closed bool
	idle   chan struct{} // closed when all are done; nil if no one waits
}

// maxTasks is how many reports of the other daemon may be pending.
const maxTasks = 4096

func newTasks() *tasks {
	t := &tasks{wake: make(chan struct{}, 1)}
	t.room.L = &t.mu
	return t
}

// put adds a task, however many there are.
func (t *tasks) put(f func()) {
	t.mu.Lock()
	t.list = append(t.list, f)
	t.added++
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// add adds a task when there is room.
func (t *tasks) add(f func()) {
	t.mu.Lock()
	for len(t.list) >= maxTasks && !t.closed {
		t.room.Wait()
	}
	t.mu.Unlock()
	t.put(f)
}

// run does tasks until ctx ends.
func (t *tasks) run(ctx context.Context) {
	defer t.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		}
		for list := t.take(); len(list) > 0; list = t.take() {
			for _, f := range list {
				f()
			}
			t.finish(len(list))
		}
	}
}

func (t *tasks) take() (list []func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list, t.list = t.list, nil
	t.room.Broadcast()
	return list
}

func (t *tasks) finish(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done += uint64(n); t.done == t.added && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

// isIdle reports whether all tasks that there were are done.
func (t *tasks) isIdle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done == t.added
}

func (t *tasks) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.room.Broadcast()
	if t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

// settle waits until all current tasks are done, and reports whether they were in
// time.
func (t *tasks) settle(within time.Duration) bool {
	t.mu.Lock()
	if t.done == t.added || t.closed {
		t.mu.Unlock()
		return true
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	bound := time.NewTimer(within)
	defer bound.Stop()
	select {
	case <-idle:
		return true
	case <-bound.C:
		return false
	}
}
