// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// wire is a connection below TLS. What does not fit into its socket at once waits for
// flush, where it may not wait.
type wire struct {
	net.Conn
	raw  syscall.RawConn // nil: its writes may always wait
	hold atomic.Bool     // they may not now

	mu   sync.Mutex
	rest []byte // what has not left
}

func newWire(conn net.Conn) *wire {
	w := &wire{Conn: conn}
	if c, ok := conn.(syscall.Conn); ok {
		w.raw, _ = c.SyscallConn()
	}
	return w
}

// Write implements net.Conn.
func (w *wire) Write(b []byte) (int, error) {
	if !w.hold.Load() {
		return w.Conn.Write(b)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	var errno error
	if len(w.rest) == 0 {
		err := w.raw.Write(func(fd uintptr) bool {
			n, errno = unix.Write(int(fd), b)
			return true
		})
		if err != nil {
			return 0, err
		}
	}
	if errno != nil && errno != unix.EAGAIN && errno != unix.EINTR {
		return 0, errno
	}
	w.rest = append(w.rest, b[max(n, 0):]...)
	return len(b), nil
}

// flush sends what has not left.
func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) == 0 {
		return nil
	}
	_, err := w.Conn.Write(w.rest)
	w.rest = nil
	return err
}

// clear reports whether everything has left.
func (w *wire) clear() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.rest) == 0
}

// line is the link that we dialled, for those who write on it. Who has something urgent
// to tell writes itself, which saves two switches between threads, and never waits: what
// the socket does not take is left to the link's own goroutine.
type line struct {
	*tls.Conn
	wire *wire

	turn  sync.Mutex // who writes has it; what follows is that one's
	spare []byte
}

// send writes messages, and may wait. The turn is held.
func (l *line) send(b []byte) error {
	if len(b) == 0 && l.wire.clear() {
		return nil
	}
	if err := l.SetWriteDeadline(time.Now().Add(silence)); err != nil {
		return err
	}
	err := l.wire.flush()
	if err == nil && len(b) > 0 {
		_, err = l.Write(b)
	}
	if err != nil {
		return err
	}
	return l.SetWriteDeadline(time.Time{})
}

// sendNow writes messages without waiting, and reports whether all have left. The turn is
// held.
func (l *line) sendNow(b []byte) bool {
	l.wire.hold.Store(true)
	_, err := l.Write(b)
	l.wire.hold.Store(false)
	if err != nil {
		l.wire.Close() // who reads from it sees the end
	}
	return l.wire.clear()
}
