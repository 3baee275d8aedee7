// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// miniServer is an FTP server in this process, with its sockets on a host. It
// serves tests that need many sessions, or need to know which address answered,
// without a real FTP server.
type miniServer struct {
	host      *Host
	files     map[string]func(net.Conn) // what RETR sends
	fromPort  uint16                    // source port of active data; 0: any port
	patience  time.Duration             // how long to wait for a data connection
	answer    func(line string) string  // overrides the reply to a line, unless it returns ""; may be nil
	listeners []*net.TCPListener
}

// stop stops accepting sessions; existing ones continue.
func (s *miniServer) stop() {
	for _, ln := range s.listeners {
		ln.Close()
	}
}

// startMini starts a miniServer. What is to be changed in it is changed before it listens.
func startMini(t testing.TB, h *Host, listen ...netip.AddrPort) *miniServer {
	t.Helper()
	s := &miniServer{host: h, patience: lineTimeout, files: map[string]func(net.Conn){
		// whoami contains the server's own address of the control connection.
		"whoami": nil,
		"small":  func(c net.Conn) { c.Write(miniData[:miniSmall]) },
		"medium": func(c net.Conn) { c.Write(miniData[:]) },
	}}
	s.listen(t, listen...)
	return s
}

// listen serves sessions at more addresses.
func (s *miniServer) listen(t testing.TB, at ...netip.AddrPort) {
	t.Helper()
	for _, a := range at {
		ln, err := s.host.Listen(a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		s.listeners = append(s.listeners, ln)
		go acceptAll(ln, s.serve)
	}
}

// The sizes of the files small and medium.
const (
	miniSmall  = 1 << 10
	miniMedium = 50_000
)

// miniData is the content of files: no two of its prefixes are the same.
var miniData = func() (b [miniMedium]byte) {
	for i := range b {
		b[i] = byte(i ^ i>>8)
	}
	return b
}()

// acceptAll serves the connections of a listener until it is closed.
func acceptAll(ln *net.TCPListener, serve func(*net.TCPConn)) {
	for {
		c, err := ln.AcceptTCP()
		if err != nil {
			return
		}
		go serve(c)
	}
}

func (s *miniServer) serve(c *net.TCPConn) {
	defer c.Close()
	in := bufio.NewReader(c)
	open := func() (net.Conn, error) { return nil, net.ErrClosed }
	fmt.Fprint(c, "220 ready\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		if s.answer != nil {
			if text := s.answer(line); text != "" {
				fmt.Fprint(c, text+"\r\n")
				continue
			}
		}
		verb, arg, _ := strings.Cut(line, " ")
		switch verb {
		case "PASV", "EPSV":
			open = s.passive(c, Mode(verb))
		case "PORT", "EPRT":
			open = s.active(c, verb+" "+arg)
		case "RETR":
			s.send(c, open, arg)
		case "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			fmt.Fprint(c, "200 ok\r\n")
		}
	}
}

func (s *miniServer) passive(c *net.TCPConn, m Mode) func() (net.Conn, error) {
	ln, err := s.host.Listen(netip.AddrPortFrom(addrOf(c.LocalAddr()).Addr(), 0))
	if err != nil {
		fmt.Fprint(c, "425 cannot listen\r\n")
		return func() (net.Conn, error) { return nil, err }
	}
	if a := addrOf(ln.Addr()); m == PASV {
		fmt.Fprintf(c, "227 Entering Passive Mode (%s).\r\n", argument(PORT, a))
	} else {
		fmt.Fprintf(c, "229 Entering Extended Passive Mode (|||%d|)\r\n", a.Port())
	}
	return func() (net.Conn, error) {
		defer ln.Close()
		ln.SetDeadline(time.Now().Add(s.patience))
		return ln.Accept()
	}
}

func (s *miniServer) active(c *net.TCPConn, command string) func() (net.Conn, error) {
	to, err := parseCommand(command)
	fmt.Fprint(c, "200 ok\r\n")
	return func() (net.Conn, error) {
		if err != nil {
			return nil, err
		}
		return s.host.Dial(netip.AddrPortFrom(addrOf(c.LocalAddr()).Addr(), s.fromPort), to, s.patience)
	}
}

func (s *miniServer) send(c *net.TCPConn, open func() (net.Conn, error), file string) {
	write, ok := s.files[file]
	if !ok {
		fmt.Fprint(c, "550 no such file\r\n")
		return
	}
	fmt.Fprint(c, "150 here it comes\r\n")
	data, err := open()
	if err != nil {
		fmt.Fprintf(c, "425 cannot open: %v\r\n", err)
		return
	}
	if write == nil {
		fmt.Fprint(data, addrOf(c.LocalAddr()))
	} else {
		write(data)
	}
	data.Close()
	fmt.Fprint(c, "226 done\r\n")
}

