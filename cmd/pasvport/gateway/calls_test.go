// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"testing"
)

// TestCalls: the worker's goroutine makes a call, and its caller gets the result.
func TestCalls(t *testing.T) {
	c := make(calls, 1)
	c.answer() // none waits
	want := errors.New("done")
	wake := make(chan struct{})
	go func() {
		<-wake
		c.answer()
	}()
	if err := c.do(func() { close(wake) }, func() error { return want }); err != want {
		t.Errorf("%v, want what the call returned", err)
	}
	c <- func() {}
	if err := c.do(func() { t.Error("it is woken for nothing") }, nil); err != errBusy {
		t.Errorf("%v, want that it is busy", err)
	}
}
