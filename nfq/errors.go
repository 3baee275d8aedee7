// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrQueueInUse is in the error of Open when another socket of the network
// namespace is bound to the queue. errors.Is(err, unix.EPERM) holds as well;
// EPERM without ErrQueueInUse means that CAP_NET_ADMIN is missing.
var ErrQueueInUse = errors.New("queue is bound by another process")

// errInUse joins the meaning with the errno that the kernel gave.
var errInUse = fmt.Errorf("%w: %w", ErrQueueInUse, unix.EPERM)

// ErrTooLong is returned for a packet that would not fit its IP header's
// length field or a netlink attribute.
var ErrTooLong = errors.New("packet too long")

// OpError is an operation on a queue that failed. Err keeps the errno.
type OpError struct {
	// Op is what was tried: open, bind, receive, verdict, close, stats.
	Op string
	// Queue is the queue's number.
	Queue uint16
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *OpError) Error() string {
	return fmt.Sprintf("nfq: %s queue %d: %v", e.Op, e.Queue, e.Err)
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }
