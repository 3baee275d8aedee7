// SPDX-License-Identifier: Apache-2.0

package bugreport

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"time"
)

// Archive is what was collected, in the order of writing.
type Archive struct {
	made  time.Time
	files []file
	hosts []string // DNS names in the settings
}

// file is one file of the archive.
type file struct {
	name, about string
	text        []byte
}

func (a *Archive) add(name, about string, text []byte, err error) {
	if err != nil {
		text = append(text, fmt.Sprintf("not available: %v\n", err)...)
	}
	a.files = append(a.files, file{name, about, text})
}

// List writes what is in the archive, a line for each file.
func (a *Archive) List(w io.Writer) error {
	for _, f := range a.files {
		if _, err := fmt.Fprintf(w, "  %-18s %8d bytes  %s\n", f.name, len(f.text), f.about); err != nil {
			return err
		}
	}
	return nil
}

// Write writes the archive as a gzipped tar file.
func (a *Archive) Write(w io.Writer) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	var err error
	for _, f := range a.files {
		h := &tar.Header{Name: "pasvport-report/" + f.name, Mode: 0o600, Size: int64(len(f.text)), ModTime: a.made, Format: tar.FormatPAX}
		if err = t.WriteHeader(h); err != nil {
			break
		}
		if _, err = t.Write(f.text); err != nil {
			break
		}
	}
	return errors.Join(err, t.Close(), z.Close())
}
