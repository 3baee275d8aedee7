// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"errors"
	"fmt"
)

// ErrNotAdjusted is returned by SetSeqAdj if the kernel acknowledged a sequence
// adjustment without keeping it. The segment must then be forwarded with its
// length unchanged.
var ErrNotAdjusted = errors.New("kernel did not keep the sequence adjustment")

var (
	// errTuple guards the kernel from messages without a tuple: a delete
	// without one flushes the whole namespace.
	errTuple = errors.New("tuple needs two plain addresses of one family and a destination port")

	errMalformed = errors.New("malformed netlink message")
)

// OpError is the error of an operation on the kernel's conntrack.
type OpError struct {
	Op    string // what was tried, as "create expectation"
	Tuple Tuple  // the tuple that the operation named; zero when it named none
	Err   error  // a unix.Errno, ErrNotAdjusted, or a socket's error
}

// Error names the operation, the tuple and the cause.
func (e *OpError) Error() string {
	if e.Tuple == (Tuple{}) {
		return fmt.Sprintf("conntrack: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("conntrack: %s %v: %v", e.Op, e.Tuple, e.Err)
}

// Unwrap makes the errno visible to errors.Is.
func (e *OpError) Unwrap() error { return e.Err }

func opError(op string, t Tuple, err error) error {
	if err == nil {
		return nil
	}
	return &OpError{Op: op, Tuple: t, Err: err}
}
