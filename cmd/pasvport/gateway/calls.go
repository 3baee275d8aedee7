// SPDX-License-Identifier: Apache-2.0

package gateway

import "errors"

// maxCalls is how many calls may wait for a worker.
const maxCalls = 16

var errBusy = errors.New("the daemon is busy; try again")

// calls are functions that a worker's goroutine calls for others.
type calls chan func()

// post makes the goroutine call f, and reports whether it will. wake wakes it.
func (c calls) post(wake func(), f func()) bool {
	select {
	case c <- f:
		wake()
		return true
	default:
		return false
	}
}

// do makes the goroutine call f, and returns the result of f.
func (c calls) do(wake func(), f func() error) error {
	done := make(chan error, 1)
	if !c.post(wake, func() { done <- f() }) {
		return errBusy
	}
	return <-done
}

// answer makes the pending calls.
func (c calls) answer() {
	for {
		select {
		case f := <-c:
			f()
		default:
			return
		}
	}
}
