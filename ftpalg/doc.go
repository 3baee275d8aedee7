// SPDX-License-Identifier: Apache-2.0

// Package ftpalg is the protocol engine of an FTP application-level gateway.
//
// It is given the TCP segments of one control connection, in both directions
// and in the order in which the firewall sees them, and answers each with a
// [Decision]: forward, hold or drop the segment, and what happened in it. The
// most important thing that can happen is an [Offer]: one side announced an
// address and port for a data connection (RFC 959 PORT and 227, RFC 2428 EPRT
// and 229). The caller opens the way for the offer and informs the engine, with
// [Conn.Announce], which port the other side is to be told; [Conn.Rewrite]
// then gives the bytes to forward in place of those that came.
//
// The engine keeps the promises that a TCP stream needs when bytes in it are
// replaced: a retransmission, however it is cut, is answered with the bytes
// that were sent the first time, and the sequence number adjustment that the
// kernel has to make is part of the answer (see [Adjustment]).
//
// A packet takes three calls at most: [Conn.Segment], which is given all that the
// engine needs of it and returns one decision; [Conn.Announce] for each offer in
// it; and [Conn.Rewrite] if it is forwarded. Where an announcement gets another
// length somebody has to adjust sequence numbers: see [AdjustBy].
//
// What is understood, and each check, is in docs/protocol.md; each reason in
// docs/reference.md.
//
// Nothing here does I/O, starts a goroutine, reads a clock or logs. Input from
// the network is never an error; it is a decision with a [Reason]. A Conn is
// for one goroutine at a time.
package ftpalg
