// SPDX-License-Identifier: Apache-2.0

package expect

// SetSeqAdj sets the sequence adjustment of one direction of the connection. The
// values are absolute: the caller uses After of the current adjustment as the new
// Before. It must be set before the rewritten segment is forwarded, and not again
// when that segment is retransmitted.
//
// The kernel acknowledges an adjustment even when it drops it
// (ctnetlink_change_seq_adj returns 0 if the entry lacks the extension), so the
// entry is read back, in the same system call. The error is ErrNotAdjusted if the
// entry does not show the adjustment: the length of the segment must not change
// then, or the connection dies. id is that of the entry: if another program has made it
// anew, a packet that waits in a queue still has the old one.
func (c *Conn) SetSeqAdj(original Tuple, d Direction, adj SeqAdj) (id uint32, err error) {
	const op = "set sequence adjustment"
	if !original.valid() {
		return 0, opError(op, original, errTuple)
	}
	c.beginIn(ctNew, 0, original)
	set := c.seq
	c.out = appendSeqAdj(c.out, original, d, adj)
	c.seq++
	c.out = appendReadBack(c.out, c.seq, original)
	if err := c.send(); err != nil {
		return 0, opError(op, original, err)
	}
	var e Entry
	// The first answer is the error of the first request, if it had one.
	if err := c.entry(set, &e); err != nil {
		return 0, opError(op, original, err)
	}
	if e.Status&StatusSeqAdjust == 0 || e.Adj[d] != adj {
		return 0, opError(op, original, ErrNotAdjusted)
	}
	return e.ID, nil
}

// appendSeqAdj completes a request that sets a sequence adjustment.
func appendSeqAdj(dst []byte, original Tuple, d Direction, adj SeqAdj) []byte {
	dst = appendTuple(dst, ctaTupleOrig, original)
	dst, at := beginNested(dst, ctaSeqAdjOrig+uint16(d))
	dst = appendAttr32(dst, ctaSeqAdjCorrectionPos, adj.Pos)
	dst = appendAttr32(dst, ctaSeqAdjOffsetBefore, uint32(adj.Before))
	dst = appendAttr32(dst, ctaSeqAdjOffsetAfter, uint32(adj.After))
	dst = endNested(dst, at)
	return endRequest(dst, 0)
}

// appendReadBack appends a GET as a second request.
func appendReadBack(dst []byte, seq uint32, original Tuple) []byte {
	at := len(dst)
	dst = appendRequest(dst, ctGet, 0, seq, original.family())
	dst = appendZone(dst, ctaZone, original)
	dst = appendTuple(dst, ctaTupleOrig, original)
	return endRequest(dst, at)
}
