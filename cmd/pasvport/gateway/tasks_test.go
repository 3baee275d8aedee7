// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// TestTasks: the workers end before the others, all are waited for, and an error
// is returned.
func TestTasks(t *testing.T) {
	outer, cancel := context.WithCancel(t.Context())
	tasks := newTasks(outer, 3)
	var mu sync.Mutex
	var ended []string
	task := func(name string, err error) func(context.Context) error {
		return func(ctx context.Context) error {
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			ended = append(ended, name)
			return err
		}
	}
	want := errors.New("broken")
	tasks.start(task("watcher", nil))
	tasks.startWorker(task("worker", nil))
	tasks.startWorker(func(context.Context) error { return want })
	if err := <-tasks.failed; err != want {
		t.Errorf("%v came out", err)
	}
	cancel() // a stop is requested: the tasks continue until end
	if tasks.run.Err() != nil || tasks.work.Err() != nil {
		t.Error("they end before they are asked to")
	}
	tasks.end()
	if !slices.Equal(ended, []string{"worker", "watcher"}) {
		t.Errorf("ended: %v", ended)
	}
}
