// SPDX-License-Identifier: Apache-2.0

package ftpalg

// streams are the two streams of bytes, in their senders' numbers: what was seen
// and what arrived, what replaces what, and who adjusts the numbers after it.
// They know lines, but not what they mean.
type streams struct {
	*workspace
	terms
	beginning
	adjustBy AdjustBy
	opaque   bool // encrypted, and not followed
	stream   [2]stream
}

// beginning is how the streams began.
type beginning struct {
	started  bool   // the connection was seen from its first byte
	begun    bool   // the position of the client's first byte is known
	unseen   bool   // it was not seen
	spoken   bool   // the client's first line has come
	met      bool   // the numbers of both ends are known, see meet
	startSet bool   // start is the first byte seen of the client
	start    uint32 // sequence number
}
