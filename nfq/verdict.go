// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"net"
	"unsafe"

	nfqueue "github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"
)

// Accept forwards packet id unchanged. Its error means that the message could not
// be sent; if the kernel does not know id, only Stats.Errors shows it.
func (q *Queue) Accept(id uint32) error {
	return q.sendVerdict(id, nfqueue.NfAccept, nil)
}

// maxWaiting is the maximum number of verdicts that are sent together.
const maxWaiting = receiveBatch

// AcceptLater is Accept for a packet that nothing depends on: the verdict is sent
// with those of the packets that came with it, in one system call, but before
// another kind of verdict, and before Run waits for packets.
func (q *Queue) AcceptLater(id uint32) error {
	if q.down.Load() {
		return &OpError{"verdict", q.num, net.ErrClosed}
	}
	q.verdict = appendVerdict(q.verdict, q.num, id, nfqueue.NfAccept, nil)
	if q.waiting++; q.waiting < maxWaiting && q.running.Load() {
		return nil
	}
	return q.Flush()
}

// Flush sends the pending verdicts of AcceptLater. It is called before something
// that takes longer than a verdict.
func (q *Queue) Flush() error {
	if len(q.verdict) == 0 {
		return nil
	}
	err := q.writeVerdicts()
	q.verdict, q.waiting = q.verdict[:0], 0
	return err
}

// Drop drops packet id; its sender is not told.
func (q *Queue) Drop(id uint32) error {
	return q.sendVerdict(id, nfqueue.NfDrop, nil)
}

// AcceptData forwards packet id with data, a whole IP packet with correct
// checksums, in place of its content. data is not kept. Empty data is refused:
// the kernel would make an invalid packet of it.
func (q *Queue) AcceptData(id uint32, data []byte) error {
	if len(data) > maxPayloadAttr {
		return &OpError{"verdict", q.num, ErrTooLong}
	}
	if len(data) < ipv4HeaderLen {
		return &OpError{"verdict", q.num, errTruncated}
	}
	return q.sendVerdict(id, nfqueue.NfAccept, data)
}

// RepeatData sends packet id through the hook that queued it once more, with data
// in place of its content as in AcceptData.
func (q *Queue) RepeatData(id uint32, data []byte) error {
	if len(data) < ipv4HeaderLen || len(data) > maxPayloadAttr {
		return &OpError{"verdict", q.num, errTruncated}
	}
	return q.sendVerdict(id, nfqueue.NfRepeat, data)
}

// sendVerdict writes one verdict, after the pending ones. The kernel handles the
// message within the call: the packet has moved on, as far as its next queue or
// device, when write returns.
func (q *Queue) sendVerdict(id, verdict uint32, data []byte) error {
	if q.down.Load() {
		return &OpError{"verdict", q.num, net.ErrClosed}
	}
	q.verdict = appendVerdict(q.verdict, q.num, id, verdict, data)
	return q.Flush()
}

// writeVerdicts sends the messages of q.verdict, which the kernel handles in their
// order, before the write returns. As that does not block, the runtime is not told of
// the system call.
func (q *Queue) writeVerdicts() error {
	q.sends.Add(1)
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(q.fd), uintptr(unsafe.Pointer(unsafe.SliceData(q.verdict))), uintptr(len(q.verdict)))
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return &OpError{"verdict", q.num, errno}
		}
	}
}