// miniSession is a client's control connection.
type miniSession struct {
	host *Host
	c    *net.TCPConn
	in   *bufio.Reader
	// connected is when c was there.
	connected time.Time
	// shown is the address of the last passive data connection, and peer the
	// other end's address of the last data connection, in either mode.
	shown, peer netip.AddrPort
	// used are the client's addresses of all the session's connections.
	used []netip.AddrPort
}

// miniDial connects from a host, and reads the greeting. The caller must close the
// session, if there is one, also after an error.
func miniDial(h *Host, to netip.AddrPort) (*miniSession, error) {
	c, err := h.Dial(netip.AddrPort{}, to, lineTimeout)
	if err != nil {
		return nil, err
	}
	s := &miniSession{host: h, c: c, connected: time.Now(), in: bufio.NewReader(c), used: []netip.AddrPort{addrOf(c.LocalAddr())}}
	return s, s.due("220")
}

// miniLogin is miniDial, and a login.
func miniLogin(h *Host, to netip.AddrPort) (*miniSession, error) {
	s, err := miniDial(h, to)
	if err != nil {
		return s, err
	}
	for _, line := range []string{"USER mini", "PASS mini"} {
		if err := s.ask(line, "200"); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *miniSession) reply() (string, error) {
	s.c.SetReadDeadline(time.Now().Add(lineTimeout))
	return s.in.ReadString('\n')
}

// due reads a reply that must have this code.
func (s *miniSession) due(code string) error {
	line, err := s.reply()
	if err == nil && !strings.HasPrefix(line, code+" ") {
		err = fmt.Errorf("%w: received %q, due was %s", errReply, line, code)
	}
	return err
}

var errReply = errors.New("another reply")

// ask sends a command whose reply must have this code.
func (s *miniSession) ask(line, code string) error {
	if _, err := io.WriteString(s.c, line+"\r\n"); err != nil {
		return err
	}
	return s.due(code)
}

func (s *miniSession) command(line string) (string, error) {
	if _, err := io.WriteString(s.c, line+"\r\n"); err != nil {
		return "", err
	}
	return s.reply()
}

// transfer fetches a file into w.
func (s *miniSession) transfer(m Mode, file string, w io.Writer) (int64, error) {
	open, err := s.announce(m)
	if err != nil {
		return 0, err
	}
	if _, err := io.WriteString(s.c, "RETR "+file+"\r\n"); err != nil {
		return 0, err
	}
	c, err := open()
	if err != nil {
		line, _ := s.reply()
		return 0, fmt.Errorf("%s: %w (server: %q)", m, err, line)
	}
	s.peer = addrOf(c.RemoteAddr())
	n, err := io.Copy(w, c)
	c.Close()
	for _, want := range []string{"150 ", "226 "} {
		if err != nil {
			break
		}
		var line string
		if line, err = s.reply(); err == nil && !strings.HasPrefix(line, want) {
			err = fmt.Errorf("%s: %q after %d bytes, want %s", m, line, n, want)
		}
	}
	return n, err
}

// announce negotiates a data connection, and returns a function that opens it.
func (s *miniSession) announce(m Mode) (func() (net.Conn, error), error) {
	if m.Active() {
		ln, err := s.host.listenOnce(addrOf(s.c.LocalAddr()).Addr())
		if err != nil {
			return nil, err
		}
		s.used = append(s.used, addrOf(ln.Addr()))
		err = s.ask(string(m)+" "+argument(m, addrOf(ln.Addr())), "200")
		return func() (net.Conn, error) {
			defer ln.Close()
			ln.SetDeadline(time.Now().Add(lineTimeout))
			return ln.Accept()
		}, err
	}
	line, err := s.command(string(m))
	if err != nil {
		return nil, err
	}
	if m == PASV {
		s.shown, err = parseCommand("PORT " + numbers(line))
	} else {
		s.shown, err = parseExtended(line, addrOf(s.c.RemoteAddr()).Addr())
	}
	return func() (net.Conn, error) {
		c, err := s.host.Dial(netip.AddrPort{}, s.shown, lineTimeout)
		if err != nil {
			return nil, err
		}
		s.used = append(s.used, addrOf(c.LocalAddr()))
		return c, nil
	}, err
}

// activePort is the port on which a client last listened.
var activePort atomic.Uint32

// listenOnce listens on a port that no client has used for long: a server that
// sends from a fixed port cannot connect to the same port again for a minute.
func (h *Host) listenOnce(a netip.Addr) (ln *net.TCPListener, err error) {
	const first, n = 15000, 15000 // below the ports that the system assigns
	for range 100 {
		port := first + uint16(activePort.Add(1)%n)
		if ln, err = h.Listen(netip.AddrPortFrom(a, port)); !errors.Is(err, unix.EADDRINUSE) {
			return ln, err
		}
	}
	return ln, err
}
