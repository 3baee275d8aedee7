// SPDX-License-Identifier: Apache-2.0

package keepalive

import (
	"container/heap"
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
)

const (
	// shortestLook and longestLook limit the time between two looks at the entry
	// of a control connection. Conntrack counts in seconds; the upper limit is
	// for timeouts of days, which conntrack cuts to minutes while bytes are
	// unacknowledged (nf_conntrack_tcp_timeout_unacknowledged).
	shortestLook = 250 * time.Millisecond
	longestLook  = 30 * time.Second
	// lookSoon is when a session is checked that was just active. Most transfers
	// are over by then, and no timeout is as short.
	lookSoon = 100 * time.Millisecond
	// lookAgain is when the entry is checked again after its session was active:
	// the lines that follow a data connection's first packet pass unread, and may
	// have set the entry to another timeout.
	lookAgain = 500 * time.Millisecond
)

// Control is a control connection whose conntrack entry a Refresher refreshes.
type Control interface {
	comparable
	// Entry identifies its conntrack entry.
	Entry() (original expect.Tuple, id uint32)
}

// Transfers are the open data connections, by their control connection. Its
// methods are safe for concurrent use.
type Transfers[C Control] interface {
	// Wake receives when Due has something.
	Wake() <-chan struct{}
	// Due returns and forgets the control connections to check.
	Due() []C
	// Live returns the data connections that may still carry bytes.
	Live(C) []expect.Tuple
	// Ended records that one of them no longer carries bytes.
	Ended(expect.Tuple, C)
}

// conntrack is the part of an expect.Conn that a Refresher needs.
type conntrack interface {
	Get(expect.Tuple) (expect.Entry, error)
	UpdateTimeout(expect.Tuple, time.Duration) error
}

// Refresher refreshes the entries of control connections that are silent while
// their data connections carry data. It reads one entry at a time, when that
// entry needs it, and never lists conntrack's table. It belongs to the goroutine
// of Run.
type Refresher[C Control] struct {
	Conntrack conntrack
	Transfers Transfers[C]
	// Failed is called if an entry could not be refreshed.
	Failed func(C, error)

	all  map[C]*upkeep[C]
	heap upkeeps[C]
}

// upkeep is one control connection whose entry must not time out, because it
// has data connections.
type upkeep[C Control] struct {
	control C
	span    time.Duration // the timeout that its packets set, as far as seen
	next    time.Time     // of the next look
	index   int           // in the heap
}

// Run refreshes entries until ctx ends.
func (r *Refresher[C]) Run(ctx context.Context) error {
	r.all = map[C]*upkeep[C]{}
	timer := time.NewTimer(longestLook)
	defer timer.Stop()
	// At once for what was taken back from an earlier daemon.
	wake, soon := (<-chan struct{})(nil), time.After(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
			wake, soon = nil, time.After(lookSoon)
		case <-soon:
			wake, soon = r.Transfers.Wake(), nil
			for _, c := range r.Transfers.Due() {
				r.look(c, time.Now(), lookAgain)
			}
		case now := <-timer.C:
			for len(r.heap) > 0 && !r.heap[0].next.After(now) {
				r.look(r.heap[0].control, now, longestLook)
			}
		}
		if len(r.heap) > 0 {
			timer.Reset(time.Until(r.heap[0].next))
		}
	}
}

// look refreshes the entry of a control connection if a third of its time is
// over, and sets the time of the next look, at most most from now.
func (r *Refresher[C]) look(c C, now time.Time, most time.Duration) {
	original, id := c.Entry()
	if !r.live(c) {
		r.forget(c)
		return
	}
	e, err := r.Conntrack.Get(original)
	if err != nil || e.ID != id || e.TCPState >= expect.TCPStateFinWait {
		r.forget(c)
		return
	}
	u := r.all[c]
	if u == nil {
		u = &upkeep[C]{control: c}
		r.all[c] = u
		heap.Push(&r.heap, u)
	}
	// The timeout of the state or of a policy is not reported, but a packet sets
	// the entry to it: it is the largest remaining time seen. Conntrack rounds
	// down to seconds, and the packet came a moment ago.
	u.span = max(u.span, e.Timeout+time.Second)
	if e.Timeout*3 <= u.span*2 {
		if err := r.Conntrack.UpdateTimeout(original, u.span); err != nil && !errors.Is(err, unix.ENOENT) {
			r.Failed(c, err)
		}
	}
	u.next = now.Add(min(max(u.span/3, shortestLook), most))
	heap.Fix(&r.heap, u.index)
}

// live reports whether one of the data connections of c may still carry data. It
// records those that are closed: conntrack reports a connection's end only
// minutes after it.
func (r *Refresher[C]) live(c C) bool {
	live := false
	for _, t := range r.Transfers.Live(c) {
		e, err := r.Conntrack.Get(t)
		if errors.Is(err, unix.ENOENT) || err == nil && e.TCPState >= expect.TCPStateTimeWait {
			r.Transfers.Ended(t, c)
			continue
		}
		live = true
	}
	return live
}

func (r *Refresher[C]) forget(c C) {
	if u := r.all[c]; u != nil {
		heap.Remove(&r.heap, u.index)
		delete(r.all, c)
	}
}

// upkeeps is a heap by the time of the next look.
type upkeeps[C Control] []*upkeep[C]

func (h upkeeps[C]) Len() int           { return len(h) }
func (h upkeeps[C]) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h upkeeps[C]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push and Pop are for container/heap.
func (h *upkeeps[C]) Push(x any) {
	u := x.(*upkeep[C])
	u.index = len(*h)
	*h = append(*h, u)
}

func (h *upkeeps[C]) Pop() any {
	last := len(*h) - 1
	u := (*h)[last]
	*h = (*h)[:last]
	return u
}
