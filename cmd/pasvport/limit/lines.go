// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// A session can cause log lines at will, ten thousand with one packet. These are
// the maximum numbers per Window: of warnings about one session, and of all lines
// about one session, one client, and in all.
const (
	Window       = 10 * time.Second
	MostWarnings = 100
	MostSession  = 500
	MostClient   = 2000
	MostLines    = 10000
)

// mostCounters limits the memory for sessions and clients.
const mostCounters = 4096

// Lines is the log limiter. A line about a session says how many before it were
// left out, and Left returns how many were of those that wrote no more.
type Lines struct {
	client func(netip.Addr) netip.Addr
	now    func() time.Time

	mu       sync.Mutex
	window   int64
	sessions map[uint64]*counter
	clients  map[netip.Addr]*counter
	all      counter
	left     int // left out, of sessions without a counter
}

// counter counts the lines of a window.
type counter struct {
	lines, warnings int
	left            int   // left out since the last line
	window          int64 // when the last was
}

// NewLines returns a log limiter; client is Client of the daemon's configuration.
func NewLines(client func(netip.Addr) netip.Addr, now func() time.Time) *Lines {
	return &Lines{client: client, now: now, sessions: map[uint64]*counter{}, clients: map[netip.Addr]*counter{}}
}

// line is what is known of a line to be written.
type line struct {
	session uint64     // 0: none
	client  netip.Addr // invalid: none
	warning bool
}

// may reports whether a line may be written, and how many about the same session
// were left out since the last one.
func (l *Lines) may(x line) (left int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.roll()
	s, c := &counter{}, &counter{}
	if x.session != 0 {
		s = counterOf(l, l.sessions, x.session)
	}
	if x.client.IsValid() {
		c = counterOf(l, l.clients, l.client(x.client))
	}
	if s.lines >= MostSession || x.warning && s.warnings >= MostWarnings || c.lines >= MostClient || l.all.lines >= MostLines {
		switch {
		case x.session != 0:
			s.left++
		default:
			l.left++
		}
		return 0, false
	}
	for _, k := range []*counter{s, c, &l.all} {
		k.lines++
	}
	if x.warning {
		s.warnings++
	}
	left, s.left = s.left, 0
	return left, true
}

// counterOf returns the counter of a session or client. If there are too many,
// the others begin anew: the limit of all holds.
func counterOf[K comparable](l *Lines, m map[K]*counter, k K) *counter {
	c := m[k]
	if c == nil {
		if len(m) >= mostCounters {
			for _, c := range m {
				l.left += c.left
			}
			clear(m)
		}
		c = &counter{window: l.window}
		m[k] = c
	}
	if c.window != l.window {
		*c = counter{window: l.window, left: c.left}
	}
	return c
}

// roll begins another window if it is time, and drops the counters of those that
// were silent for a whole one.
func (l *Lines) roll() {
	w := l.now().UnixNano() / int64(Window)
	if w == l.window {
		return
	}
	l.window, l.all = w, counter{}
	for k, c := range l.sessions {
		if c.window < w-1 {
			l.left += c.left
			delete(l.sessions, k)
		}
	}
	for k, c := range l.clients {
		if c.window < w-1 {
			delete(l.clients, k)
		}
	}
}

// Left returns how many lines were left out that no later line has reported, and
// none will: of sessions that have written nothing for a window.
func (l *Lines) Left() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.roll()
	n := l.left
	if l.all.lines >= MostLines {
		return 0 // there will be more
	}
	l.left = 0
	return n
}

// Handler returns a handler that forwards the lines that the limit permits. It
// takes a line's session and client from its attributes. Errors are about the
// daemon, and always pass.
func (l *Lines) Handler(next slog.Handler) slog.Handler { return handler{l, next} }

type handler struct {
	lines *Lines
	next  slog.Handler
}

func (h handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelError {
		left, ok := h.lines.may(lineOf(r))
		if !ok {
			return nil
		}
		if left > 0 {
			r = r.Clone()
			r.AddAttrs(slog.Int("more", left))
		}
	}
	return h.next.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.lines, h.next.WithAttrs(attrs)}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.lines, h.next.WithGroup(name)}
}

// lineOf finds the subject of a line. A packet of no known session names its
// sender.
func lineOf(r slog.Record) line {
	x := line{warning: r.Level >= slog.LevelWarn}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "session":
			if a.Value.Kind() == slog.KindUint64 {
				x.session = a.Value.Uint64()
			}
		case "client", "sender":
			if addr, ok := a.Value.Any().(netip.AddrPort); ok {
				x.client = addr.Addr()
			}
		}
		return !x.client.IsValid() || x.session == 0
	})
	return x
}

// Seldom is for a line that is written at most once in a Window, whoever causes
// it. The zero value permits one.
type Seldom struct {
	mu   sync.Mutex
	last time.Time
	left int
}

// May reports whether the line may be written now, and how many were left out
// since the last time.
func (s *Seldom) May(now time.Time) (left int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.last) < Window {
		s.left++
		return 0, false
	}
	left, s.left, s.last = s.left, 0, now
	return left, true
}
