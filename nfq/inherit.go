// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// errNotQueue means that a descriptor is not a socket that has a queue.
var errNotQueue = errors.New("not a socket of a netfilter queue")

// Inherit returns the queue of a socket that another process bound, and handed on
// by Detach. It takes over fd, even if it fails. Packets that were queued
// meanwhile wait in it. c is as for Open, except that the socket keeps its
// buffer.
func Inherit(fd int, c Config) (*Queue, error) {
	q := newQueue(&c)
	q.fd = fd
	if err := q.inherit(c); err != nil {
		q.Close()
		return nil, &OpError{"inherit", c.Num, err}
	}
	return q, nil
}

func (q *Queue) inherit(c Config) error {
	unix.CloseOnExec(q.fd)
	if err := unix.SetNonblock(q.fd, true); err != nil {
		return err
	}
	protocol, err := unix.GetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil {
		return err
	}
	if domain, err := unix.GetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil ||
		domain != unix.AF_NETLINK || protocol != unix.NETLINK_NETFILTER {
		return errors.Join(errNotQueue, err)
	}
	body := appendParams(appendGenmsg(nil, c.Num), c)
	m := make([]byte, nlmsgHdrLen, nlmsgHdrLen+len(body))
	binary.NativeEndian.PutUint32(m[0:], uint32(nlmsgHdrLen+len(body)))
	binary.NativeEndian.PutUint16(m[4:], nfqnlMsgConfig)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST)
	if _, err := unix.Write(q.fd, append(m, body...)); err != nil {
		return err
	}
	return refusal(q.fd)
}

// Detach returns another descriptor of the queue's socket, for another process.
// As long as one is open the kernel queues packets; those without a verdict wait.
// Run must have returned.
func (q *Queue) Detach() (fd int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return -1, &OpError{"detach", q.num, unix.EBADF}
	}
	fd, err = unix.FcntlInt(uintptr(q.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, &OpError{"detach", q.num, err}
	}
	return fd, nil
}
