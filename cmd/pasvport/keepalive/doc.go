// SPDX-License-Identifier: Apache-2.0

// Package keepalive keeps control connections alive that are silent, and ends
// those that are not: it probes both ends so that no machine on the way forgets
// the connection, resets what is idle for too long or has lost an end, and keeps
// conntrack's entry from timing out while data connections are open.
//
// It knows a session by what a [Conn] has noted of its segments and by the small
// interface of each of its two tasks, [Watch] and [Refresher].
package keepalive
