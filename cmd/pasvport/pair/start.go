// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"sync"
	"time"
)

const (
	// reachTime is how long a start waits for a link to the other daemon, and
	// learnTime for what that reports.
	reachTime = 500 * time.Millisecond
	learnTime = time.Second
)

// start is the progress of this daemon's start. Its functions may be called
// repeatedly.
type start struct {
	met, alone, all func() // there was a link; there was none at first; everything was received
	isMet, isAlone  chan struct{}
	isTold          chan struct{}
	reach, learn    time.Duration // reachTime and learnTime
}

func newStart() *start {
	s := &start{isMet: make(chan struct{}), isAlone: make(chan struct{}), isTold: make(chan struct{}),
		reach: reachTime, learn: learnTime}
	s.met = sync.OnceFunc(func() { close(s.isMet) })
	s.alone = sync.OnceFunc(func() { close(s.isAlone) })
	s.all = sync.OnceFunc(func() { close(s.isTold) })
	return s
}

// await waits until everything was received, or the other daemon is not there.
func (s *start) await() {
	bound := time.NewTimer(s.reach)
	defer bound.Stop()
	select {
	case <-s.isTold:
		return
	case <-s.isMet:
	case <-s.isAlone:
		return
	case <-bound.C:
		return
	}
	bound.Reset(s.learn)
	select {
	case <-s.isTold:
	case <-bound.C:
	}
}
