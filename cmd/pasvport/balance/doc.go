// SPDX-License-Identifier: Apache-2.0

// Package balance decides which server of a virtual server gets the next
// sessions: it checks the servers, counts their sessions, and gives the slots
// of rules.VirtualServer to them. What it decides is put into the kernel by
// whoever made the Balancer; a session that has begun is never moved.
package balance
