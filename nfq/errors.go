// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrQueueInUse is wrapped in the error of Open if another socket in the network
// namespace is bound to the queue. errors.Is(err, unix.EPERM) holds as well;
// EPERM without ErrQueueInUse means that CAP_NET_ADMIN is missing.
var ErrQueueInUse = errors.New("queue is bound by another process")

// errInUse joins the meaning with the kernel's errno.
var errInUse = fmt.Errorf("%w: %w", ErrQueueInUse, unix.EPERM)

// ErrTooLong is returned for a packet that would not fit its IP header's
// length field or a netlink attribute.
var ErrTooLong = errors.New("packet too long")

// OpError is a failed operation on a queue. Err keeps the errno.
type OpError struct {
	// Op is the operation: open, bind, receive, verdict, close, stats.
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
