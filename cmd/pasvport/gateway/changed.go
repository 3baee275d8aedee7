// SPDX-License-Identifier: Apache-2.0

package gateway

import "hash/maphash"

// changed recognises the packets of a queue that were changed, if they are queued once
// more. A packet continues after its verdict at the place in the list of chains that it
// had when it was queued (nf_reinject in net/netfilter/nfnetlink_queue.c). If someone
// has added a chain before ours meanwhile, that is ours again: everything that waited
// comes back as it was forwarded. An edit must not be edited.
//
// No sender repeats a segment in this form: its text or its numbers are others.
type changed struct {
	seed maphash.Seed
	sums [1024]uint64 // of the last ones, each at its own place
}

func newChanged() *changed { return &changed{seed: maphash.MakeSeed()} }

// note notes a packet that is forwarded in place of another one.
func (c *changed) note(data []byte) {
	sum := maphash.Bytes(c.seed, data)
	c.sums[sum%uint64(len(c.sums))] = sum
}

// has reports whether a packet was noted.
func (c *changed) has(data []byte) bool {
	sum := maphash.Bytes(c.seed, data)
	return c.sums[sum%uint64(len(c.sums))] == sum
}
