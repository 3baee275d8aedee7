// SPDX-License-Identifier: Apache-2.0

package succession

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// header is the first line of a file.
type header struct {
	Format  string
	Version int
	Written time.Time
	Drained []string `json:",omitempty"`
}

// Estate is what a daemon leaves to the next one.
type Estate struct {
	Records []Record
	Drained []string // drained servers of virtual servers: VIRTUAL/NAME
}

const (
	format = "pasvport hand-over"
	// version is the version of the records. It grows when a field changes its
	// meaning, but not for a new field.
	version = 1
)

const (
	// maxFile is the maximum size of a file, in bytes: some hundred thousand
	// records.
	maxFile = 64 << 20
	// maxRecord is the maximum size of a record.
	maxRecord = 64 << 10
)

var (
	errNotOurs = errors.New("not a file that only this user can have written")
	errFormat  = errors.New("not a hand-over that this version can read")
)

// Path is the file of the daemon with this table, in a directory: there may be
// others, in this network namespace and in others.
func Path(dir, table string) (string, error) {
	ns, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, fmt.Sprintf("%s.%d.handover", table, ns.Sys().(*syscall.Stat_t).Ino)), nil
}

// Write atomically writes a file that only this user can read. If there is
// nothing to leave it writes none.
func Write(path string, e Estate, now time.Time) error {
	if len(e.Records)+len(e.Drained) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600, O_EXCL
	if err != nil {
		return err
	}
	err = encode(f, e, now)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

func encode(to io.Writer, e Estate, now time.Time) error {
	w := bufio.NewWriterSize(to, maxRecord)
	lines := json.NewEncoder(w) // ends each value with a newline
	if err := lines.Encode(header{format, version, now, e.Drained}); err != nil {
		return err
	}
	for i := range e.Records {
		if err := lines.Encode(&e.Records[i]); err != nil {
			return err
		}
	}
	return w.Flush()
}

// Read reads such a file, and removes it: it serves one start. No file means
// nothing. It must be a plain file of ours that no other user can write. The
// remaining times of the pinholes are from now on.
func Read(path string, now time.Time) (left Estate, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return left, nil
	}
	if err != nil {
		return left, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return left, err
	}
	st := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || st.Nlink != 1 || int(st.Uid) != os.Geteuid() {
		return left, fmt.Errorf("%s: %w", path, errNotOurs)
	}
	if err := os.Remove(path); err != nil {
		return left, err
	}
	if left, err = decode(io.LimitReader(f, maxFile), now); err != nil {
		return Estate{}, fmt.Errorf("%s: %w", path, err)
	}
	return left, nil
}

// decode returns all or nothing: we do not write incomplete files.
func decode(from io.Reader, now time.Time) (left Estate, err error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxRecord)
	var h header
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &h) != nil || h.Format != format || h.Version != version {
		return left, errors.Join(errFormat, lines.Err())
	}
	age := max(now.Sub(h.Written), 0) // the clock may have been set back
	left.Drained = h.Drained
	for lines.Scan() {
		var r Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return Estate{}, err
		}
		for i := range r.Pinholes {
			r.Pinholes[i].Left -= age
		}
		left.Records = append(left.Records, r)
	}
	return left, lines.Err()
}
