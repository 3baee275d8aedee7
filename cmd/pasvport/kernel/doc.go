// SPDX-License-Identifier: Apache-2.0

// Package kernel finds out what the kernel can do for a gateway, and chooses
// among it: how packets are queued, how data connections are made known to
// conntrack, and what control connections carry for it.
//
// run, rules and doctor all choose here, so that they cannot disagree. Probe and
// ProbeApart try the kernel; Choose only looks at what they found.
package kernel
