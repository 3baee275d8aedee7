// SPDX-License-Identifier: Apache-2.0

// Package session is a control connection as the gateway has it, and the table in
// which it is found by its packets.
//
// What a [Session] holds is grouped by what guards it. What never changes is in
// exported fields. What belongs to the goroutine that handles a packet of it, the
// protocol engine first of all, is in its [Reader], which is only had by acquiring
// it. What any goroutine may ask is atomic, or is under a lock of its own; both are
// reached by methods alone.
//
// The package knows the parts that a session carries for others (its pinholes'
// owner, its keep-alive, its account, its slot in the fast path), and neither the
// worker that reads it nor the gateway.
package session
