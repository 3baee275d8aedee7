// SPDX-License-Identifier: Apache-2.0

// Package pair lets the daemons of two firewalls tell each other what conntrackd
// does not carry from one to the other: open pinholes, what the engines know, and
// sequence numbers that the daemon adjusts. keepalived moves the addresses and
// conntrackd the connection table; this package does neither.
//
// Each daemon dials the other one and sends it what it knows over that stream:
// everything when the stream comes up, then what changes. The other one answers
// only with acknowledgements. Both streams are TLS 1.3, in which each end proves
// that it has the key (see identity).
//
// A [Session] is what a control connection knows of the pair. The firewall that
// its packets come to owns it: it sends reports, with a generation higher than
// that of the previous owner. The other one is its standby. It keeps the record,
// and gives it to its [Host] when there is a conntrack entry for it: conntrack's
// event NEW, with which conntrackd commits the connection, makes it live. Until
// then a packet of the session is dropped rather than answered with a reset.
//
// The key does not make a report trustworthy: the host judges a record as it
// judges one that an earlier daemon left (see succession).
//
// A peer that hangs never keeps a packet waiting for longer than one wait
// [waitBound]: pending messages are queued, the queue is limited, and a link whose
// queue overflows is closed, to begin again with everything.
package pair
