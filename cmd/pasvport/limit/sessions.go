// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"errors"
	"net/netip"
	"sync"
)

// Sessions counts control connections, so that no client can fill the memory.
// Those that both ends have closed do not count; conntrack keeps their entries
// for minutes, and they are forgotten sooner if there are too many. S stands for
// one. The zero value counts none.
type Sessions[S any] struct {
	mu     sync.Mutex
	living int
	of     map[netip.Addr]int // the living, by client
	closed map[*Member]S
}

// Member is a control connection's part of Sessions, which guards it.
type Member struct{ standing standing }

type standing uint8

const (
	unknown standing = iota
	living
	closed
)

// Errors of Room when a limit is reached.
var (
	ErrSessions       = errors.New("too many sessions")
	ErrClientSessions = errors.New("too many sessions of one client")
)

// Room returns why another session of a client must not be read, or nil.
func (c *Sessions[S]) Room(client netip.Addr, most, mostOfClient int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.living >= most:
		return ErrSessions
	case c.of[client] >= mostOfClient:
		return ErrClientSessions
	}
	return nil
}

// Living returns how many count.
func (c *Sessions[S]) Living() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.living
}

// Fullest returns the largest number of counted sessions of one client.
func (c *Sessions[S]) Fullest() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := 0
	for _, n := range c.of {
		most = max(most, n)
	}
	return most
}

// Enter counts a session.
func (c *Sessions[S]) Enter(m *Member, client netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of, c.closed = map[netip.Addr]int{}, map[*Member]S{}
	}
	m.standing = living
	c.living++
	c.of[client]++
}

// Close stops counting a session, which is closed. If more than most such
// sessions are kept it returns one to forget.
func (c *Sessions[S]) Close(m *Member, client netip.Addr, s S, most int) (surplus S, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.standing != living {
		return surplus, false
	}
	c.leave(client)
	m.standing, c.closed[m] = closed, s
	if len(c.closed) <= most {
		return surplus, false
	}
	for _, surplus = range c.closed {
		break
	}
	return surplus, true
}

// Forget forgets a session.
func (c *Sessions[S]) Forget(m *Member, client netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.standing == living {
		c.leave(client)
	}
	m.standing = unknown
	delete(c.closed, m)
}

func (c *Sessions[S]) leave(client netip.Addr) {
	c.living--
	if c.of[client]--; c.of[client] == 0 {
		delete(c.of, client)
	}
}
