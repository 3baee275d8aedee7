// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pipePatience is how long the reader of a pipe may keep lines waiting.
const pipePatience = time.Second

// maxWaiting limits what waits for a slow disk, in bytes.
const maxWaiting = 1 << 20

// File is a log file whose lines are written by a goroutine of its own: adding
// one does not wait for the disk. Its methods are safe for concurrent use.
type File struct {
	path   string
	failed func(err error, lost int)

	mu      sync.Mutex
	waiting []byte
	wake    chan struct{}
	reopen  bool
	lost    int
}

// OpenFile opens a file for appending, and creates it with mode 0640 if it does
// not exist. failed is called for each later error, or nil, with the number of
// lost lines.
func OpenFile(path string, failed func(err error, lost int)) (*File, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	_ = f.Close() // Run opens it
	return &File{path: path, failed: failed, wake: make(chan struct{}, 1), reopen: true}, nil
}

// CheckPath returns an error if OpenFile cannot open a path, and creates nothing. A
// missing directory is a *fs.PathError of that directory.
func CheckPath(path string) error {
	f, err := os.OpenFile(path, openFlags, 0)
	if err == nil {
		return f.Close()
	}
	if dir := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) {
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return unusable(dir, err)
		}
		return nil
	}
	return unusable(path, errors.Unwrap(err))
}

func unusable(path string, err error) error {
	return fmt.Errorf("%w, want a file that can be written, with the systemd unit one in /var/log/pasvport", &fs.PathError{Op: "open", Path: path, Err: err})
}

func open(path string) (*os.File, error) {
	return os.OpenFile(path, openFlags|os.O_CREATE, 0o640)
}

// openFlags do not wait for the reader of a named pipe.
const openFlags = os.O_WRONLY | os.O_APPEND | unix.O_NONBLOCK

// Add adds a line, with its end.
func (l *File) Add(line []byte) {
	l.mu.Lock()
	if len(l.waiting)+len(line) > maxWaiting {
		l.lost++
	} else {
		l.waiting = append(l.waiting, line...)
	}
	l.mu.Unlock()
	l.touch()
}

// Reopen makes the next line go to the file that then has the path: the other one
// was moved away.
func (l *File) Reopen() {
	l.mu.Lock()
	l.reopen = true
	l.mu.Unlock()
	l.touch()
}

func (l *File) touch() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run writes what is added until ctx ends and everything is written.
func (l *File) Run(ctx context.Context) error {
	var f *os.File
	defer func() { _ = f.Close() }() // of nil, an error without effect
	var list []byte
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-l.wake:
		}
		l.mu.Lock()
		list, l.waiting = l.waiting, list[:0]
		reopen, lost := l.reopen, l.lost
		l.reopen, l.lost = false, 0
		l.mu.Unlock()
		err := l.write(&f, list, reopen)
		if err != nil {
			lost += bytes.Count(list, []byte{'\n'})
		}
		if err != nil || lost > 0 {
			l.failed(err, lost)
		}
	}
	return nil
}

// write writes to the file, and opens it first if it is not open, or anew.
func (l *File) write(f **os.File, list []byte, reopen bool) (err error) {
	if *f != nil && reopen {
		_ = (*f).Close()
		*f = nil
	}
	if *f == nil {
		if *f, err = open(l.path); err != nil {
			return err
		}
	}
	_ = (*f).SetWriteDeadline(time.Now().Add(pipePatience)) // for a pipe; a file has none
	_, err = (*f).Write(list)
	return err
}
