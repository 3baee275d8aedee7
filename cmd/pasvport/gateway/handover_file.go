// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxHandover is how large a file is read, in bytes: some ten thousand pinholes.
const maxHandover = 8 << 20

// errNotOurs says that somebody else can have written a file.
var errNotOurs = errors.New("not a file that only this user can have written")

// writeHandover writes a file that only this user can read, in one step. With
// nothing to hand over there is none.
func writeHandover(path string, h *handover) error {
	if h.empty() {
		return nil
	}
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600, O_EXCL
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// readHandover reads such a file, and removes it: it is good for one start. No
// file is nothing handed over. It says what may pass a firewall, so it must be
// a plain file of ours that nobody else can write.
func readHandover(path string) (h handover, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return h, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return h, err
	}
	st := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || st.Nlink != 1 || int(st.Uid) != os.Geteuid() {
		return h, fmt.Errorf("%s: %w", path, errNotOurs)
	}
	if err := os.Remove(path); err != nil {
		return h, err
	}
	d := json.NewDecoder(io.LimitReader(f, maxHandover))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return handover{}, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}
