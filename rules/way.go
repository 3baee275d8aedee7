// SPDX-License-Identifier: Apache-2.0

package rules

// A Way is the permitted direction of payload on a data connection. Payload in
// the other direction ends the connection.
type Way uint8

const (
	// WayAny: both directions.
	WayAny Way = iota
	// WayUndecided: none yet. Payload is dropped, and its sender retransmits it.
	WayUndecided
	// WayOriginal: from the end that opened the connection.
	WayOriginal
	// WayReply: to that end.
	WayReply
)

// decided are all ways but WayAny.
var decided = [...]Way{WayUndecided, WayOriginal, WayReply}

// ids is the name of the set of conntrack ids of data connections.
func (w Way) ids() string { return [...]string{"", "way_undecided", "way_original", "way_reply"}[w] }
