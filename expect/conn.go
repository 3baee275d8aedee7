// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/florianl/go-conntrack"
	"golang.org/x/sys/unix"
)

// answerTimeout limits the wait for an answer. The kernel answers before the
// request's system call returns, so it expires only if an answer was lost.
const answerTimeout = 5 * time.Second

// Conn is a ctnetlink socket in the network namespace it was dialled from. Only
// one goroutine at a time may use it. It reuses its buffers: an operation that
// succeeds allocates nothing.
//
// Requests do not use mdlayher/netlink's Execute, which allocates each message,
// but are written to its socket; their answers are read up to the one that ends
// them. (A GET is answered with NLM_F_MULTI set but without NLMSG_DONE, so that
// flag cannot be used.)
//
// The socket is blocking and unknown to the runtime's poller: every answer would
// wake that, though it is there before the request's system call returns.
type Conn struct {
	fd   int
	seq  uint32
	out  []byte // the request
	in   []byte // the last read
	rest []byte // the rest of it

	write, receive func(fd int, b []byte) (int, error) // unix.Write and unix.Read except in tests
}

// Dial opens a socket to conntrack in the calling thread's network namespace.
// Operations on it need CAP_NET_ADMIN.
func Dial() (*Conn, error) {
	fd, err := dial()
	if err != nil {
		return nil, opError("dial", Tuple{}, err)
	}
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	err = errors.Join(unix.SetNonblock(fd, false), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
	if err != nil {
		unix.Close(fd)
		return nil, opError("dial", Tuple{}, err)
	}
	return newConn(fd), nil
}

func newConn(fd int) *Conn {
	return &Conn{fd: fd, out: make([]byte, 0, 1024), in: make([]byte, 1<<16), write: unix.Write, receive: unix.Read}
}

// dial makes the library open a socket and keeps a descriptor of our own: the
// runtime's poller forgets the socket when the library closes its own.
func dial() (int, error) {
	nfct, err := conntrack.Open(&conntrack.Config{})
	if err != nil {
		return -1, err
	}
	defer nfct.Close()
	raw, err := nfct.Con.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var errno error
	err = raw.Control(func(theirs uintptr) {
		fd, errno = unix.FcntlInt(theirs, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(err, errno)
}

func ignoringEINTR(f func(int, []byte) (int, error), fd int, b []byte) (int, error) {
	for {
		n, err := f(fd, b)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// Close closes the socket. What was set in the kernel stays.
//
// The kernel makes the close of any netfilter socket wait for what nftables
// deletes, some ten milliseconds (nft_rcv_nl_event in
// net/netfilter/nf_tables_api.c). Close does not wait.
func (c *Conn) Close() { go unix.Close(c.fd) }

// begin starts a request in the output buffer, which is empty except for requests
// that are sent with it.
func (c *Conn) begin(typ, flags uint16, family uint8) {
	c.seq++
	c.out = appendRequest(c.out[:0], typ, flags, c.seq, family)
}

// beginIn starts a request about a connection of the family and zone of t.
func (c *Conn) beginIn(typ, flags uint16, t Tuple) {
	c.begin(typ, flags, t.family())
	zone := uint16(ctaZone)
	if typ>>8 == unix.NFNL_SUBSYS_CTNETLINK_EXP {
		zone = ctaExpectZone
	}
	c.out = appendZone(c.out, zone, t)
}

// send writes the requests of the output buffer.
func (c *Conn) send() error {
	c.rest = nil
	_, err := ignoringEINTR(c.write, c.fd, c.out)
	return err
}

// execute sends the one request in the output buffer, which asks for an
// acknowledgement, and returns its error.
func (c *Conn) execute() error {
	if err := c.send(); err != nil {
		return err
	}
	for {
		m, err := c.next(c.seq)
		if err != nil {
			return err
		}
		if m.typ == unix.NLMSG_ERROR {
			return m.errno()
		}
	}
}

// answer is one message from the kernel. Its data is valid until the next
// one is read.
type answer struct {
	typ, flags uint16
	seq        uint32
	data       []byte
}

// errno returns the error of an NLMSG_ERROR message; nil: an acknowledgement.
func (m *answer) errno() error {
	if len(m.data) < 4 {
		return errMalformed
	}
	if e := int32(binary.NativeEndian.Uint32(m.data)); e != 0 {
		return unix.Errno(-e)
	}
	return nil
}

// attrs returns what follows struct nfgenmsg.
func (m *answer) attrs() []byte {
	if len(m.data) < nfgenLen {
		return nil
	}
	return m.data[nfgenLen:]
}

// next returns the next message that answers the request with sequence number
// seq, or a later one. It skips older ones, left by a request that failed.
func (c *Conn) next(seq uint32) (answer, error) {
	for {
		for len(c.rest) > 0 {
			m, rest, err := parseAnswer(c.rest)
			if err != nil {
				return answer{}, err
			}
			c.rest = rest
			if int32(m.seq-seq) >= 0 {
				return m, nil
			}
		}
		if err := c.read(); err != nil {
			return answer{}, err
		}
	}
}

// parseAnswer splits the first message off b.
func parseAnswer(b []byte) (m answer, rest []byte, err error) {
	if len(b) < nlmsgHeaderLen {
		return answer{}, nil, errMalformed
	}
	n := binary.NativeEndian.Uint32(b)
	if n < nlmsgHeaderLen || uint64(n) > uint64(len(b)) {
		return answer{}, nil, errMalformed
	}
	m = answer{
		typ:   binary.NativeEndian.Uint16(b[4:]),
		flags: binary.NativeEndian.Uint16(b[6:]),
		seq:   binary.NativeEndian.Uint32(b[8:]),
		data:  b[nlmsgHeaderLen:n],
	}
	return m, b[min((int(n)+3)&^3, len(b)):], nil
}

// read fills the input buffer.
func (c *Conn) read() error {
	n, err := ignoringEINTR(c.receive, c.fd, c.in)
	if err == unix.EAGAIN {
		err = fmt.Errorf("waiting for the kernel's answer: %w", os.ErrDeadlineExceeded)
	}
	c.rest = c.in[:max(n, 0)]
	return err
}
