// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The files that the server has.
const (
	smallSize = 1 << 10
	bigSize   = 1 << 30
)

var data [1 << 20]byte

// patience limits every wait.
const patience = 20 * time.Second

func serve(addr string) error {
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go (&session{c: c.(*net.TCPConn), in: bufio.NewReader(c)}).serve()
	}
}

// session is a control connection on the server's side.
type session struct {
	c  *net.TCPConn
	in *bufio.Reader

	listener *net.TCPListener // after PASV
	peer     *net.TCPAddr     // after PORT
}

func (s *session) say(format string, args ...any) { fmt.Fprintf(s.c, format+"\r\n", args...) }

func (s *session) serve() {
	defer s.c.Close()
	defer s.reset()
	s.say("220 ready")
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		switch verb {
		case "PASV":
			s.passive()
		case "PORT":
			s.active(arg)
		case "RETR":
			s.send(arg)
		case "USER":
			s.say("331 password")
		case "PASS":
			s.say("230 welcome")
		default:
			s.say("200 ok")
		}
	}
}

// reset forgets what was announced.
func (s *session) reset() {
	if s.listener != nil {
		s.listener.Close()
	}
	s.listener, s.peer = nil, nil
}

func (s *session) passive() {
	s.reset()
	l, err := listen(s.c)
	if err != nil {
		s.say("425 %v", err)
		return
	}
	s.listener = l
	s.say("227 Entering Passive Mode (%s).", argument(l.Addr().(*net.TCPAddr).AddrPort()))
}

func (s *session) active(arg string) {
	s.reset()
	to, err := parseArgument(arg)
	if err != nil {
		s.say("501 %v", err)
		return
	}
	s.peer = net.TCPAddrFromAddrPort(to)
	s.say("200 ok")
}

func (s *session) open() (*net.TCPConn, error) {
	defer s.reset()
	if s.listener != nil {
		s.listener.SetDeadline(time.Now().Add(patience))
		return s.listener.AcceptTCP()
	}
	return dial(s.peer.String())
}

func (s *session) send(file string) {
	if s.listener == nil && s.peer == nil {
		s.say("425 use PASV or PORT first")
		return
	}
	s.say("150 here it comes")
	c, err := s.open()
	if err != nil {
		s.say("425 %v", err)
		return
	}
	size := smallSize
	if file == "big" {
		size = bigSize
	}
	for sent := 0; sent < size && err == nil; {
		var n int
		n, err = c.Write(data[:min(len(data), size-sent)])
		sent += n
	}
	c.Close()
	if err != nil {
		s.say("426 %v", err)
		return
	}
	s.say("226 done")
}

// nextPort counts the ports that were used for listening.
var nextPort atomic.Uint32

// listen listens on a port of the control connection's address. The port is the
// next in turn: with thousands of them in TIME-WAIT the kernel's search for one
// (inet_csk_find_open_port) takes longer than a transfer. It is outside the range
// of local ports of connections, or their search (__inet_hash_connect) would have
// to pass all of these.
func listen(c *net.TCPConn) (*net.TCPListener, error) {
	const lowest, ports = 20_000, 45_000
	at := *c.LocalAddr().(*net.TCPAddr)
	for {
		at.Port = lowest + int(nextPort.Add(1)%ports)
		l, err := net.ListenTCP("tcp4", &at)
		if !errors.Is(err, unix.EADDRINUSE) {
			return l, err
		}
	}
}

// argument formats an address as in PORT and 227.
func argument(a netip.AddrPort) string {
	return fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(a.Addr().Unmap().String(), ".", ","), a.Port()>>8, a.Port()&255)
}

func parseArgument(s string) (netip.AddrPort, error) {
	var a [4]byte
	var hi, lo uint8
	_, err := fmt.Sscanf(s, "%d,%d,%d,%d,%d,%d", &a[0], &a[1], &a[2], &a[3], &hi, &lo)
	return netip.AddrPortFrom(netip.AddrFrom4(a), uint16(hi)<<8|uint16(lo)), err
}
