// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// eventBuffer is the requested receive buffer, in bytes. An event takes about 1
// KB of it.
const eventBuffer = 8 << 20

// EventType is the kind of an event.
type EventType uint8

// The events of a connection's life.
const (
	New     EventType = iota + 1 // the entry was confirmed, or created by a claim
	Update                       // its mark, status or TCP state changed; see Listen
	Destroy                      // it is gone
	Lost                         // events were lost, and arrive again from now on: Dump finds what changed; Entry is zero
)

// String returns "new", "update", "destroy" or "lost".
func (t EventType) String() string {
	switch t {
	case New:
		return "new"
	case Update:
		return "update"
	case Destroy:
		return "destroy"
	case Lost:
		return "lost"
	}
	return "unknown"
}

// Event is a change of a conntrack entry. The entry has what the kernel reports
// in the event: tuples, status, mark and ID always; the TCP state when it
// changed, and at the end; counters only at the end; the master only when new.
type Event struct {
	Type  EventType
	Entry Entry
}

// Events receives the events of TCP entries; see Listen.
//
// It does not use go-conntrack's RegisterFiltered, which joins the groups
// before it attaches its filter, ends at the first ENOBUFS, and decodes the
// messages of one read into one value.
type Events struct {
	fd   int
	wake int // an eventfd: Run must end

	overruns atomic.Uint64
	handling atomic.Bool // the holder of the turn may have read events that are not handled yet

	// turn, of capacity 1, is empty while Run is running and no one reads and
	// handles events. Whoever fills it does.
	turn chan struct{}

	// What follows belongs to the holder of the turn.
	in     *receiver
	handle func(*Event) // of Run
	event  Event
	lost   bool // events were lost and the queue is not drained yet
}

// pause is between two rounds of Run. Events come in bursts, several for each
// data connection, and each would otherwise be a context switch. Callers that
// cannot wait that long call Sync.
const pause = time.Millisecond

// Listen subscribes to the events of expected entries, and of those whose
// original direction goes to one of ports. The filter runs in the kernel: events
// of other entries never wake the process. It also drops changes to the states
// ESTABLISHED, CLOSE_WAIT and LAST_ACK, and for expected connections FIN_WAIT: a
// connection was answered with SYN_RECV, its end begins with FIN_WAIT, and no
// more data comes after TIME_WAIT.
//
// With nf_conntrack_events = 2, the default, an entry has events only if it was
// created while someone listened (on Linux 6.18 in whatever namespace). Entries
// that are older than the first listener never have events; DumpTo finds those
// entries.
func Listen(ports []PortRange) (*Events, error) {
	e, err := listen(ports, eventBuffer)
	return e, opError("listen", Tuple{}, err)
}

func listen(ports []PortRange, buffer int) (*Events, error) {
	fd, err := dial()
	if err != nil {
		return nil, err
	}
	e := &Events{fd: fd, wake: -1, turn: make(chan struct{}, 1), in: newReceiver()}
	e.turn <- struct{}{}
	if e.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		e.Close()
		return nil, err
	}
	if err := e.subscribe(ports, buffer); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// SetPorts changes the ports of Listen, atomically. It may be called at any time.
func (e *Events) SetPorts(ports []PortRange) error {
	return opError("listen", Tuple{}, attachFilter(e.fd, eventFilter(ports)))
}

