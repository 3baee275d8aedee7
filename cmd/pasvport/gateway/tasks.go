// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"sync"
)

// tasks are the goroutines of a gateway, in two groups: the workers end first, as
// they wait for what the others do.
type tasks struct {
	run, work         context.Context
	stopAll, stopWork context.CancelFunc
	others, workers   sync.WaitGroup
	failed            chan error
}

// newTasks returns tasks of which at most n fail.
func newTasks(ctx context.Context, n int) *tasks {
	t := &tasks{failed: make(chan error, n)}
	t.run, t.stopAll = context.WithCancel(context.WithoutCancel(ctx))
	t.work, t.stopWork = context.WithCancel(t.run)
	return t
}

// start starts a task that ends with the last ones.
func (t *tasks) start(f func(context.Context) error) { t.launch(t.run, &t.others, f) }

// startWorker starts a task that ends with the workers.
func (t *tasks) startWorker(f func(context.Context) error) { t.launch(t.work, &t.workers, f) }

func (t *tasks) launch(ctx context.Context, wg *sync.WaitGroup, f func(context.Context) error) {
	wg.Go(func() {
		if err := f(ctx); err != nil {
			t.failed <- err
		}
	})
}

// endWorkers ends the workers and waits for them.
func (t *tasks) endWorkers() {
	t.stopWork()
	t.workers.Wait()
}

// end ends all tasks and waits for them.
func (t *tasks) end() {
	t.endWorkers()
	t.stopAll()
	t.others.Wait()
}
