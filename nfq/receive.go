// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// receiveBatch is how many messages one system call takes at most.
const receiveBatch = 16

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// receiver reads messages from a netlink socket, as many as there are with one
// system call. It touches its memory only as far as needed: a page for most
// messages.
type receiver struct {
	buf  [receiveBatch][]byte
	from [receiveBatch]unix.RawSockaddrNetlink
	iov  [receiveBatch]unix.Iovec
	msgs [receiveBatch]mmsghdr
}

func newReceiver() *receiver {
	r := &receiver{}
	for i := range r.msgs {
		r.buf[i] = make([]byte, receiveLen)
		r.iov[i].Base = &r.buf[i][0]
		r.iov[i].SetLen(receiveLen)
		h := &r.msgs[i].hdr
		h.Name, h.Iov = (*byte)(unsafe.Pointer(&r.from[i])), &r.iov[i]
		h.SetIovlen(1)
	}
	return r
}

// receive reads up to most messages. As that does not block, the runtime is not told
// of the system call.
func (r *receiver) receive(fd, most int) (n int, errno unix.Errno) {
	for i := range r.msgs[:most] {
		r.msgs[i].hdr.Namelen = unix.SizeofSockaddrNetlink
	}
	m, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.msgs[0])), uintptr(most),
		unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(m), 0
}

// message returns the i-th received datagram, valid until the next call of
// receive, and the netlink port of its sender, 0 for the kernel.
func (r *receiver) message(i int) (b []byte, from uint32) {
	return r.buf[i][:r.msgs[i].n], r.from[i].Pid
}