// subscribe joins the groups last, so that no event passes unfiltered.
func (e *Events) subscribe(ports []PortRange, buffer int) error {
	if err := attachFilter(e.fd, eventFilter(ports)); err != nil {
		return err
	}
	if unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		// Without CAP_NET_ADMIN in the initial user namespace only less is
		// possible.
		if err := unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer); err != nil {
			return err
		}
	}
	for _, group := range []int{
		unix.NFNLGRP_CONNTRACK_NEW, unix.NFNLGRP_CONNTRACK_UPDATE, unix.NFNLGRP_CONNTRACK_DESTROY,
	} {
		if err := unix.SetsockoptInt(e.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the subscription. Run must have returned.
func (e *Events) Close() error {
	if e.wake >= 0 {
		unix.Close(e.wake)
	}
	return unix.Close(e.fd)
}

// Overruns returns how often the kernel had to drop events because the buffer was
// full. It may be called at any time.
func (e *Events) Overruns() uint64 { return e.overruns.Load() }

// Run calls f for each event until ctx ends, and then returns nil. The event is
// valid until f returns. Events are handled in order, at most a few milliseconds
// after they happened, by the calling goroutine or by one that calls Sync: never
// by two at a time.
func (e *Events) Run(ctx context.Context, f func(*Event)) error {
	ended := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		defer close(ended)
		_, _ = unix.Write(e.wake, []byte{7: 1})
	})
	e.handle = f
	<-e.turn
	defer func() {
		e.turn <- struct{}{}
		if !undo() {
			<-ended
		}
	}()
	readable := []unix.PollFd{{Fd: int32(e.wake), Events: unix.POLLIN}, {Fd: int32(e.fd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(readable, -1)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil || err == unix.EINTR {
			e.turn <- struct{}{}
			err = e.Drain(f)
			<-e.turn
		}
		if err != nil {
			return opError("listen", Tuple{}, err)
		}
		_, _ = unix.Poll(readable[:1], int(pause.Milliseconds()))
		// Otherwise the runtime's monitor takes the processor away after 10 ms; see
		// yieldEvery in package nfq.
		runtime.Gosched()
	}
}

// Sync makes every event that happened before be handled, with Run's function,
// and reports whether all are. For at most the given time it handles them itself,
// or waits until the goroutine that does is done, or Run is called. Several
// goroutines may call it, but not that function. It is for callers that must not
// be behind conntrack, whose events are in the socket before their effects can be
// seen elsewhere: the end of an entry is reported before another one can have its
// tuple (nf_ct_delete in net/netfilter/nf_conntrack_core.c), and a new entry
// before its first packet arrives. If nothing has happened, Sync costs one system
// call.
func (e *Events) Sync(within time.Duration) bool {
	readable := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(readable, 0); n == 0 && err == nil && !e.handling.Load() {
		return true // what was read before was handled before
	}
	until := time.Now().Add(within)
	select {
	case e.turn <- struct{}{}:
	default:
		timeout := time.NewTimer(within)
		defer timeout.Stop()
		select {
		case e.turn <- struct{}{}:
		case <-timeout.C:
			return false
		}
	}
	defer func() { <-e.turn }()
	more, err := e.drain(e.handle, until)
	return !more && err == nil
}

// Drain calls f for the events that have happened, without waiting for more. It
// must not be called while Run is running.
func (e *Events) Drain(f func(*Event)) error {
	_, err := e.drain(f, time.Time{})
	return err
}

// drain does the same until a time that is not zero, and reports whether there
// may be more.
func (e *Events) drain(f func(*Event), until time.Time) (more bool, err error) {
	e.handling.Store(true)
	defer e.handling.Store(false)
	for more = true; more && err == nil; {
		if !until.IsZero() && !time.Now().Before(until) {
			return true, nil
		}
		more, err = e.next(f)
	}
	return more, err
}

// next handles the events of one system call, and reports whether there may be
// more.
func (e *Events) next(f func(*Event)) (bool, error) {
	n, err := e.in.receive(e.fd)
	switch {
	case err == nil:
		for i := range n {
			deliver(e.in.message(i), &e.event, f)
		}
		return n == len(e.in.msgs) || e.lost, nil
	case err == unix.EINTR:
	case err == unix.ENOBUFS:
		// From here the kernel drops every event, without another ENOBUFS, until
		// the queue is empty (NETLINK_S_CONGESTED in net/netlink/af_netlink.c): a
		// Dump is useful only after that.
		e.overruns.Add(1)
		e.lost = true
	case err == unix.EAGAIN && e.lost:
		e.lost = false
		e.event = Event{Type: Lost}
		f(&e.event)
	case err == unix.EAGAIN:
		return false, nil
	default:
		return false, err
	}
	return true, nil
}

// deliver calls f for each event in b. It skips what it cannot decode: the
// kernel's next event is more useful than an error.
func deliver(b []byte, ev *Event, f func(*Event)) {
	for len(b) > 0 {
		m, rest, err := parseAnswer(b)
		if err != nil {
			return
		}
		b = rest
		if ev.Type = eventType(&m); ev.Type == 0 {
			continue
		}
		if tcp, err := parseEntry(&ev.Entry, m.attrs()); err == nil && tcp {
			f(ev)
		}
	}
}

// eventType returns 0 for a message that is not an event of an entry.
func eventType(m *answer) EventType {
	switch {
	case m.typ == ctNew && m.flags&(unix.NLM_F_CREATE|unix.NLM_F_EXCL) != 0:
		return New
	case m.typ == ctNew:
		return Update
	case m.typ == ctDelete:
		return Destroy
	}
	return 0
}
