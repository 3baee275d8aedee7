// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"iter"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A conn is one nfnetlink socket. Only one goroutine at a time may use it.
type conn struct {
	nl  *netlink.Conn
	raw syscall.RawConn
	in  []byte // one datagram of the kernel
	seq uint32
}

// dial opens a socket in the namespace that netns refers to; 0 is the calling
// thread's.
func dial(netns int) (*conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, &OpError{Op: "open netlink socket", Err: err}
	}
	raw, err := nl.SyscallConn()
	if err != nil {
		nl.Close()
		return nil, &OpError{Op: "open netlink socket", Err: err}
	}
	// The kernel's own dumps arrive in datagrams of at most 32 KiB (netlink_dump
	// in net/netlink/af_netlink.c). An answer to a failed message would contain
	// the message, and so could exceed the buffer.
	if err := nl.SetOption(netlink.CapAcknowledge, true); err != nil {
		nl.Close()
		return nil, &OpError{Op: "open netlink socket", Err: err}
	}
	c := &conn{nl: nl, raw: raw, in: make([]byte, 64<<10), seq: 1}
	c.enlarge()
	return c, nil
}

// sendBuffer must fit a transaction with all open pinholes, in bytes: it is sent
// in one piece.
const sendBuffer = 8 << 20

// enlarge makes room for large transactions. Without the privilege it keeps the
// usual limit (net.core.wmem_max).
func (c *conn) enlarge() {
	_ = c.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)
	})
}

// close does not wait, as the kernel does until what was deleted is destroyed,
// some ten milliseconds (nft_rcv_nl_event in net/netfilter/nf_tables_api.c).
func (c *conn) close() { go c.nl.Close() }

// begin opens b as a transaction of this socket.
func (c *conn) begin(b *batch, generation uint32) {
	b.seq = c.seq
	b.reset(generation)
}

// commit sends b and waits for the kernel's answer: one system call out and one
// in if all goes well. The error is that of the first failed message; then
// nothing has changed.
func (c *conn) commit(b *batch) error {
	var failed error
	err := c.exchange(b, func(seq uint32, errno unix.Errno) {
		if failed == nil {
			failed = b.failed(seq, errno)
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// exchange sends b and calls refused for each failed message, in order.
func (c *conn) exchange(b *batch, refused func(seq uint32, errno unix.Errno)) error {
	b.close()
	c.seq = b.seq
	if err := c.send(b.buf); err != nil {
		return &OpError{Op: "send", Err: err}
	}
	for {
		n, err := c.recv()
		if err != nil {
			return &OpError{Op: "receive", Err: err}
		}
		for m := range messages(c.in[:n]) {
			// Anything else is the rest of an earlier answer.
			if m.typ != unix.NLMSG_ERROR || m.seq-b.first > b.last-b.first {
				continue
			}
			if errno := errorOf(m.body); errno != 0 {
				refused(m.seq, errno)
			}
			// The kernel answers missing privileges, a changed generation and a
			// failed commit to the beginning of the batch.
			if m.seq == b.last || m.seq == b.first {
				return nil
			}
		}
	}
}

// request sends one message outside a transaction and passes the answers to f,
// which must not keep references to them.
func (c *conn) request(msg, flags uint16, fam Family, attributes []byte, f func(fam Family, body []byte)) error {
	return c.ask(unix.NFNL_SUBSYS_NFTABLES<<8|msg, flags, fam, attributes, f)
}

// ask is request for a message of any netfilter subsystem.
func (c *conn) ask(typ, flags uint16, fam Family, attributes []byte, f func(fam Family, body []byte)) error {
	b := batch{seq: c.seq}
	b.header(typ, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags, fam, 0)
	b.buf = append(b.buf, attributes...)
	b.done()
	want := c.seq
	c.seq = b.seq
	if err := c.send(b.buf); err != nil {
		return err
	}
	for {
		n, err := c.recv()
		if err != nil {
			return err
		}
		for m := range messages(c.in[:n]) {
			switch {
			case m.seq != want:
			case m.typ == unix.NLMSG_DONE:
				return nil
			case m.typ == unix.NLMSG_ERROR:
				if errno := errorOf(m.body); errno != 0 {
					return errno
				}
				return nil
			case len(m.body) >= 4:
				f(Family(m.body[0]), m.body[4:])
			}
		}
	}
}

func (c *conn) send(b []byte) (err error) {
	werr := c.raw.Write(func(fd uintptr) bool {
		_, err = unix.Write(int(fd), b)
		return err != unix.EAGAIN
	})
	if werr != nil {
		return werr
	}
	return err
}

func (c *conn) recv() (n int, err error) {
	rerr := c.raw.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), c.in)
		return err != unix.EAGAIN
	})
	if rerr != nil {
		return 0, rerr
	}
	return n, err
}

// A message is one netlink message of a datagram.
type message struct {
	typ  uint16
	seq  uint32
	body []byte // after the netlink header; belongs to the conn
}

// messages walks the netlink messages of a datagram.
func messages(b []byte) iter.Seq[message] {
	return func(yield func(message) bool) {
		for len(b) >= unix.NLMSG_HDRLEN {
			n := int(binary.NativeEndian.Uint32(b))
			if n < unix.NLMSG_HDRLEN || n > len(b) {
				return
			}
			m := message{binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[unix.NLMSG_HDRLEN:n]}
			if !yield(m) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}

// errorOf is the errno in the body of an NLMSG_ERROR; 0 acknowledges.
func errorOf(body []byte) unix.Errno {
	if len(body) < 4 {
		return unix.EBADMSG
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
}
