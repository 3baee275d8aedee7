// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"sync"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/expect"
)

const (
	// forgottenTime is how long a session is remembered that the tracker lost
	// while it was established. Servers end idle sessions sooner.
	forgottenTime = time.Hour
	// maxForgotten bounds the memory; a flush of the tracker's table loses
	// every session at once.
	maxForgotten = 1 << 16
)

// forgotten is what is remembered of such a session.
type forgotten struct {
	original, reply expect.Tuple
	translated      bool
	adjusted        bool // its sequence numbers were
	carrier         bool
	mark            uint32 // of ours
	since           time.Time
}

// forgottenSessions are found by both of their tuples.
type forgottenSessions struct {
	mu sync.Mutex
	by map[expect.Tuple]*forgotten
}

// find returns what is remembered of a connection, nil if there is nothing.
func (fs *forgottenSessions) find(t expect.Tuple) *forgotten {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.by[t]
	if f == nil || time.Since(f.since) > forgottenTime {
		return nil
	}
	return f
}

// forget remembers a session whose entry is gone although neither end has
// begun to close the connection.
func (g *Gateway) forget(s *session) {
	f := &forgotten{
		original: s.original(), reply: s.reply(), translated: s.nat() != control.NATNone,
		adjusted: s.adjusted.Load(), carrier: s.carrier, mark: g.cfg.Control(), since: time.Now(),
	}
	s.mu.Lock()
	established := s.state == expect.TCPStateEstablished
	if s.opaque {
		f.mark |= g.cfg.Opaque()
	}
	s.mu.Unlock()
	if established {
		g.forgotten.add(f)
	}
}

func (fs *forgottenSessions) add(f *forgotten) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(fs.by) >= maxForgotten {
		fs.purge()
	}
	if fs.by == nil {
		fs.by = map[expect.Tuple]*forgotten{}
	}
	fs.by[f.original], fs.by[f.reply] = f, f
}

// take forgets a session for good, and returns what was remembered: it goes on,
// or another one uses its ports.
func (fs *forgottenSessions) take(s *session) *forgotten {
	f := fs.find(s.original())
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.by, s.original())
	delete(fs.by, s.reply())
	return f
}

// recall gives a session that goes on with another entry what it had before: an
// encrypted one is not read.
func (w *worker) recall(s *session) {
	f := w.g.forgotten.take(s)
	if f != nil && f.mark&w.g.cfg.Opaque() != 0 && !s.aside {
		w.g.encrypted(w.ct, s)
	}
}

// purge removes what is too old, and everything if that does not help.
func (fs *forgottenSessions) purge() {
	for t, f := range fs.by {
		if time.Since(f.since) > forgottenTime {
			delete(fs.by, t)
		}
	}
	if len(fs.by) >= maxForgotten {
		clear(fs.by)
	}
}
