// SPDX-License-Identifier: Apache-2.0

// Package nfq consumes one netfilter queue: it takes packets from the kernel,
// shows them decoded as TCP over IPv4 or IPv6, and sends verdicts back, with
// the packet changed if need be.
//
// It knows IP and TCP and nothing else: neither what the payload means nor
// which connection a packet belongs to. It starts no goroutine that outlives
// Run, and on the packet path it allocates nothing.
//
// # What the caller must hold to
//
// Every packet shown to Handler.Packet needs exactly one verdict: Queue.Accept,
// Queue.AcceptLater, Queue.Drop or Queue.AcceptData. It may come at once or later
// (a held packet), in any order, but always from the goroutine that is in Run,
// that is from a method of the Handler; after Run has returned, from one goroutine at a time
// until Close. Packets without a verdict count against Config.MaxLen and are
// dropped by the kernel when the queue is closed.
//
// A packet that cannot be decoded never reaches the Handler. It is accepted
// unchanged and counted in Stats.Malformed.
//
// # System calls
//
// What waits in the socket is taken with one recvmmsg for up to sixteen packets,
// and their verdicts, where Handler.Packet gives Queue.AcceptLater, leave with one
// write. A single packet costs one of each, and one ppoll. Stats counts them.
//
// # How it waits
//
// Run reads until the socket is empty and then sleeps in ppoll, on a descriptor
// that the runtime's poller does not know. In the poller another thread would be
// woken by each packet, to wake this one: with one connection that is 5 switches
// more for a transfer, and a third of the processor time. (A thread that blocks
// while the poller knows the descriptor wakes both.) It ends by a message that
// asks the kernel for nothing but an acknowledgement, which makes the socket
// readable. BenchmarkKernelRoundTrip shows what a queue adds to a round trip.
//
// # Lost packets
//
// A netlink socket that overflows reports ENOBUFS and, worse, is congested: the
// kernel hands over nothing more until the reader has emptied the buffer. With
// NETLINK_NO_ENOBUFS there is no congested state, each packet for which there
// is room arrives. Open sets that option, and Stats reads how many messages the
// socket lost from SO_MEMINFO instead. The lost packets themselves are dropped,
// or passed if Config.FailOpen is set.
package nfq
