// SPDX-License-Identifier: Apache-2.0

package lost

import (
	"sync"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

const (
	// memoryTime is how long a connection is remembered that conntrack lost while
	// it was established. Servers end idle sessions sooner.
	memoryTime = time.Hour
	// maxConnections limits the memory; a flush of conntrack's table loses every
	// connection at once.
	maxConnections = 1 << 16
)

// Connection is what is remembered of a connection that conntrack lost.
type Connection struct {
	ID              uint32 // of its entry
	Original, Reply expect.Tuple
	Translated      bool            // its addresses were translated
	Adjusted        bool            // its sequence numbers were adjusted
	Carrier         bool            // its entry could carry expectations
	Left            succession.Left // why it was not read; LeftNot if it was
	Engine          Engine          // that read it, or nil
	Mark            uint32          // the ct mark of its entry

	since time.Time
}

// Engine is the protocol engine of a connection that conntrack lost. It knows
// where lines start, what was asked for and what was judged, which the connection
// needs when it continues.
type Engine interface {
	// Acquire returns the engine, with the caller's workspace, if no one else
	// uses it; otherwise nil.
	Acquire(*ftpalg.Workspace) *ftpalg.Conn
	// Release lets others use it.
	Release()
}

// Memory has the connections that conntrack lost, by both of their tuples. The
// zero value is empty. Its methods are safe for concurrent use.
type Memory struct {
	mu sync.Mutex
	by map[expect.Tuple]*Connection
}

// Find returns what is remembered of the connection with a tuple, in either
// direction, or nil. It must not be changed.
func (m *Memory) Find(t expect.Tuple, now time.Time) *Connection {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.find(t, now)
}

func (m *Memory) find(t expect.Tuple, now time.Time) *Connection {
	c := m.by[t]
	if c == nil || now.Sub(c.since) > memoryTime {
		return nil
	}
	return c
}

// Add remembers a connection.
func (m *Memory) Add(c Connection, now time.Time) {
	c.since = now
	m.mu.Lock()
	defer m.mu.Unlock()
	if 2*maxConnections <= len(m.by) {
		m.purge(now)
	}
	if m.by == nil {
		m.by = map[expect.Tuple]*Connection{}
	}
	m.by[c.Original], m.by[c.Reply] = &c, &c
}

// Take forgets the connection with these tuples, and returns what was remembered
// of it: it continues, or another one has its ports.
func (m *Memory) Take(original, reply expect.Tuple, now time.Time) *Connection {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.find(original, now)
	delete(m.by, original)
	delete(m.by, reply)
	return c
}

// purge removes what is too old, and everything if that does not help.
func (m *Memory) purge(now time.Time) {
	for t, c := range m.by {
		if now.Sub(c.since) > memoryTime {
			delete(m.by, t)
		}
	}
	if 2*maxConnections <= len(m.by) {
		clear(m.by)
	}
}
