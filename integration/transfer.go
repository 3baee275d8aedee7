// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// Mode is the verb that announces data connections.
type Mode string

// The modes.
const (
	PORT Mode = "PORT"
	EPRT Mode = "EPRT"
	PASV Mode = "PASV"
	EPSV Mode = "EPSV"
)

// Modes are the modes of a family.
func (f Family) Modes() []Mode {
	if f == IPv6 {
		return []Mode{EPRT, EPSV}
	}
	return []Mode{PORT, EPRT, PASV, EPSV}
}

// Active reports whether the server opens the data connections.
func (m Mode) Active() bool { return m == PORT || m == EPRT }

// Request is one run of a client program.
type Request struct {
	// Dial is the server as the client reaches it.
	Dial netip.AddrPort
	User string
	Mode Mode
	// Upload sends Local to the paths Remote; otherwise Remote is fetched.
	Upload        bool
	Local, Remote []string
	Timeout       time.Duration
}

// Job is a transfer between a client on one host and a server, to be verified.
type Job struct {
	Client *ClientKind
	From   *Host
	Dial   netip.AddrPort
	Server *Server
	Mode   Mode
	Size   int64 // of the file, in bytes
	// Timeout of the client; zero: 30 s.
	Timeout time.Duration
}

var fileSerial atomic.Uint32

// Do uploads one file and downloads another, and compares both with the
// originals. It returns what the client printed.
func (j Job) Do() (string, error) {
	var all string
	for _, upload := range []bool{false, true} {
		if upload && j.Client.noUpload {
			continue
		}
		out, err := j.one(upload)
		all += out
		if err != nil {
			direction := map[bool]string{false: "download", true: "upload"}[upload]
			return all, fmt.Errorf("%s: %w", direction, err)
		}
	}
	return all, nil
}

// one makes a file of random bytes at one end and transfers it.
func (j Job) one(upload bool) (string, error) {
	name := fmt.Sprintf("f%d.bin", fileSerial.Add(1))
	local := filepath.Join(j.From.Dir, name)
	far := filepath.Join(j.Server.Upload, name)
	source, copied := far, local
	if upload {
		source, copied = local, far
	}
	defer os.Remove(source)
	defer os.Remove(copied)
	want, err := randomFile(source, j.Size)
	if err != nil {
		return "", err
	}
	r := Request{Dial: j.Dial, User: j.Server.User, Mode: j.Mode, Upload: upload,
		Local: []string{local}, Remote: []string{j.Server.Remote + name}, Timeout: j.timeout()}
	out, err := j.Client.Transfer(j.From, r)
	if err != nil {
		return out, err
	}
	return out, sameFile(copied, want)
}

func (j Job) timeout() time.Duration {
	if j.Timeout == 0 {
		return 30 * time.Second * slowness
	}
	return j.Timeout
}

// Verify does the job and fails the test if it does not succeed.
func (j Job) Verify(t testing.TB) {
	t.Helper()
	if out, err := j.Do(); err != nil {
		t.Errorf("%s %s %s with %s: %v\n%s", j.Client.Name, j.Dial, j.Mode, j.Server.Kind.Name, err, lastLines(out, 60))
	}
}

// randomFile writes n random bytes and returns their hash.
func randomFile(path string, n int64) ([]byte, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, hash), rand.Reader, n); err != nil {
		return nil, err
	}
	return hash.Sum(nil), f.Chmod(0o644)
}

func sameFile(path string, want []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	if err != nil {
		return err
	}
	if !bytes.Equal(hash.Sum(nil), want) {
		return fmt.Errorf("%s: checksum differs (%d bytes arrived)", filepath.Base(path), n)
	}
	return nil
}
