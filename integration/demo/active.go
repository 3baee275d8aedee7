// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"time"
)

// active transfers the file in active mode: this client listens and the server
// connects. No Go client library speaks PORT, so the few commands needed are
// spoken here.
func (s *session) active() error {
	conn, err := net.DialTimeout("tcp", s.addr, clientTimeout)
	if err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(sessionTimeout)); err != nil {
		return err
	}
	control := textproto.NewConn(newTap(conn, s.book))
	defer control.Close()
	if err := login(control); err != nil {
		return err
	}

	ln, err := net.Listen("tcp", netip.AddrPortFrom(localAddr(conn), 0).String())
	if err != nil {
		return err
	}
	// Open until the session ends: a second connection to it must be the
	// firewall's doing to fail, not the client's.
	defer ln.Close()

	announced := netip.AddrPortFrom(localAddr(conn), uint16(ln.Addr().(*net.TCPAddr).Port))
	if err := request(control, 200, "%s", announcement(s.verb, announced)); err != nil {
		return err
	}
	if err := s.ask("announced"); err != nil {
		return err
	}
	if err := s.activeTransfer(control, ln.(*net.TCPListener)); err != nil {
		return err
	}
	if err := s.ask("transferred"); err != nil {
		return err
	}
	return request(control, 221, "QUIT")
}

// activeTransfer asks for the file, takes the server's connection and waits for
// the closing reply.
func (s *session) activeTransfer(control *textproto.Conn, ln *net.TCPListener) error {
	order := "RETR " + downloadName
	if s.upload > 0 {
		order = "STOR " + uploadName
	}
	if err := control.PrintfLine("%s", order); err != nil {
		return err
	}
	if err := ln.SetDeadline(time.Now().Add(clientTimeout)); err != nil {
		return err
	}
	data, err := ln.Accept()
	if err != nil {
		return fmt.Errorf("the server's data connection did not arrive: %w", errors.Join(err, complaint(control)))
	}
	defer data.Close()
	s.noteData(data)
	if _, _, err := control.ReadResponse(1); err != nil {
		return err
	}

	if s.upload > 0 {
		err = s.send(func(r io.Reader) error {
			if _, err := io.Copy(data, r); err != nil {
				return err
			}
			return data.Close()
		})
	} else {
		err = s.receive(data)
	}
	if err != nil {
		return err
	}
	_, _, err = control.ReadResponse(2)
	return err
}

// complaint is the reply that says why the server did not connect, nil if it has
// said nothing of the kind.
func complaint(control *textproto.Conn) error {
	_, _, err := control.ReadResponse(1)
	return err
}

func login(control *textproto.Conn) error {
	if _, _, err := control.ReadResponse(220); err != nil {
		return err
	}
	if err := request(control, 331, "USER demo"); err != nil {
		return err
	}
	if err := request(control, 230, "PASS demo"); err != nil {
		return err
	}
	return request(control, 200, "TYPE I")
}

// request sends one line and expects the reply code given.
func request(control *textproto.Conn, code int, format string, args ...any) error {
	if err := control.PrintfLine(format, args...); err != nil {
		return err
	}
	_, _, err := control.ReadResponse(code)
	return err
}

// localAddr is this end's address of a TCP connection.
func localAddr(c net.Conn) netip.Addr {
	return c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
}
