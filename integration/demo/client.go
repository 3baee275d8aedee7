// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/jlaffaye/ftp"
)

// clientTimeout bounds each step of a session that waits for the other side. A
// firewall that drops says nothing, so this is how long a failure takes.
const clientTimeout = 3 * time.Second

// sessionTimeout bounds a whole session with all its pauses.
const sessionTimeout = 20 * time.Second

// uploadName is the file that the client uploads.
const uploadName = "upload.bin"

// An order is what one client session is to do.
type order struct {
	addr   string // control port of the server
	verb   string // PORT, EPRT, PASV or EPSV
	upload int64  // bytes to upload; 0: download instead
	pause  bool   // ask before and after the transfer
}

// runClient runs one session and notes what came of it. A transfer that fails is
// a result, not an error of the program.
func runClient(args []string) error {
	var o order
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	flags.StringVar(&o.addr, "addr", "", "address of the FTP server")
	flags.StringVar(&o.verb, "verb", "PASV", "PORT, EPRT, PASV or EPSV")
	flags.Int64Var(&o.upload, "upload", 0, "upload so many bytes instead of downloading")
	flags.BoolVar(&o.pause, "pause", false, "active only: wait for a line on standard input after the announcement, and again after the transfer")
	_ = flags.Parse(args)

	book := newNotebook(os.Stdout)
	s := &session{order: o, book: book, answers: bufio.NewReader(os.Stdin)}
	run := s.passive
	if o.verb == "PORT" || o.verb == "EPRT" {
		run = s.active
	}
	if err := run(); err != nil {
		book.write(note{Kind: noteFailed, Text: err.Error()})
	}
	return nil
}

// A session is one control connection and what is done on it.
type session struct {
	order
	book    *notebook
	answers *bufio.Reader
}

// passive transfers the file with jlaffaye/ftp, which speaks PASV and EPSV.
func (s *session) passive() error {
	control := true
	dial := func(network, addr string) (net.Conn, error) {
		c, err := net.DialTimeout(network, addr, clientTimeout)
		if err != nil {
			return nil, err
		}
		if control {
			control = false
			return newTap(c, s.book), nil
		}
		s.noteData(c)
		return c, nil
	}
	c, err := ftp.Dial(s.addr, ftp.DialWithDialFunc(dial), ftp.DialWithDisabledEPSV(s.verb == "PASV"))
	if err != nil {
		return err
	}
	defer func() { _ = c.Quit() }()
	if err := c.Login("demo", "demo"); err != nil {
		return err
	}
	if s.upload > 0 {
		return s.send(func(r io.Reader) error { return c.Stor(uploadName, r) })
	}
	r, err := c.Retr(downloadName)
	if err != nil {
		return err
	}
	if err := s.receive(r); err != nil {
		return err
	}
	return r.Close()
}

// noteData tells which data connection stands, as this end sees it.
func (s *session) noteData(c net.Conn) {
	s.book.write(note{Kind: noteData, Text: fmt.Sprintf("%v - %v", c.LocalAddr(), c.RemoteAddr())})
}

// receive reads a file to its end and notes what came.
func (s *session) receive(r io.Reader) error {
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return err
	}
	s.book.write(note{Kind: noteFile, Name: downloadName, Size: n, Sum: hex.EncodeToString(h.Sum(nil))})
	return nil
}

// send gives transfer a file of random bytes and notes it when it was taken.
func (s *session) send(transfer func(io.Reader) error) error {
	h := sha256.New()
	if err := transfer(io.TeeReader(io.LimitReader(rand.Reader, s.upload), h)); err != nil {
		return err
	}
	s.book.write(note{Kind: noteFile, Name: uploadName, Size: s.upload, Sum: hex.EncodeToString(h.Sum(nil))})
	return nil
}

// ask tells the show that the session stands still, and waits for its word.
func (s *session) ask(where string) error {
	if !s.pause {
		return nil
	}
	s.book.write(note{Kind: noteAsking, Text: where})
	_, err := s.answers.ReadString('\n')
	return err
}
