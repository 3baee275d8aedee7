// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"fmt"
)

var (
	// ErrNoChain says that a chain named by a ChainRef does not exist.
	ErrNoChain = errors.New("no such chain")

	// ErrForeign says that a table or set with the name we need exists but does
	// not carry our comment: it is not ours and is not touched.
	ErrForeign = errors.New("exists and was not made by pasvport")
)

// An OpError is a failed operation on the kernel's ruleset.
type OpError struct {
	// Op is the attempted operation: "add rule", "delete set", "list chain".
	Op string

	// Object is its object, in nft syntax without the verb: "chain inet filter
	// forward". Empty for the transaction as a whole.
	Object string

	// Err is the kernel's errno, ErrNoChain or ErrForeign.
	Err error
}

// Error implements error.
func (e *OpError) Error() string {
	if e.Object == "" {
		return fmt.Sprintf("nftables: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("nftables: %s %s: %v", e.Op, e.Object, e.Err)
}

// Unwrap returns the cause, for errors.Is(err, unix.EPERM) and the like.
func (e *OpError) Unwrap() error { return e.Err }
