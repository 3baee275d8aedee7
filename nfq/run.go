// SPDX-License-Identifier: Apache-2.0

package nfq

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Handler is what Run calls, always from its own goroutine.
type Handler interface {
	// Packet is called for each queued packet that could be decoded. It must lead
	// to exactly one verdict, now or later. p and its slices are valid until it
	// returns.
	Packet(p *Packet)
	// Deadline returns when Wake must be called; the zero time means never. It is
	// called whenever packets have been handled, and before Run sleeps, so it
	// must be cheap.
	Deadline() time.Time
	// Wake is called when the deadline has passed. It must move the deadline on,
	// or Run spins.
	Wake(now time.Time)
}

var errRunning = errors.New("Run is called twice")

// Run passes packets to h until ctx ends, and then returns nil. Before it does, h
// gets the packets that the kernel has already delivered. An error means that the
// socket has failed for good, or that it was closed (net.ErrClosed).
func (q *Queue) Run(ctx context.Context, h Handler) error {
	if err := q.begin(); err != nil {
		return q.receiveError(err)
	}
	defer q.end()
	q.handler = h
	q.stop.Store(false)
	ended := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		defer close(ended)
		q.stop.Store(true)
		q.poke(0)
	})
	defer func() {
		if !undo() {
			<-ended
		}
	}()
	return q.loop()
}

// begin keeps the descriptor open until end.
func (q *Queue) begin() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.down.Load():
		return net.ErrClosed
	case q.ended != nil:
		return errRunning
	}
	q.ended = make(chan struct{})
	q.running.Store(true)
	return nil
}

func (q *Queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running.Store(false)
	close(q.ended)
	q.ended = nil
}

// loop alternates between the socket and the handler's deadline.
func (q *Queue) loop() error {
	yielded := time.Now()
	for !q.ending() {
		if now := time.Now(); now.Sub(yielded) > yieldEvery {
			runtime.Gosched()
			yielded = now
		}
		d := q.handler.Deadline()
		if due(d) {
			q.handler.Wake(time.Now())
			continue
		}
		if err := q.wait(d); err != nil {
			return q.receiveError(err)
		}
		if err := q.drain(); err != nil {
			return q.receiveError(err)
		}
	}
	return q.finish()
}

// wait sleeps until there is something to read, or until a time that is not
// zero; it may return early.
func (q *Queue) wait(until time.Time) error {
	short := shortWait
	var rest *unix.Timespec // nil: for ever
	if !until.IsZero() {
		left := max(time.Until(until), 0)
		short = min(left, shortWait)
		after := unix.NsecToTimespec((left - short).Nanoseconds())
		rest = &after
	}
	readable := []unix.PollFd{{Fd: int32(q.fd), Events: unix.POLLIN}}
	first := unix.NsecToTimespec(short.Nanoseconds())
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&readable[0])), 1, uintptr(unsafe.Pointer(&first)), 0, 0, 0)
	if n == 0 && (rest == nil || rest.Nano() > 0) {
		_, err := unix.Ppoll(readable, rest, nil)
		errno, _ = err.(unix.Errno)
	}
	if errno != 0 && errno != unix.EINTR {
		return errno
	}
	return nil
}

// shortWait is how long wait sleeps without telling the runtime, with which the
// goroutine keeps its processor and its thread. Otherwise the runtime's monitor finds
// it in a system call, takes the processor away, and looks for more every 20 us:
// half of all context switches between busy packets. Those who stop the world
// interrupt the sleep with a signal.
const shortWait = 4 * time.Millisecond

// poke makes the kernel acknowledge a message that requests nothing, so that
// there is something to read, with a number.
func (q *Queue) poke(number uint32) {
	var noop [nlmsgHdrLen]byte
	binary.NativeEndian.PutUint32(noop[0:], nlmsgHdrLen)
	binary.NativeEndian.PutUint16(noop[4:], unix.NLMSG_NOOP)
	binary.NativeEndian.PutUint16(noop[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	binary.NativeEndian.PutUint32(noop[8:], number)
	_, _ = unix.Write(q.fd, noop[:])
}

// Interrupt makes Run ask its handler for the deadline again soon. Any goroutine
// may call it while Run is running.
func (q *Queue) Interrupt() { q.poke(0) }

// Mark puts a mark behind all packets that are queued now, and returns its number:
// those after it come once Marked returns this number, or a later one. If the socket is
// full the mark is lost. Any goroutine may call it while Run is running.
func (q *Queue) Mark() uint32 {
	n := q.marks.Add(1)
	q.poke(n)
	return n
}

// Marked returns the number of the last mark that has come. It is for the handler.
func (q *Queue) Marked() uint32 { return q.marked }

// yieldEvery is how often Run lets the scheduler run. After 10 ms without that
// (forcePreemptNS in runtime/proc.go) the runtime's monitor takes the processor
// away in each system call, and checks for that every 20 us.
const yieldEvery = 5 * time.Millisecond

func due(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (q *Queue) ending() bool { return q.stop.Load() || q.down.Load() }

// finish handles what the socket still holds, at most as many packets as the
// queue can have: endless traffic must not keep us.
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

// drain receives until the socket is empty or loop has something else to do.
func (q *Queue) drain() error {
	for {
		n, errno := q.receive(q.fd, receiveBatch)
		switch errno {
		case 0:
			// If there were fewer than the maximum it is empty.
			if n < receiveBatch || due(q.handler.Deadline()) || q.ending() {
				return nil
			}
		case unix.EAGAIN:
			return nil
		case unix.ENOBUFS:
			// Not with NETLINK_NO_ENOBUFS, but other errors of the socket use it,
			// too, such as an acknowledgement without memory.
			q.enobufs.Add(1)
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// receive reads and handles up to most messages. It sends their verdicts before
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
			} else if n := binary.NativeEndian.Uint32(b[8:]); n != 0 { // see Mark
				q.marked = n
			}
		}
		b = rest
	}
}

// dispatch decodes one packet message and passes it to the handler.
func (q *Queue) dispatch(body []byte) {
	q.packets.Add(1)
	id, hook, data, seen, err := parsePacketMessage(body)
	if err == nil {
		q.packet.ID, q.packet.Hook, q.packet.Zone = id, hook, 0
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
	verdict := q.Drop
	if q.failOpen {
		verdict = q.Accept
	}
	if seen && verdict(id) != nil {
		q.errors.Add(1)
	}
}

func (q *Queue) receiveError(err error) error {
	if q.down.Load() {
		err = net.ErrClosed
	}
	return &OpError{"receive", q.num, err}
}
