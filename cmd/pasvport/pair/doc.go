// SPDX-License-Identifier: Apache-2.0

// Package pair has the daemons of two firewalls tell each other what conntrackd
// does not carry from one to the other: open pinholes, what the engines know, and
// sequence numbers that the daemon adjusts. keepalived moves the addresses and
// conntrackd the connection table; nothing of either is done here.
//
// Each daemon dials the other one and sends it over that stream what it knows: all
// of it when the stream comes up, then what changes. The other one answers with
// nothing but acknowledgements. Both streams are TLS 1.3, in which each end proves
// that it has the key (see identity).
//
// A [Session] is what a control connection knows of the pair. The firewall that
// its packets come to owns it: it reports, with a generation that is higher than
// that of the one that owned it before. The other one is its standby. It keeps
// the record, and gives it to its [Host] when there is a conntrack entry for it:
// conntrack's event NEW, with which conntrackd commits the connection, makes it
// live. Until then a packet of the session is dropped rather than answered with a
// reset.
//
// Nothing that the other daemon says is believed because it has the key: the host
// judges a record as it judges one that an earlier daemon left (see succession).
//
// A peer that hangs never keeps a packet waiting for longer than one wait of
// [waitBound]: what is to be told is queued, the queue is bounded, and a link on
// which it runs over is closed, to begin anew with everything.
package pair
