// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Handler is what Run calls, always from its own goroutine.
type Handler interface {
	// Packet is called for each queued packet that could be decoded. It must
	// lead to exactly one verdict, now or later. p and its slices are valid
	// until it returns.
	Packet(p *Packet)
	// Deadline returns when Wake is to be called; the zero time means never.
	// It is asked whenever packets have been handled, and before Run sleeps, so
	// it must be cheap.
	Deadline() time.Time
	// Wake is called when the deadline has come. It must move the deadline on,
	// or Run spins.
	Wake(now time.Time)
}

var errRunning = errors.New("Run is called twice")

// longAgo is a read deadline in the past; it ends a blocked read.
var longAgo = time.Unix(1, 0)

// Run hands packets to h until ctx ends, and then returns nil. Before it does,
// h sees the packets that the kernel had already handed over. An error means
// that the socket has failed for good, or that it was closed (net.ErrClosed).
func (q *Queue) Run(ctx context.Context, h Handler) error {
	if !q.running.CompareAndSwap(false, true) {
		return &OpError{"receive", q.num, errRunning}
	}
	defer q.running.Store(false)
	q.stop.Store(false)
	q.handler, q.failed = h, nil
	if err := q.arm(time.Time{}); err != nil {
		return q.receiveError(err)
	}
	ended := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		defer close(ended)
		q.stop.Store(true)
		q.interrupt()
	})
	defer func() {
		if !undo() {
			<-ended
		}
	}()
	// Control holds on to the descriptor, so that a Close from elsewhere cannot
	// take it away under a verdict; it waits for us.
	if err := q.raw.Control(func(uintptr) { q.failed = q.loop() }); err != nil {
		return q.receiveError(err)
	}
	return q.failed
}

// interrupt ends the blocked read of Run. The caller has set stop or down.
func (q *Queue) interrupt() { _ = q.con.SetReadDeadline(longAgo) }

// arm sets the read deadline.
func (q *Queue) arm(t time.Time) error {
	q.armed = t
	return q.con.SetReadDeadline(t)
}

// loop alternates between the socket and the handler's deadline.
func (q *Queue) loop() error {
	drain := q.drain // one closure for all rounds
	for {
		d := q.handler.Deadline()
		if due(d) {
			q.handler.Wake(time.Now())
			d = q.handler.Deadline()
		}
		if !d.Equal(q.armed) {
			if err := q.arm(d); err != nil {
				return q.receiveError(err)
			}
		}
		// Only after arm: the interrupter sets its flag first and the deadline
		// second, so either we see the flag or our deadline is overwritten.
		if q.ending() {
			return q.finish()
		}
		err := q.raw.Read(drain)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			q.armed = longAgo // spent: no read would block, or be tried, before the next arm
		} else if err != nil {
			return q.receiveError(err)
		}
		if q.failed != nil {
			return q.receiveError(q.failed)
		}
	}
}

func due(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (q *Queue) ending() bool { return q.stop.Load() || q.down.Load() }

// finish handles what the socket still holds, at most as many packets as the
// queue may have: traffic that goes on does not keep us.
func (q *Queue) finish() error {
	if q.down.Load() {
		return q.receiveError(net.ErrClosed)
	}
	for left := int(q.maxLen); left > 0; {
		n, errno := q.receive(q.fd, min(left, receiveBatch))
		switch errno {
		case 0:
			left -= n
		case unix.EINTR, unix.ENOBUFS:
			left--
		default: // EAGAIN: empty
			return nil
		}
	}
	return nil
}

// drain receives until the socket is empty. It returns false to sleep until
// there is more, and true when loop has something to do before that. It has
// the form that RawConn.Read wants.
func (q *Queue) drain(fd uintptr) bool {
	for {
		n, errno := q.receive(int(fd), receiveBatch)
		switch errno {
		case 0:
			if d := q.handler.Deadline(); due(d) || q.ending() {
				return true
			}
			// If there was less than could be taken it is empty. What has come
			// since wakes the poller, which tells of each arrival.
			if n < receiveBatch {
				return !q.handler.Deadline().Equal(q.armed)
			}
		case unix.EAGAIN:
			return !q.handler.Deadline().Equal(q.armed)
		case unix.ENOBUFS:
			// Not with NETLINK_NO_ENOBUFS, but other errors of the socket use it
			// too, such as an acknowledgement that found no memory.
			q.enobufs.Add(1)
		case unix.EINTR:
		default:
			q.failed = errno
			return true
		}
	}
}

// receive reads and handles up to most messages. Their verdicts have left when
// it returns.
func (q *Queue) receive(fd, most int) (int, unix.Errno) {
	n, errno := q.in.receive(fd, most)
	q.receives.Add(1)
	for i := range n {
		q.datagram(q.in.message(i))
	}
	if q.Flush() != nil {
		q.errors.Add(1)
	}
	return n, errno
}

// datagram handles the messages of one datagram.
func (q *Queue) datagram(b []byte, from uint32) {
	if from != 0 { // not from the kernel
		q.errors.Add(1)
		return
	}
	for len(b) > 0 {
		typ, body, rest, err := nextMessage(b)
		if err != nil {
			q.errors.Add(1)
			return
		}
		switch typ {
		case nfqnlMsgPacket:
			q.dispatch(body)
		case unix.NLMSG_ERROR:
			if len(body) < 4 || binary.NativeEndian.Uint32(body) != 0 {
				q.errors.Add(1)
			}
		}
		b = rest
	}
}

// dispatch decodes one packet message and shows it to the handler.
func (q *Queue) dispatch(body []byte) {
	q.packets.Add(1)
	id, hook, data, seen, err := parsePacketMessage(body)
	if err == nil {
		q.packet.ID, q.packet.Hook, q.packet.Mark, q.packet.Zone = id, hook, parseMark(body), 0
		if q.zones {
			q.packet.Zone = parseZone(body)
		}
		err = ParsePacket(&q.packet, data)
	}
	if err == nil {
		q.handler.Packet(&q.packet)
		return
	}
	q.malformed.Add(1)
	if seen && q.Accept(id) != nil {
		q.errors.Add(1)
	}
}

func (q *Queue) receiveError(err error) error {
	if q.down.Load() {
		err = net.ErrClosed
	}
	return &OpError{"receive", q.num, err}
}
