// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrInUse means that someone answers on the socket.
	ErrInUse = errors.New("another process answers on it")

	// ErrNotSocket means that the path is a file, a directory or a symbolic link.
	ErrNotSocket = errors.New("exists and is not a socket")
)

const (
	socketMode = 0o660
	dirMode    = 0o755
)

// socket is a listening unix socket and the file that it made.
type socket struct {
	listener *net.UnixListener
	path     string
	file     fs.FileInfo // to recognise our file
	once     sync.Once
	err      error
}

// CheckPath returns an error if no socket can be made at a path: a file is in its
// place or in that of its directory, or we may not write there. A directory that is
// missing is made.
func CheckPath(path string) error {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return ErrNotSocket
		}
		return nil // another daemon's, or left
	}
	if err := unix.Access(filepath.Dir(path)+"/.", unix.W_OK|unix.X_OK); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w, want a path in a directory that can be written", err)
	}
	return nil
}

// listen makes the socket file, and its directory if it is missing.
func listen(path string) (*socket, error) {
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// The mode given to the socket before bind is that of the file less the umask
	// (unix_bind_bsd in net/unix/af_unix.c): it is never open to all.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmod error
		err := c.Control(func(fd uintptr) { chmod = unix.Fchmod(int(fd), socketMode) })
		return errors.Join(err, chmod)
	}}
	ln, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	s := &socket{listener: ln.(*net.UnixListener), path: path}
	s.listener.SetUnlinkOnClose(false) // it would remove whatever has the name then
	if err := s.adopt(); err != nil {
		_ = s.listener.Close()
		return nil, err
	}
	return s, nil
}

// adopt restores the mode of the file, which the umask may have narrowed.
func (s *socket) adopt() error {
	if err := os.Chmod(s.path, socketMode); err != nil {
		return err
	}
	var err error
	s.file, err = os.Lstat(s.path)
	return err
}

// removeStale removes a socket on which no one listens. It follows no link and
// removes nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return ErrNotSocket
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return ErrInUse
	}
	if errors.Is(err, unix.EAGAIN) {
		return ErrInUse // its backlog is full
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	// But not one that another daemon has made in the meantime.
	if now, err := os.Lstat(path); err != nil || !os.SameFile(now, info) {
		return ErrInUse
	}
	return os.Remove(path)
}

// remove removes the file, unless someone else has put another in its place. It
// comes before the listener is closed, so that the inode number is not reused for
// that other file.
func (s *socket) remove() error {
	s.once.Do(func() {
		if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.file) {
			s.err = os.Remove(s.path)
		}
	})
	return s.err
}
