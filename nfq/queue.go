// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	nfqueue "github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	defaultMaxLen  = 4096
	defaultRecvBuf = 8 << 20
)

// Config says which queue to consume. The zero value is queue 0 with the
// defaults named below.
type Config struct {
	// Num is the queue's number.
	Num uint16
	// MaxLen is how many packets without a verdict the kernel keeps; 0 means 4096.
	MaxLen uint32
	// FailOpen lets packets pass that find the queue or the socket full.
	// They are dropped otherwise.
	FailOpen bool
	// Zones has each packet come with its conntrack zone; see ProbeZones.
	Zones bool
	// RecvBuf is the size of the socket's receive buffer in bytes; 0 means 8 MiB.
	// A queued packet of a few hundred bytes takes about 1 KiB of it.
	RecvBuf int
}

// Queue is one bound netfilter queue. Run is called by one goroutine, and the
// verdict methods by the same; Stats and Close by any.
type Queue struct {
	num  uint16
	con  *netlink.Conn
	raw  syscall.RawConn
	fd   int
	stop atomic.Bool // Run's context has ended
	down atomic.Bool // Close was called

	maxLen uint32
	zones  bool // packets come with their zone

	// What follows belongs to the goroutine in Run.
	running atomic.Bool
	handler Handler
	armed   time.Time // the read deadline that is set
	failed  error     // why receiving cannot go on
	in      *receiver
	packet  Packet
	verdict []byte // messages that have not been sent yet
	waiting int    // how many

	packets, malformed, errors, enobufs atomic.Uint64
	receives, sends                     atomic.Uint64 // system calls
	closeOnce                           sync.Once
	closeErr                            error
}

// Open binds the queue in the network namespace of the calling thread. From
// then on the kernel queues packets; Run should follow soon. The error is an
// *OpError. It holds ErrQueueInUse if another socket has the queue, and EPERM
// alone without CAP_NET_ADMIN.
func Open(c Config) (*Queue, error) {
	if c.MaxLen == 0 {
		c.MaxLen = defaultMaxLen
	}
	if c.RecvBuf == 0 {
		c.RecvBuf = defaultRecvBuf
	}
	nf, err := nfqueue.Open(&nfqueue.Config{NfQueue: c.Num})
	if err != nil {
		return nil, &OpError{"open", c.Num, err}
	}
	q := &Queue{
		num:     c.Num,
		maxLen:  c.MaxLen,
		zones:   c.Zones,
		con:     nf.Con,
		in:      newReceiver(),
		verdict: make([]byte, 0, receiveLen),
	}
	if err := q.setUp(c); err != nil {
		q.con.Close()
		return nil, &OpError{"bind", c.Num, err}
	}
	return q, nil
}

// setUp prepares the socket, and binds the queue as the last step.
func (q *Queue) setUp(c Config) error {
	raw, err := q.con.SyscallConn()
	if err != nil {
		return err
	}
	q.raw = raw
	if err := raw.Control(func(fd uintptr) { q.fd = int(fd) }); err != nil {
		return err
	}
	if err := setReceiveBuffer(q.fd, c.RecvBuf); err != nil {
		return err
	}
	// See "Lost packets" in the package comment.
	if err := q.con.SetOption(netlink.NoENOBUFS, true); err != nil {
		return err
	}
	// An answer to a failed verdict would carry the whole packet back to us.
	if err := q.con.SetOption(netlink.CapAcknowledge, true); err != nil {
		return err
	}
	err = q.configure(appendBind(nil, c))
	if errors.Is(err, unix.EPERM) && q.configure(appendNoop(nil)) == nil {
		return errInUse
	}
	return err
}

// setReceiveBuffer asks for n bytes without regard to net.core.rmem_max, which
// needs CAP_NET_ADMIN, and takes what is allowed if it has not got that. (The
// kernel's bind will then say what is missing.)
func setReceiveBuffer(fd, n int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, n)
	}
	return err
}

// configure sends one config message and waits for its acknowledgement.
func (q *Queue) configure(body []byte) error {
	_, err := q.con.Execute(netlink.Message{
		Header: netlink.Header{Type: nfqnlMsgConfig, Flags: netlink.Request | netlink.Acknowledge},
		Data:   body,
	})
	return err
}

// Num returns the queue's number.
func (q *Queue) Num() uint16 { return q.num }

// Close unbinds the queue; packets without a verdict are dropped by the kernel.
// A Run in another goroutine returns first, so it must not be called by the
// Handler. More calls do nothing.
func (q *Queue) Close() error {
	q.closeOnce.Do(func() {
		q.down.Store(true)
		q.interrupt()
		if err := q.con.Close(); err != nil {
			q.closeErr = &OpError{"close", q.num, err}
		}
	})
	return q.closeErr
}
