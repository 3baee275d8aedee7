// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/florianl/go-conntrack"
	"golang.org/x/sys/unix"
)

// eventBuffer is the receive buffer asked for, in bytes. An event takes about
// 1 KB of it.
const eventBuffer = 8 << 20

// EventType says what happened to an entry.
type EventType uint8

// The events of a connection's life.
const (
	New     EventType = iota + 1 // the entry was confirmed, or created by a claim
	Update                       // its mark, status or TCP state changed
	Destroy                      // it is gone
	Lost                         // events were lost, and come again from now on: Dump finds what changed; Entry is zero
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

// Event is a change of a conntrack entry. The entry has what the kernel tells
// in the event: tuples, status, mark and ID always; the TCP state when it
// changed, and at the end; counters only at the end; the master only when new.
type Event struct {
	Type  EventType
	Entry Entry
}

// Events receives the events of the TCP entries that carry a mark.
//
// It does not use go-conntrack's RegisterFiltered, which joins the groups
// before it attaches its filter, ends at the first ENOBUFS, and decodes the
// messages of one read into one value.
type Events struct {
	nfct  *conntrack.Nfct
	raw   syscall.RawConn
	in    []byte
	n     int
	errno error

	overruns atomic.Uint64
	lost     bool // events were lost and the queue is not drained yet
}

// Listen subscribes to the events of entries whose mark, under mask, equals
// mark. The filter runs in the kernel: events of other entries never wake the
// process. A mark given to an entry later counts from then on.
//
// With nf_conntrack_events = 2, the default, an entry has events only if it
// was created while somebody listened (on Linux 6.18 in whatever namespace).
// Those of entries that are older than the first listener never come; Dump
// finds those entries.
func Listen(mark, mask uint32) (*Events, error) {
	e, err := listen(mark, mask, eventBuffer)
	return e, opError("listen", Tuple{}, err)
}

func listen(mark, mask uint32, buffer int) (*Events, error) {
	nfct, raw, err := open()
	if err != nil {
		return nil, err
	}
	e := &Events{nfct: nfct, raw: raw, in: make([]byte, 1<<16)}
	if err := e.subscribe(mark, mask, buffer); err != nil {
		nfct.Close()
		return nil, err
	}
	return e, nil
}

// subscribe joins the groups last, so that no event passes unfiltered.
func (e *Events) subscribe(mark, mask uint32, buffer int) error {
	var errno error
	err := e.raw.Control(func(fd uintptr) {
		if errno = attachFilter(int(fd), markFilter(mark, mask)); errno != nil {
			return
		}
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
			// Without CAP_NET_ADMIN in the first user namespace; less is possible.
			errno = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
		}
	})
	if err := errors.Join(err, errno); err != nil {
		return err
	}
	for _, group := range []uint32{
		unix.NFNLGRP_CONNTRACK_NEW, unix.NFNLGRP_CONNTRACK_UPDATE, unix.NFNLGRP_CONNTRACK_DESTROY,
	} {
		if err := e.nfct.Con.JoinGroup(group); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the subscription.
func (e *Events) Close() error { return e.nfct.Close() }

// Overruns returns how often the kernel had to drop events because the buffer
// was full. It may be called at any time.
func (e *Events) Overruns() uint64 { return e.overruns.Load() }

// Run calls f for each event until ctx ends, and then returns nil. The event
// is valid until f returns.
func (e *Events) Run(ctx context.Context, f func(*Event)) error {
	if err := e.nfct.Con.SetReadDeadline(time.Time{}); err != nil {
		return opError("listen", Tuple{}, err)
	}
	stop := context.AfterFunc(ctx, func() {
		// Ends a read that waits.
		_ = e.nfct.Con.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	read := func(fd uintptr) bool {
		e.n, e.errno = ignoringEINTR(unix.Read, int(fd), e.in)
		return e.errno != unix.EAGAIN || e.lost
	}
	var ev Event
	for ctx.Err() == nil {
		if err := e.raw.Read(read); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return opError("listen", Tuple{}, err)
		}
		switch e.errno {
		case nil:
			deliver(e.in[:e.n], &ev, f)
		case unix.ENOBUFS:
			// From here the kernel drops every event, without another ENOBUFS,
			// until the queue is empty (NETLINK_S_CONGESTED in
			// net/netlink/af_netlink.c): a Dump is of use only after that.
			e.overruns.Add(1)
			e.lost = true
		case unix.EAGAIN:
			e.lost = false
			ev = Event{Type: Lost}
			f(&ev)
		default:
			return opError("listen", Tuple{}, e.errno)
		}
	}
	return nil
}

// deliver calls f for each event in b. What cannot be decoded is skipped: the
// kernel's next event is more use than an end.
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

// eventType returns 0 for a message that is no event of an entry.
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
