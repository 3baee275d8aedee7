// SPDX-License-Identifier: Apache-2.0

// Package lost decides what happens to control connections that conntrack has
// lost: after a flush of its table, a timeout, or a change of the ruleset.
//
// A packet in the middle of a connection without an entry makes conntrack create
// one (nf_conntrack_tcp_loose), or is invalid. With a new entry the connection
// continues if its packets arrive as before: always without translation, and with
// it if the end that was translated sends first and gets the same translation
// again. It cannot continue
//
//   - if its sequence numbers were adjusted: the adjustment was lost with the entry;
//   - if it was translated and the server sends first: nothing shows conntrack
//     where to, or how to show the server to the client;
//   - if its first packet is dropped, because to the ruleset it begins a new
//     connection or because it is routed differently now.
//
// A connection of which nothing is remembered may never have been conntrack's: it
// may bypass this machine in one direction, or be a translator's. It gets a reset
// only if nothing shows that it continues.
//
// A Memory has what was known of such connections, Sightings the packets that
// were accepted without an entry. Neither knows the kernel or a clock.
package lost
