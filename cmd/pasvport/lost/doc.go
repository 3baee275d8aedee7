// SPDX-License-Identifier: Apache-2.0

// Package lost decides what becomes of control connections that conntrack has
// lost: after a flush of its table, a timeout, or a change of the ruleset.
//
// A packet in the middle of a connection without an entry makes conntrack begin
// one (nf_conntrack_tcp_loose), or is invalid. With a new entry the connection
// continues if its packets arrive as before: always without translation, and
// with it if the end that was translated sends first and gets the same
// translation again. It cannot continue
//
//   - if its sequence numbers were adjusted: the adjustment went with the entry;
//   - if it was translated and the server sends first: nothing shows conntrack
//     where to, or how to show the server to the client;
//   - if its first packet does not come through, because the ruleset takes it
//     for a new connection or because the way behind it is another now.
//
// A connection of which nothing is remembered may never have been conntrack's: it
// may go past in one direction, or be a translator's. It gets a reset only if
// nothing shows that it continues.
//
// A Memory has what was known of such connections, Sightings the packets that
// were let pass without an entry. Neither knows the kernel or a clock.
package lost
