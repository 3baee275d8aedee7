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
}

const (
	format = "pasvport hand-over"
	// version is that of the records. It grows when a field changes its
	// meaning; one more field is no other version.
	version = 1
)

const (
	// maxFile is how large a file is read, in bytes: some hundred thousand
	// records.
	maxFile = 64 << 20
	// maxRecord is how large a record is.
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

// Write writes a file that only this user can read, in one step. Without a
// record there is none.
func Write(path string, records []Record, now time.Time) error {
	if len(records) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600, O_EXCL
	if err != nil {
		return err
	}
	err = encode(f, records, now)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

func encode(to io.Writer, records []Record, now time.Time) error {
	w := bufio.NewWriterSize(to, maxRecord)
	e := json.NewEncoder(w) // ends each value with a newline
	if err := e.Encode(header{format, version, now}); err != nil {
		return err
	}
	for i := range records {
		if err := e.Encode(&records[i]); err != nil {
			return err
		}
	}
	return w.Flush()
}

// Read reads such a file, and removes it: it is good for one start. No file is
// no record. It must be a plain file of ours that no other user can write. The
// time that is left to the pinholes is that from now on.
func Read(path string, now time.Time) ([]Record, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	st := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || st.Nlink != 1 || int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s: %w", path, errNotOurs)
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	records, err := decode(io.LimitReader(f, maxFile), now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return records, nil
}

// decode returns all records or none: half a file is not one that we wrote.
func decode(from io.Reader, now time.Time) ([]Record, error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxRecord)
	var h header
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &h) != nil || h.Format != format || h.Version != version {
		return nil, errors.Join(errFormat, lines.Err())
	}
	age := max(now.Sub(h.Written), 0) // the clock may have been set back
	var records []Record
	for lines.Scan() {
		var r Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, err
		}
		for i := range r.Pinholes {
			r.Pinholes[i].Left -= age
		}
		records = append(records, r)
	}
	return records, lines.Err()
}
