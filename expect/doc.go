// SPDX-License-Identifier: Apache-2.0

// Package expect speaks ctnetlink, the netlink interface of the kernel's
// conntrack, for the needs of an application-level gateway: it looks
// a TCP connection up by the addresses of one of its packets, announces a data
// connection to the kernel (as an expectation, or by creating its entry: a
// claim), sets the sequence adjustment of a rewritten control connection, and
// follows the life of the connections that carry a mark.
//
// The package knows no FTP and no nftables. Some things must be arranged by
// the caller's ruleset:
//
//   - An expectation is accepted only where the control connection's entry has
//     a helper (the carrier), given to it on its first packet by a "ct helper"
//     rule. Without one CreateExpectation returns EOPNOTSUPP. A claim needs
//     no carrier.
//   - A sequence adjustment takes effect only on an entry that has the
//     sequence-adjustment extension: translated entries with a carrier, and
//     entries that were created through ctnetlink. SetSeqAdj reads back what
//     it wrote and returns ErrNotAdjusted where the kernel took no notice.
//   - The kernel reports events only of entries that were created while
//     someone listened (net.netfilter.nf_conntrack_events = 2, the default):
//     open the Events before the rules are installed, and Dump once for the
//     entries that are older. Those may never have an event, not even at
//     their end: look again with Get from time to time.
//
// Addresses are conntrack's own: a Tuple in the original direction is what the
// first packet carries when it enters the router, before any translation.
//
// The types decode attribute by attribute and ignore what they do not know.
// Only TCP is spoken of; entries of other protocols are skipped.
package expect
