// SPDX-License-Identifier: Apache-2.0

// Package tablelock makes sure that only one daemon of a network namespace has a
// table.
//
// The lock is a netfilter queue to which no rule sends a packet. Binding one
// needs CAP_NET_ADMIN in the namespace, so a local user without it cannot hold
// the lock to keep the daemon from starting; the number belongs to the namespace,
// whatever file systems and process ids its containers see; and the kernel
// releases it when its process ends, in any way. A file or an abstract socket has
// only one or two of these properties.
package tablelock

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/pasvport/pasvport/nfq"
)

// firstQueue is the lowest number of a lock: few daemons have queues up there.
const firstQueue = 0x8000

// Queue returns the number of the queue that is a table's lock. Two names in 2048
// may have the same. All are in the last bucket of the kernel's list
// (instance_hashfn in net/netfilter/nfnetlink_queue.c), so that readers of the
// list find the queues with packets first.
func Queue(table string) uint16 {
	const lastBucket = 0xf
	h := fnv.New32a()
	_, _ = h.Write([]byte(table))
	sum := h.Sum32() ^ h.Sum32()>>16
	n := uint16(firstQueue | sum<<4&^firstQueue)
	return n | lastBucket&^(n>>8)
}

// Lock is a table's lock, until it is closed.
type Lock struct{ queue *nfq.Queue }

// Take takes the lock of a table for a daemon with these queues.
func Take(table string, first uint16, queues int) (*Lock, error) {
	num := Queue(table)
	if num >= first && int(num) < int(first)+queues {
		return nil, fmt.Errorf("queue %d is the lock of the table %q: give this daemon another --queue-num", num, table)
	}
	l, err := bind(num)
	if errors.Is(err, nfq.ErrQueueInUse) {
		return nil, fmt.Errorf("another pasvport has the table %q (whose lock is queue %d): stop it, or give this one another --table and --queue-num", table, num)
	}
	if err != nil {
		return nil, fmt.Errorf("lock of the table %q: %w (does this kernel have CONFIG_NETFILTER_NETLINK_QUEUE, module nfnetlink_queue?)", table, err)
	}
	return l, nil
}

// Close releases the lock.
func (l *Lock) Close() error { return l.queue.Close() }

// Held reports whether a process has the lock of a table. Only root can read the
// list of queues; other users take the lock and release it at once.
func Held(table string) bool {
	num := Queue(table)
	bound, err := nfq.ReadQueueStats()
	if err == nil {
		return slices.ContainsFunc(bound, func(q nfq.QueueStats) bool { return q.Num == num })
	}
	l, err := bind(num)
	if err == nil {
		_ = l.Close()
	}
	return errors.Is(err, nfq.ErrQueueInUse)
}

func bind(num uint16) (*Lock, error) {
	q, err := nfq.Open(nfq.Config{Num: num, MaxLen: 1, RecvBuf: 4096})
	return &Lock{q}, err
}
