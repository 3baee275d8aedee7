// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Stats are counters of one Queue since Open.
type Stats struct {
	// Packets is how many packets came from the kernel.
	Packets uint64
	// Malformed is how many of them were accepted undecoded.
	Malformed uint64
	// ENOBUFS is how many messages the kernel could not deliver because the
	// socket's receive buffer was full. Their packets were dropped, or passed
	// with Config.FailOpen.
	ENOBUFS uint64
	// Errors is how many verdicts the kernel refused and how many messages could
	// not be parsed.
	Errors uint64
	// Receives and Sends are the numbers of system calls that received packets
	// and sent verdicts.
	Receives, Sends uint64
}

// Stats returns the counters. Any goroutine may call it, even after Close, when
// ENOBUFS lacks what the socket lost.
func (q *Queue) Stats() Stats {
	s := Stats{
		Packets:   q.packets.Load(),
		Malformed: q.malformed.Load(),
		ENOBUFS:   q.enobufs.Load(),
		Errors:    q.errors.Load(),
		Receives:  q.receives.Load(),
		Sends:     q.sends.Load(),
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return s
	}
	if n, err := socketDrops(q.fd); err == nil {
		s.ENOBUFS += uint64(n)
	}
	return s
}

// socketDrops reads how many messages did not fit into fd's receive buffer
// (SO_MEMINFO, linux/sock_diag.h).
func socketDrops(fd int) (uint32, error) {
	var info [unix.SK_MEMINFO_DROPS + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	if size < uint32(unsafe.Sizeof(info)) {
		return 0, errors.ErrUnsupported
	}
	return info[unix.SK_MEMINFO_DROPS], nil
}

// QueueStats is what the kernel reports about one bound queue.
type QueueStats struct {
	// Num is the queue's number.
	Num uint16
	// PortID is the netlink port of the socket that has it.
	PortID uint32
	// Queued is how many packets wait for a verdict now.
	Queued uint32
	// QueueDropped is how many packets found the queue full (MaxLen).
	QueueDropped uint64
	// UserDropped is how many packets could not be sent to the socket.
	UserDropped uint64
	// LastID is the identifier of the newest packet.
	LastID uint32
}

const procFile = "/proc/thread-self/net/netfilter/nfnetlink_queue"

// ReadQueueStats returns the bound queues of the calling thread's network
// namespace. The file has mode 0440 and belongs to root: for other users the
// error is fs.ErrPermission, unless they have CAP_DAC_OVERRIDE.
func ReadQueueStats() ([]QueueStats, error) {
	f, err := os.Open(procFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseQueueStats(f)
}

// parseQueueStats reads the lines that seq_show in
// net/netfilter/nfnetlink_queue.c writes: queue number, port id, queued, copy
// mode, copy range, queue dropped, user dropped, last id, 1.
func parseQueueStats(r io.Reader) ([]QueueStats, error) {
	var all []QueueStats
	for s := bufio.NewScanner(r); ; {
		if !s.Scan() {
			return all, s.Err()
		}
		if strings.TrimSpace(s.Text()) == "" {
			continue
		}
		var q QueueStats
		var mode, length uint32
		if _, err := fmt.Sscan(s.Text(), &q.Num, &q.PortID, &q.Queued, &mode, &length,
			&q.QueueDropped, &q.UserDropped, &q.LastID); err != nil {
			return all, fmt.Errorf("nfnetlink_queue line %q: %w", s.Text(), err)
		}
		all = append(all, q)
	}
}
