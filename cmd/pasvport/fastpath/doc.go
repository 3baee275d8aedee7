// SPDX-License-Identifier: Apache-2.0

// Package fastpath lets lines of FTP dialogues pass in the kernel, without a
// trip to the daemon, where the protocol engine would only have said "forward".
//
// An eBPF socket filter (filter.go), which a rule of nftables runs through the
// match "bpf" of xtables, decides as ftpalg.Unread.Pass does, from a slot of
// state for each connection. The daemon arms a slot when the engine has handled
// a packet and the connection rests between two lines. The first packet that
// may not pass disarms it, before that packet is queued: from then on all are,
// until the daemon, who has told the engine what had passed (Conn.Stop), arms
// it again (Conn.Arm). So a packet is judged by numbers that are exact, or it is
// queued.
//
// A slot is shared with the filter through memory. Its state word says who may
// write to it: the daemon while it is not armed, and while it is, whichever
// processor has set the busy bit. Arming and disarming cost no system call.
//
// The rule runs a program that jumps to the filter by way of an array which the
// kernel empties when the daemon is gone, so that no line passes unread without
// a daemon, however it ended.
package fastpath
