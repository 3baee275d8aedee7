// SPDX-License-Identifier: Apache-2.0

package gateway

import "errors"

// maxCalls is how many calls may wait for a worker.
const maxCalls = 16

var errBusy = errors.New("the daemon is busy; try again")

// calls are what others have a worker's goroutine do.
type calls chan func()

// post has the goroutine call f, and reports whether it will. wake has it look here.
func (c calls) post(wake func(), f func()) bool {
	select {
	case c <- f:
		wake()
		return true
	default:
		return false
	}
}

// do has the goroutine call f, and returns what f did.
func (c calls) do(wake func(), f func() error) error {
	done := make(chan error, 1)
	if !c.post(wake, func() { done <- f() }) {
		return errBusy
	}
	return <-done
}

// answer makes the calls that wait.
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
