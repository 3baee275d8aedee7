// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"container/heap"
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
)

const (
	// shortestLook and longestLook bound the time between two looks at the
	// entry of a control connection. The tracker counts in seconds; the upper
	// bound is for timeouts of days, which the tracker cuts to minutes while
	// bytes are not acknowledged (nf_conntrack_tcp_timeout_unacknowledged).
	shortestLook = 250 * time.Millisecond
	longestLook  = 30 * time.Second
	// lookSoon is when a session is looked at that had a part in something. Most
	// transfers are over by then, and no timeout is as short.
	lookSoon = 100 * time.Millisecond
	// lookAgain is when the entry is looked at again because its session had a
	// part in something: the lines that follow a data connection's first packet
	// pass unread, and may have set the entry to another timeout.
	lookAgain = 500 * time.Millisecond
)

// upkeep is one control connection whose entry must not time out, because it
// has data connections.
type upkeep struct {
	session *session
	span    time.Duration // what its packets set the entry's timeout to, as far as seen
	next    time.Time     // of the next look
	index   int           // in the heap
}

// keeper refreshes the entries of control connections that are silent while
// their data connections carry data. It looks at one entry at a time, when
// that entry needs it, and never lists the tracker's table.
type keeper struct {
	g    *Gateway
	ct   *expect.Conn
	all  map[*session]*upkeep
	heap upkeeps
}

// keepEntries runs a keeper until ctx ends.
func (g *Gateway) keepEntries(ctx context.Context) error {
	ct, err := expect.Dial()
	if err != nil {
		return err
	}
	defer ct.Close()
	k := &keeper{g: g, ct: ct, all: map[*session]*upkeep{}}
	timer := time.NewTimer(longestLook)
	defer timer.Stop()
	// At once for what is taken back.
	wake, soon := (chan struct{})(nil), time.After(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
			wake, soon = nil, time.After(lookSoon)
		case <-soon:
			wake, soon = g.data.live.wake, nil
			for _, s := range g.data.due() {
				k.look(s, time.Now(), lookAgain)
			}
		case now := <-timer.C:
			for len(k.heap) > 0 && !k.heap[0].next.After(now) {
				k.look(k.heap[0].session, now, longestLook)
			}
		}
		if len(k.heap) > 0 {
			timer.Reset(time.Until(k.heap[0].next))
		}
	}
}

// look refreshes the entry of a session if a third of its time is over, and
// sets the time of the next look, most from now at the latest.
func (k *keeper) look(s *session, now time.Time, most time.Duration) {
	if !s.transferring.Load() {
		k.forget(s)
		return
	}
	e, err := k.ct.Get(s.original())
	if err != nil || e.ID != s.id || e.TCPState >= expect.TCPStateFinWait || !k.live(s) {
		k.forget(s)
		return
	}
	u := k.all[s]
	if u == nil {
		u = &upkeep{session: s}
		k.all[s] = u
		heap.Push(&k.heap, u)
	}
	// The timeout of the state or of a policy is not told, but a packet sets
	// the entry to it: it is the most that was ever left. The tracker rounds down
	// to seconds, and the packet came a moment ago.
	u.span = max(u.span, e.Timeout+time.Second)
	if e.Timeout*3 <= u.span*2 {
		k.refresh(u)
	}
	u.next = now.Add(min(max(u.span/3, shortestLook), most))
	heap.Fix(&k.heap, u.index)
}

func (k *keeper) refresh(u *upkeep) {
	err := k.ct.UpdateTimeout(u.session.original(), u.span)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		k.g.log.Warn("cannot refresh a control connection's timeout", "client", u.session.ep.Client,
			"server", u.session.ep.Server, "err", err)
	}
}

// live reports whether data may still go over one of the session's data
// connections. Those that are closed are noted: the tracker tells of a
// connection's end only minutes after it.
func (k *keeper) live(s *session) bool {
	live := false
	for _, t := range k.g.data.liveOf(s) {
		e, err := k.ct.Get(t)
		if errors.Is(err, unix.ENOENT) || err == nil && e.TCPState >= expect.TCPStateTimeWait {
			k.g.data.ended(t, s)
			continue
		}
		live = true
	}
	return live
}

func (k *keeper) forget(s *session) {
	if u := k.all[s]; u != nil {
		heap.Remove(&k.heap, u.index)
		delete(k.all, s)
	}
}

// upkeeps is a heap by the time of the next look.
type upkeeps []*upkeep

func (h upkeeps) Len() int           { return len(h) }
func (h upkeeps) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h upkeeps) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *upkeeps) Push(x any) {
	u := x.(*upkeep)
	u.index = len(*h)
	*h = append(*h, u)
}

func (h *upkeeps) Pop() any {
	last := len(*h) - 1
	u := (*h)[last]
	*h = (*h)[:last]
	return u
}
