// SPDX-License-Identifier: Apache-2.0

// Package rules holds the nftables side of pasvport: the table that diverts
// FTP control packets into NFQUEUE, the sets of open pinholes, and the rules
// that pasvport puts into the administrator's own chains.
//
// One description of the table ([Config] turned into sets, objects, chains and
// rules) gives both what the kernel is sent and what [Text] prints, so the two
// cannot tell different stories.
//
// The package knows nothing of FTP and does not speak conntrack netlink. It
// never touches what is not its own: its table is known by the table's
// comment, a rule or set in an administrator's table by its comment, never by
// position or handle alone.
//
// Its files are in layers, of which each knows those above it:
//
//   - netlink: attr, batch, conn;
//   - what there is to be, as values: config, set, element and sets, clause, chain
//     and the chains by subject, table; text prints it, encode sends it;
//   - what the kernel holds: read, contents, inventory, survey;
//   - what is kept right: memory, and [Firewall] with heal and watch;
//   - what changes while it is installed: pinhole, connections, directions,
//     clients, servers.
//
// Transactions are encoded here and not by github.com/google/nftables, whose
// vocabulary of expressions is used: its Conn (v0.3.0) cannot give a table a
// comment, cannot tie a transaction to a generation of the ruleset, asks for
// an acknowledgement and an echo of each message, and cannot say which message
// of a batch failed.
package rules
