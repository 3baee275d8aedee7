// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// transferTimeout limits each wait of client and server.
const transferTimeout = 8 * time.Second

// A host is the place of an end of the sessions: a namespace.
type host interface {
	Listen(local netip.AddrPort) (*net.TCPListener, error)
	Dial(local, remote netip.AddrPort, timeout time.Duration) (*net.TCPConn, error)
}

// A server is an FTP server with one file that can be fetched, and room for
// one that is stored.
type server struct {
	host host
	file []byte
	ctx  context.Context // of all sessions
	wg   sync.WaitGroup

	listener *net.TCPListener
	cancel   context.CancelFunc

	mu        sync.Mutex
	stored    []byte
	announced string // the last announcement, as received or sent here
	sum       string // SHA-256 of the last file, as sent or received
}

// startServer listens on a port of both families, with a file of random bytes.
func startServer(h host, port uint16) (s *server, err error) {
	s = &server{host: h, file: make([]byte, fileSize)}
	_, _ = rand.Read(s.file) // never fails
	if s.listener, err = h.Listen(netip.AddrPortFrom(netip.Addr{}, port)); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(func() {
		for {
			c, err := s.listener.AcceptTCP()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.session(c) })
		}
	})
	return s, nil
}

// close ends the server and its sessions.
func (s *server) close() {
	s.cancel()
	_ = s.listener.Close()
	s.wg.Wait()
}

func (s *server) announce(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announced = line
}

func (s *server) lastAnnounced() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.announced
}

func (s *server) lastSum() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum
}

// A session is one control connection.
type session struct {
	*server
	conn    *net.TCPConn
	passive *net.TCPListener // after PASV or EPSV
	active  netip.AddrPort   // after PORT or EPRT
}

func (s *server) session(conn *net.TCPConn) {
	x := &session{server: s, conn: conn}
	defer context.AfterFunc(s.ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close(); x.forget() }()
	x.say("220 self-test")
	lines := bufio.NewScanner(conn)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(2 * transferTimeout))
		if !lines.Scan() {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if verb == "QUIT" {
			x.say("221 Bye")
			return
		}
		x.command(verb, arg)
	}
}

func (x *session) say(format string, args ...any) { _, _ = fmt.Fprintf(x.conn, format+"\r\n", args...) }

func (x *session) command(verb, arg string) {
	switch verb {
	case "USER":
		x.say("331 Password, please")
	case "PASS":
		x.say("230 Logged in")
	case "TYPE":
		x.say("200 Type set")
	case "PASV", "EPSV":
		x.listen(verb)
	case "PORT", "EPRT":
		a, err := parseAnnounced(verb, arg)
		if err != nil {
			x.say("501 %v", err)
			return
		}
		x.forget()
		x.active = a
		x.announce(verb + " " + arg)
		x.say("200 %s successful", verb)
	case "RETR", "STOR":
		x.transfer(verb)
	default:
		x.say("502 Not here")
	}
}

// forget drops an earlier announcement.
func (x *session) forget() {
	if x.passive != nil {
		_ = x.passive.Close()
	}
	x.passive, x.active = nil, netip.AddrPort{}
}

func (x *session) listen(verb string) {
	x.forget()
	ln, err := listenBeside(x.host, x.conn)
	if err != nil {
		x.say("425 %v", err)
		return
	}
	x.passive = ln
	at := ln.Addr().(*net.TCPAddr).AddrPort()
	line := fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", at.Port())
	if verb == "PASV" {
		line = fmt.Sprintf("227 Entering Passive Mode (%s)", sixNumbers(at))
	}
	x.announce(line)
	x.say("%s", line)
}

// listenBeside listens for a data connection at the address of a control connection.
func listenBeside(h host, control *net.TCPConn) (*net.TCPListener, error) {
	own := control.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	return h.Listen(netip.AddrPortFrom(own, 0))
}

// open opens the data connection of the last announcement.
func (x *session) open() (net.Conn, error) {
	if x.active.IsValid() {
		return x.host.Dial(netip.AddrPort{}, x.active, transferTimeout)
	}
	if x.passive == nil {
		return nil, fmt.Errorf("no data port was announced")
	}
	ln := x.passive
	defer context.AfterFunc(x.ctx, func() { _ = ln.Close() })()
	_ = ln.SetDeadline(time.Now().Add(transferTimeout))
	return ln.Accept()
}

func (x *session) transfer(verb string) {
	x.say("150 Here it comes")
	data, err := x.open()
	if err != nil {
		x.say("425 %v", err)
		return
	}
	_ = data.SetDeadline(time.Now().Add(transferTimeout))
	file := x.file
	if verb == "RETR" {
		_, err = data.Write(file)
	} else {
		file, err = io.ReadAll(data)
	}
	x.mu.Lock()
	if x.sum = sumOf(file); verb == "STOR" {
		x.stored = file
	}
	x.mu.Unlock()
	if e := data.Close(); err == nil {
		err = e
	}
	x.forget()
	if err != nil {
		x.say("426 %v", err)
		return
	}
	x.say("226 Done")
}

// sixNumbers formats h1,h2,h3,h4,p1,p2 (RFC 959).
func sixNumbers(a netip.AddrPort) string {
	b := a.Addr().Unmap().As4()
	return fmt.Sprintf("%d,%d,%d,%d,%d,%d", b[0], b[1], b[2], b[3], a.Port()>>8, a.Port()&0xff)
}

func sumOf(file []byte) string {
	sum := sha256.Sum256(file)
	return hex.EncodeToString(sum[:])
}

// parseAnnouncedLine reads a command of active mode.
func parseAnnouncedLine(line string) (netip.AddrPort, error) {
	verb, arg, _ := strings.Cut(line, " ")
	return parseAnnounced(verb, arg)
}

// parseAnnounced reads the argument of PORT, or that of EPRT (RFC 2428).
func parseAnnounced(verb, arg string) (netip.AddrPort, error) {
	if verb == "EPRT" {
		parts := strings.Split(arg, "|")
		if len(parts) != 5 {
			return netip.AddrPort{}, fmt.Errorf("EPRT %q cannot be read", arg)
		}
		return netip.ParseAddrPort(net.JoinHostPort(parts[2], parts[3]))
	}
	return parseSix(arg)
}

func parseSix(text string) (netip.AddrPort, error) {
	var b [6]byte
	parts := strings.Split(text, ",")
	if len(parts) != len(b) {
		return netip.AddrPort{}, fmt.Errorf("%q is not six numbers", text)
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("%q is not six numbers", text)
		}
		b[i] = byte(n)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), uint16(b[4])<<8|uint16(b[5])), nil
}
