// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// client has logged-in sessions, which later requests reuse.
type client struct {
	server string
	idle   []*control
}

func (c *client) do(r Request) (Answer, error) {
	if r.Do != "hold" && r.Do != "first" {
		if err := c.logIn(max(r.Sessions, 1)); err != nil {
			return Answer{}, err
		}
	}
	switch r.Do {
	case "transfers":
		return c.transfers(r)
	case "noop":
		return c.roundTrips(r, "NOOP\r\n", "200")
	case "pasv": // of which nothing is used
		return c.roundTrips(r, "PASV\r\n", "227")
	case "hold": // opens sessions that stay
		start := time.Now()
		err := c.logIn(r.Sessions)
		return Answer{Count: len(c.idle), Elapsed: time.Since(start)}, err
	case "logins":
		return c.logins(r)
	case "first": // of a new session
		start := time.Now()
		s, err := logIn(c.server)
		if err != nil {
			return Answer{}, err
		}
		defer s.c.Close()
		n, err := s.transfer(r.Mode, "small", smallSize)
		return Answer{Count: int(n), Elapsed: time.Since(start)}, err
	case "bulk":
		start := time.Now()
		n, err := c.idle[0].transfer(r.Mode, "big", bigSize)
		return Answer{Count: int(n), Elapsed: time.Since(start)}, err
	}
	return Answer{}, fmt.Errorf("cannot do %q", r.Do)
}

// logIn opens sessions until there are n.
func (c *client) logIn(n int) error {
	for len(c.idle) < n {
		s, err := logIn(c.server)
		if err != nil {
			return err
		}
		c.idle = append(c.idle, s)
	}
	return nil
}

func (c *client) transfers(r Request) (Answer, error) {
	var count atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, r.Sessions)
	start := time.Now()
	for i, s := range c.idle[:r.Sessions] {
		wg.Go(func() {
			for time.Since(start) < r.Time && errs[i] == nil {
				if _, errs[i] = s.transfer(r.Mode, "small", smallSize); errs[i] == nil {
					count.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return Answer{Count: int(count.Load()), Elapsed: time.Since(start)}, errors.Join(errs...)
}

// roundTrips sends a line many times, which is answered with code.
func (c *client) roundTrips(r Request, line, code string) (Answer, error) {
	times := make([]time.Duration, 0, r.Count)
	begin := time.Now()
	for range r.Count {
		start := time.Now()
		reply, err := c.idle[0].command(line)
		if err == nil && !strings.HasPrefix(reply, code) {
			err = fmt.Errorf("server says %q", reply)
		}
		if err != nil {
			return Answer{}, err
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return Answer{Count: r.Count, Elapsed: time.Since(begin), Times: times}, nil
}

func (c *client) logins(r Request) (Answer, error) {
	n := 0
	start := time.Now()
	for ; time.Since(start) < r.Time; n++ {
		s, err := logIn(c.server)
		if err != nil {
			return Answer{}, err
		}
		s.c.Close()
	}
	return Answer{Count: n, Elapsed: time.Since(start)}, nil
}

// control is a control connection on the client's side.
type control struct {
	c  *net.TCPConn
	in *bufio.Reader
}

func dial(addr string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: patience}
	d.SetMultipathTCP(false)
	c, err := d.Dial("tcp4", addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), c.SetDeadline(time.Now().Add(time.Hour))
}

// logIn opens a control connection, from the SYN to the last reply of a login.
func logIn(server string) (*control, error) {
	c, err := dial(server)
	if err != nil {
		return nil, err
	}
	s := &control{c, bufio.NewReader(c)}
	if _, err := s.reply("220"); err != nil {
		return nil, err
	}
	for _, line := range []string{"USER anonymous\r\n", "PASS guest@\r\n"} {
		if _, err := s.command(line); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// reply reads a reply of one line, which must begin with code.
func (s *control) reply(code string) (string, error) {
	line, err := s.in.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, code) {
		err = fmt.Errorf("server says %q", line)
	}
	return line, err
}

// command sends a line and reads the reply to it.
func (s *control) command(line string) (string, error) {
	if _, err := io.WriteString(s.c, line); err != nil {
		return "", err
	}
	return s.reply("")
}

// transfer fetches a file.
func (s *control) transfer(mode, file string, size int64) (n int64, err error) {
	open, err := s.announce(mode)
	if err != nil {
		return 0, err
	}
	if _, err = io.WriteString(s.c, "RETR "+file+"\r\n"); err != nil {
		return 0, err
	}
	c, err := open()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	n, err = drain(c)
	if err == nil && n != size {
		err = fmt.Errorf("received %d bytes, want %d", n, size)
	}
	for _, code := range []string{"150", "226"} {
		if err == nil {
			_, err = s.reply(code)
		}
	}
	return n, err
}

// buffers are for reading files.
var buffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

func drain(c *net.TCPConn) (n int64, err error) {
	b := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(b)
	for {
		k, err := c.Read(b[:])
		n += int64(k)
		if errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

// announce negotiates a data connection, and returns a function that opens it.
func (s *control) announce(mode string) (func() (*net.TCPConn, error), error) {
	if mode == "PORT" {
		l, err := listen(s.c)
		if err != nil {
			return nil, err
		}
		if _, err = s.command("PORT " + argument(l.Addr().(*net.TCPAddr).AddrPort()) + "\r\n"); err != nil {
			l.Close()
			return nil, err
		}
		return func() (*net.TCPConn, error) {
			defer l.Close()
			l.SetDeadline(time.Now().Add(patience))
			return l.AcceptTCP()
		}, nil
	}
	line, err := s.command("PASV\r\n")
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(line, "(")
	to, err := parseArgument(rest)
	if err != nil {
		return nil, fmt.Errorf("server says %q: %w", line, err)
	}
	return func() (*net.TCPConn, error) { return dial(to.String()) }, nil
}
