// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"

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
	// FailOpen accepts packets that find the queue or the socket full, or that
	// ParsePacket refuses. Otherwise they are dropped.
	FailOpen bool
	// Zones delivers each packet with its conntrack zone; see ProbeZones.
	Zones bool
	// RecvBuf is the size of the socket's receive buffer in bytes; 0 means 8 MiB.
	// A queued packet of a few hundred bytes takes about 1 KiB of it.
	RecvBuf int
}

// Queue is one bound netfilter queue. One goroutine calls Run and the verdict
// methods; any may call Stats and Close.
type Queue struct {
	num   uint16
	fd    int
	guard int         // see socket; -1 if there is none
	stop  atomic.Bool // Run's context has ended
	down  atomic.Bool // Close was called

	maxLen   uint32
	zones    bool // packets come with their zones
	failOpen bool // as in Config

	mu     sync.Mutex
	closed bool          // whether fd is closed
	ended  chan struct{} // closed when Run returns; nil if it is not running

	// What follows belongs to the goroutine in Run.
	running atomic.Bool
	handler Handler
	in      *receiver
	packet  Packet
	verdict []byte // messages that have not been sent yet
	waiting int    // their number
	marked  uint32 // see Marked

	marks atomic.Uint32 // number of marks sent

	packets, malformed, errors, enobufs atomic.Uint64
	receives, sends                     atomic.Uint64 // system calls
}

// Open binds the queue in the network namespace of the calling thread. From then
// on the kernel queues packets; Run should follow soon. The error is an *OpError.
// It wraps ErrQueueInUse if another socket has the queue, and only EPERM without
// CAP_NET_ADMIN.
func Open(c Config) (*Queue, error) {
	q := newQueue(&c)
	nf, err := q.socket()
	if err != nil {
		q.Close()
		return nil, &OpError{"open", c.Num, err}
	}
	defer nf.Con.Close()
	if err := setUp(nf.Con, q.fd, c); err != nil {
		q.Close()
		return nil, &OpError{"bind", c.Num, err}
	}
	return q, nil
}

// newQueue returns a queue without a socket, and gives c its defaults.
func newQueue(c *Config) *Queue {
	if c.MaxLen == 0 {
		c.MaxLen = defaultMaxLen
	}
	if c.RecvBuf == 0 {
		c.RecvBuf = defaultRecvBuf
	}
	return &Queue{
		num:      c.Num,
		fd:       -1,
		guard:    -1,
		maxLen:   c.MaxLen,
		zones:    c.Zones,
		failOpen: c.FailOpen,
		in:       newReceiver(),
		verdict:  make([]byte, 0, receiveLen),
	}
}

// socket makes the library open a socket whose netlink port is not the process
// id. That port is assigned to the first socket of a process, and after its close
// to the next, before the kernel informs its subsystems of the close, which can
// take ten milliseconds (netlink_release in net/netlink/af_netlink.c; the first
// to be informed may be nf_tables, which waits for what it deletes).
// nfnetlink_queue would then remove the queue of the next socket. So a guard
// socket with that port just keeps it occupied.
func (q *Queue) socket() (*nfqueue.Nfqueue, error) {
	for {
		nf, err := nfqueue.Open(&nfqueue.Config{NfQueue: q.num})
		if err != nil {
			return nil, err
		}
		if q.fd, err = takeOver(nf.Con); err != nil {
			nf.Con.Close()
			return nil, err
		}
		port, err := netlinkPort(q.fd)
		if err == nil && port != os.Getpid() || q.guard >= 0 {
			return nf, nil
		}
		nf.Con.Close()
		if err != nil {
			return nil, err
		}
		q.guard, q.fd = q.fd, -1
	}
}

func netlinkPort(fd int) (int, error) {
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	nl, ok := addr.(*unix.SockaddrNetlink)
	if !ok {
		return 0, unix.EAFNOSUPPORT
	}
	return int(nl.Pid), nil
}

// takeOver returns a descriptor of our own for the library's socket. When the
// library has closed its own, the runtime's poller, which every packet would
// wake, does not know the socket any more.
func takeOver(con *netlink.Conn) (fd int, err error) {
	raw, err := con.SyscallConn()
	if err != nil {
		return -1, err
	}
	var errno error
	err = raw.Control(func(theirs uintptr) {
		fd, errno = unix.FcntlInt(theirs, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(err, errno)
}

// setUp prepares the socket, and binds the queue as the last step.
func setUp(con *netlink.Conn, fd int, c Config) error {
	if err := setReceiveBuffer(fd, c.RecvBuf); err != nil {
		return err
	}
	// See "Lost packets" in the package comment.
	if err := con.SetOption(netlink.NoENOBUFS, true); err != nil {
		return err
	}
	// An answer to a failed verdict would carry the whole packet back to us.
	if err := con.SetOption(netlink.CapAcknowledge, true); err != nil {
		return err
	}
	err := configure(con, appendBind(nil, c))
	if errors.Is(err, unix.EPERM) && configure(con, appendNoop(nil)) == nil {
		return errInUse
	}
	return err
}

// setReceiveBuffer requests n bytes regardless of net.core.rmem_max, which needs
// CAP_NET_ADMIN, and otherwise takes what is allowed. (The kernel's bind will
// then report what is missing.)
func setReceiveBuffer(fd, n int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, n)
	}
	return err
}

// configure sends one config message. It requests no acknowledgement: once a
// queue is bound, packets may arrive before it. The kernel has already queued any
// error when the message is sent.
func configure(con *netlink.Conn, body []byte) error {
	_, err := con.Send(netlink.Message{Header: netlink.Header{Type: nfqnlMsgConfig, Flags: netlink.Request}, Data: body})
	if err != nil {
		return err
	}
	raw, err := con.SyscallConn()
	if err != nil {
		return err
	}
	var refused error
	err = raw.Control(func(fd uintptr) { refused = refusal(int(fd)) })
	return errors.Join(err, refused)
}

// refusal reads an error from the socket if the kernel has sent one. Packets
// stay.
func refusal(fd int) error {
	b := make([]byte, nlmsgHdrLen+4)
	for _, flags := range []int{unix.MSG_PEEK, 0} {
		n, _, err := unix.Recvfrom(fd, b, flags|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			return err
		case n < len(b) || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR:
			return nil
		}
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(b[nlmsgHdrLen:])))
}

// Num returns the queue's number.
func (q *Queue) Num() uint16 { return q.num }

// Close unbinds the queue; the kernel drops packets without a verdict. A Run in
// another goroutine returns first, so the Handler must not call it. Further calls
// do nothing.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.down.Store(true)
	if ended := q.ended; ended != nil {
		q.poke(0)
		q.mu.Unlock()
		<-ended
		q.mu.Lock()
	}
	if q.closed { // by another call meanwhile
		return nil
	}
	q.closed = true
	for _, fd := range []int{q.fd, q.guard} {
		if fd < 0 {
			continue
		}
		if err := unix.Close(fd); err != nil {
			return &OpError{"close", q.num, err}
		}
	}
	return nil
}
