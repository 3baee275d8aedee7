// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A batch is an nftables transaction under construction: all of its messages take
// effect at one moment, or none does. reset reuses its memory.
type batch struct {
	buf []byte
	seq uint32 // of the next message
	ops []batchOp
	at  int // where the message being written starts

	first, last uint32 // sequence numbers of the beginning and of the last operation
}

// A batchOp remembers the purpose of a message, for a possible error.
type batchOp struct {
	seq        uint32
	op, object string
}

// reset empties the batch and opens a transaction. If generation is not 0 the
// kernel refuses it with ERESTART if the ruleset has changed since then.
func (b *batch) reset(generation uint32) {
	b.buf, b.ops = b.buf[:0], b.ops[:0]
	b.first = b.seq
	b.header(unix.NFNL_MSG_BATCH_BEGIN, unix.NLM_F_REQUEST, 0, unix.NFNL_SUBSYS_NFTABLES)
	if generation != 0 {
		b.buf = appendUint32(b.buf, unix.NFNL_BATCH_GENID, generation)
	}
	b.done()
}

// open starts the message of an operation; the caller appends attributes to
// b.buf and calls done.
func (b *batch) open(msg, flags uint16, f Family, op, object string) {
	b.last = b.seq
	b.ops = append(b.ops, batchOp{b.seq, op, object})
	b.header(unix.NFNL_SUBSYS_NFTABLES<<8|msg, unix.NLM_F_REQUEST|flags, f, 0)
}

// header writes the netlink header and struct nfgenmsg of
// <linux/netfilter/nfnetlink.h>.
func (b *batch) header(typ, flags uint16, f Family, resource uint16) {
	b.at = len(b.buf)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, flags)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, b.seq)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0)
	b.buf = append(b.buf, uint8(f), unix.NFNETLINK_V0)
	b.buf = binary.BigEndian.AppendUint16(b.buf, resource)
	b.seq++
}

// done ends the message that was opened last.
func (b *batch) done() {
	binary.NativeEndian.PutUint32(b.buf[b.at:], uint32(len(b.buf)-b.at))
}

// empty reports whether the batch has no operation.
func (b *batch) empty() bool { return len(b.ops) == 0 }

// close ends the transaction. Only the last operation asks for an
// acknowledgement: the kernel reports the errors of all the others before it.
func (b *batch) close() {
	flags := b.buf[b.at+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
	b.header(unix.NFNL_MSG_BATCH_END, unix.NLM_F_REQUEST, 0, unix.NFNL_SUBSYS_NFTABLES)
	b.done()
}

// failed makes the error of the message with a sequence number. The first message
// stands for the whole batch.
func (b *batch) failed(seq uint32, err error) *OpError {
	for _, o := range b.ops {
		if o.seq == seq {
			return &OpError{Op: o.op, Object: o.object, Err: err}
		}
	}
	return &OpError{Op: "commit", Err: err}
}
