// SPDX-License-Identifier: Apache-2.0

package rules

// A Way says in which direction of a data connection payload may pass. What passes
// in the other one ends the connection.
type Way uint8

const (
	// WayAny: it is not looked at.
	WayAny Way = iota
	// WayUndecided: in none. What comes is dropped, and repeated by its sender.
	WayUndecided
	// WayOriginal: from the end that has opened the connection.
	WayOriginal
	// WayReply: to that end.
	WayReply
)

// decided are all ways but WayAny.
var decided = [...]Way{WayUndecided, WayOriginal, WayReply}

// ids is the name of the set of conntrack ids of data connections.
func (w Way) ids() string { return [...]string{"", "way_undecided", "way_original", "way_reply"}[w] }
