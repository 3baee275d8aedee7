// SPDX-License-Identifier: Apache-2.0

package fastpath

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/pasvport/pasvport/ftpalg"
)

// mostLines is how many lines may pass before one is queued again, so that the
// daemon learns of every connection now and then, and no counter overflows.
const mostLines = 4096

// Conn is one control connection's part of a Table. The zero value has no slot,
// and every packet is queued. Its methods are safe for concurrent use.
type Conn struct {
	mu    sync.Mutex
	table *Table // nil: no slot
	index uint32
	ended bool
	left  *ftpalg.Unread // what had passed when it ended, and Stop has not returned
}

// Arm lets lines pass unread, beginning with the state u. ends are those of both
// directions. Without a free slot it does nothing.
func (c *Conn) Arm(t *Table, ends [2]Ends, u *ftpalg.Unread, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	if c.table == nil {
		if err := c.enter(t, ends, now); err != nil || c.table == nil {
			return err
		}
	}
	s := c.table.slot(c.index)
	s.phase, s.next, s.acked, s.lines, s.verb, s.left = uint32(u.Phase), u.Next, u.Acked, u.Lines, u.Verb, mostLines
	atomic.StoreUint32(&s.state, armed)
	return nil
}

// enter gets a slot and enters it for both directions of the connection.
func (c *Conn) enter(t *Table, ends [2]Ends, now time.Time) error {
	index, ok := t.take(now)
	if !ok {
		return nil
	}
	for d := range ends {
		if err := t.conns.Put(ends[d].key(), index<<1|uint32(d)); err != nil {
			t.leave(ends)
			t.giveBack(index, now)
			return err
		}
	}
	c.table, c.index = t, index
	return nil
}

// leave removes the entries of a connection.
func (t *Table) leave(ends [2]Ends) (err error) {
	for d := range ends {
		if e := t.conns.Delete(ends[d].key()); !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// Disarm queues all packets from here on.
func (c *Conn) Disarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.table != nil {
		atomic.AndUint32(&c.table.slot(c.index).state, ^uint32(armed))
	}
}

// Phase returns what the connection waits for, if lines may pass unread.
func (c *Conn) Phase() (ftpalg.Phase, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.table == nil {
		return 0, false
	}
	s := c.table.slot(c.index)
	phase := ftpalg.Phase(atomic.LoadUint32(&s.phase))
	return phase, atomic.LoadUint32(&s.state)&armed != 0
}

// Stop queues all packets from here on, and returns in u what has passed since
// Arm. ok is false if nothing has.
func (c *Conn) Stop(u *ftpalg.Unread) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.table != nil:
		s, _ := c.stop()
		return s.take(u)
	case c.left == nil:
		return false
	}
	*u, c.left = *c.left, nil
	return true
}

// Look returns in u what has passed since Arm or the last Look, and lets lines pass
// further on. One that was queued meanwhile is like one that was in the queue at Arm.
func (c *Conn) Look(u *ftpalg.Unread) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.table == nil || c.table.slot(c.index).passed() == 0 {
		return false
	}
	s, might := c.stop()
	ok = s.take(u)
	if might {
		atomic.StoreUint32(&s.state, armed)
	}
	return ok
}

// take returns in u what has passed, and forgets that. The slot is stopped.
func (s *slot) take(u *ftpalg.Unread) (ok bool) {
	if s.lines == [2]uint32{} {
		return false
	}
	*u = ftpalg.Unread{Next: s.next, Acked: s.acked, Lines: s.lines, Phase: ftpalg.Phase(s.phase), Verb: s.verb}
	s.lines = [2]uint32{}
	return true
}

// passed is how many lines have passed, at least.
func (s *slot) passed() uint32 {
	return atomic.LoadUint32(&s.lines[0]) + atomic.LoadUint32(&s.lines[1])
}

// stop disarms the slot, and waits until no processor is in the middle of the
// filter with it, which takes less than a microsecond. It reports whether the slot was
// armed and no packet was in the filter.
func (c *Conn) stop() (s *slot, was bool) {
	s = c.table.slot(c.index)
	before := atomic.AndUint32(&s.state, ^uint32(armed))
	was = before == armed
	for before&busy != 0 {
		runtime.Gosched()
		before = atomic.AndUint32(&s.state, ^uint32(armed))
	}
	return s, was
}

// End frees the slot. The connection is not armed any more after that. What has passed
// Stop returns once more.
func (c *Conn) End(ends [2]Ends, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.table == nil {
		return nil
	}
	t := c.table
	err := t.leave(ends)
	var passed ftpalg.Unread
	if s, _ := c.stop(); s.take(&passed) {
		c.left = &passed
	}
	c.table = nil
	t.giveBack(c.index, now)
	return err
}
