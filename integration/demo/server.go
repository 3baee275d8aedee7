// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"net"
	"os"

	ftpserver "github.com/fclairamb/ftpserverlib"
	"github.com/spf13/afero"
)

// downloadName is the file that the server offers.
const downloadName = "download.bin"

// runServer is the FTP server. It keeps its files in memory and tells the
// checksum of the one it offers and of each one it is given.
func runServer(args []string) error {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	addr := flags.String("addr", ":21", "address of the control port")
	size := flags.Int64("size", 5<<20, "bytes of the file to download")
	_ = flags.Parse(args)

	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	return serve(ln, *size, newNotebook(os.Stdout))
}

// serve answers FTP on ln until it is closed.
func serve(ln net.Listener, size int64, book *notebook) error {
	fs := afero.NewMemMapFs()
	sum, err := writeRandom(fs, "/"+downloadName, size)
	if err != nil {
		return err
	}
	book.write(note{Kind: noteFile, Name: downloadName, Size: size, Sum: sum})
	book.write(note{Kind: noteReady, Text: ln.Addr().String()})
	return ftpserver.NewFtpServer(&driver{
		ln: &tappedListener{Listener: ln, book: book},
		fs: &watchedFs{Fs: fs, book: book},
	}).ListenAndServe()
}

// writeRandom creates a file of random bytes and returns its SHA-256.
func writeRandom(fs afero.Fs, name string, size int64) (string, error) {
	f, err := fs.Create(name)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, h), rand.Reader, size); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), f.Close()
}

// A tappedListener notes what is said on the connections it accepts.
type tappedListener struct {
	net.Listener
	book *notebook
}

func (l *tappedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newTap(c, l.book), nil
}

// driver is what ftpserverlib asks for: settings, users, files.
type driver struct {
	ln net.Listener
	fs afero.Fs
}

// GetSettings is where the server's habits are set. They are those of a server
// in the world: active data comes from port 20, and an announced address other
// than the client's own is refused.
func (d *driver) GetSettings() (*ftpserver.Settings, error) {
	return &ftpserver.Settings{
		Listener:               d.ln,
		ConnectionTimeout:      3, // seconds
		ActiveConnectionsCheck: ftpserver.IPMatchRequired,
		PasvConnectionsCheck:   ftpserver.IPMatchRequired,
	}, nil
}

func (d *driver) ClientConnected(ftpserver.ClientContext) (string, error) {
	return "demo FTP server", nil
}

func (d *driver) ClientDisconnected(ftpserver.ClientContext) {}

func (d *driver) AuthUser(ftpserver.ClientContext, string, string) (ftpserver.ClientDriver, error) {
	return d.fs, nil
}

func (d *driver) GetTLSConfig() (*tls.Config, error) {
	return nil, errors.New("this server has no TLS")
}

// A watchedFs notes size and checksum of every file that was written and closed.
type watchedFs struct {
	afero.Fs
	book *notebook
}

func (fs *watchedFs) OpenFile(name string, flag int, perm os.FileMode) (afero.File, error) {
	f, err := fs.Fs.OpenFile(name, flag, perm)
	if err != nil || flag&os.O_WRONLY == 0 {
		return f, err
	}
	return &watchedFile{File: f, fs: fs, name: name}, nil
}

type watchedFile struct {
	afero.File
	fs   *watchedFs
	name string
}

func (f *watchedFile) Close() error {
	if err := f.File.Close(); err != nil {
		return err
	}
	// Read back what the file system holds, not what passed through Write.
	content, err := afero.ReadFile(f.fs.Fs, f.name)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	f.fs.book.write(note{Kind: noteFile, Name: f.name, Size: int64(len(content)), Sum: hex.EncodeToString(sum[:])})
	return nil
}
