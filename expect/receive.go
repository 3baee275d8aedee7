// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// receiveBatch is how many messages one system call takes at most.
	receiveBatch = 16
	// eventLen is more than an event has: NLMSG_GOODSIZE of linux/netlink.h.
	eventLen = 8192
)

// receiver takes events from a netlink socket, as many as there are with one system
// call. Its memory is touched only as far as it is used.
type receiver struct {
	buf  [receiveBatch][eventLen]byte
	iov  [receiveBatch]unix.Iovec
	msgs [receiveBatch]struct { // struct mmsghdr of recvmmsg(2)
		hdr unix.Msghdr
		n   uint32
	}
}

func newReceiver() *receiver {
	r := &receiver{}
	for i := range r.msgs {
		r.iov[i].Base = &r.buf[i][0]
		r.iov[i].SetLen(eventLen)
		r.msgs[i].hdr.Iov = &r.iov[i]
		r.msgs[i].hdr.SetIovlen(1)
	}
	return r
}

// receive reads what there is. As that does not block, the runtime is not told of the
// system call.
func (r *receiver) receive(fd int) (n int, err error) {
	m, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.msgs[0])), receiveBatch,
		unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(m), nil
}

// message returns the i-th datagram, valid until the next call of receive.
func (r *receiver) message(i int) []byte { return r.buf[i][:r.msgs[i].n] }
