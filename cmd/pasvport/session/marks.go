// SPDX-License-Identifier: Apache-2.0

package session

import (
	"sync/atomic"

	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
)

// marks are what any goroutine may set and read at any time.
type marks struct {
	flags    atomic.Uint32                  // flag bits
	adjusts  atomic.Uint32                  // who adjusts its sequence numbers, byNobody ...
	left     atomic.Uint32                  // why it is not read, a succession.Left; written by its reader
	met      atomic.Uint32                  // when its last packet came, in seconds after Started, plus 1; 0: never
	held     atomic.Uint32                  // bytes of memory that its engine holds besides the line in progress
	liveness atomic.Pointer[keepalive.Conn] // nil until something is known
}

// flag is a bit of marks.flags: an atomic.Bool takes four bytes.
type flag uint32

const (
	used    flag = 1 << iota // someone has the reader, or its engine moved to another session
	closing                  // an end has begun to close it
	waiting                  // a transfer command waits for its final reply, as far as the engine knows
	over                     // its end was reported
	missed                   // packets may have passed unread
	counted                  // by the balancer
)

func (m *marks) has(f flag) bool { return m.flags.Load()&uint32(f) != 0 }

// set sets or clears a flag and returns what it was.
func (m *marks) set(f flag, yes bool) (before bool) {
	if yes {
		return m.flags.Or(uint32(f))&uint32(f) != 0
	}
	return m.flags.And(^uint32(f))&uint32(f) != 0
}

// Who adjusts the sequence numbers of a session.
const (
	byNobody uint32 = iota
	byKernel
	byUs
)

// BeginClosing records that an end has begun to close the connection.
func (m *marks) BeginClosing() { m.set(closing, true) }

// Closing reports whether an end has begun to close the connection.
func (m *marks) Closing() bool { return m.has(closing) }

// End reports whether this is the first end of the session, which must be
// reported.
func (m *marks) End() (first bool) { return !m.set(over, true) }

// HasMissed reports whether packets may have passed unread.
func (m *marks) HasMissed() bool { return m.has(missed) }

// SetCounted records whether the balancer counts it, and returns whether it did.
func (m *marks) SetCounted(yes bool) (before bool) { return m.set(counted, yes) }

// Adjusted reports whether its sequence numbers are adjusted, by the kernel or
// here.
func (m *marks) Adjusted() bool { return m.adjusts.Load() != byNobody }

// Here reports whether they are adjusted here.
func (m *marks) Here() bool { return m.adjusts.Load() == byUs }

// Held returns how many bytes of memory its engine holds for what was said,
// besides the line in progress.
func (m *marks) Held() int { return int(m.held.Load()) }

// Left returns why the session is not read; LeftNot if it is.
func (m *marks) Left() succession.Left { return succession.Left(m.left.Load()) }
