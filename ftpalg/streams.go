// SPDX-License-Identifier: Apache-2.0

package ftpalg

// streams are the two streams of bytes, as their senders number them: what was seen and
// what arrived, what stands in the place of what, and who moves the numbers behind it.
// They know lines, but not what they mean.
type streams struct {
	*workspace
	terms
	beginning
	adjustBy AdjustBy
	opaque   bool // it is encrypted, and not followed
	stream   [2]stream
}

// beginning is how the streams began.
type beginning struct {
	started  bool   // the connection was seen from its first byte
	begun    bool   // it is known where the client's first byte is
	unseen   bool   // it was not seen
	spoken   bool   // the client's first line has come
	met      bool   // the numbers of both ends are known, see meet
	startSet bool   // start is the first of the client's bytes that was seen
	start    uint32 // sequence number
}
