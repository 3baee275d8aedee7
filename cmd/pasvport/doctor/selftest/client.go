// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// errRefused means that a data connection could not be opened.
var errRefused = errors.New("the data connection was not opened")

// A client is a logged-in control connection.
type client struct {
	host    host
	conn    *net.TCPConn
	text    *textproto.Conn
	timeout time.Duration // for a data connection to be opened

	listener  *net.TCPListener // of the last PORT or EPRT; others may try it when it was used
	announced string           // the last announcement, as sent or received here
	sum       string           // SHA-256 of the last file, as received or sent
}

// login connects and logs in.
func login(h host, addr netip.AddrPort, timeout time.Duration) (*client, error) {
	conn, err := h.Dial(netip.AddrPort{}, addr, transferTimeout)
	if err != nil {
		return nil, fmt.Errorf("control connection: %w", err)
	}
	c := &client{host: h, conn: conn, text: textproto.NewConn(conn), timeout: timeout}
	_ = conn.SetDeadline(time.Now().Add(4 * transferTimeout))
	if _, _, err = c.text.ReadResponse(2); err == nil {
		_, err = c.say(3, "USER anonymous")
	}
	if err == nil {
		_, err = c.say(2, "PASS self@test")
	}
	if err == nil {
		_, err = c.say(2, "TYPE I")
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("login: %w", err)
	}
	return c, nil
}

func (c *client) close() {
	_ = c.text.Close()
	c.deaf()
}

// deaf stops listening for earlier announcements.
func (c *client) deaf() {
	if c.listener != nil {
		_ = c.listener.Close()
	}
	c.listener = nil
}

// say sends a command and expects a reply that begins with a digit.
func (c *client) say(want int, command string) (string, error) {
	verb, _, _ := strings.Cut(command, " ")
	if err := c.text.PrintfLine("%s", command); err != nil {
		return "", fmt.Errorf("%s: %w", verb, err)
	}
	_, text, err := c.text.ReadResponse(want)
	if err != nil {
		return "", fmt.Errorf("%s: %w", verb, err)
	}
	return text, nil
}

// An opener opens the data connection once the transfer has been requested.
type opener func() (net.Conn, error)

// announce negotiates a data port with a verb.
func (c *client) announce(verb string) (opener, error) {
	c.deaf()
	c.announced, c.sum = "", ""
	if verb == "PASV" || verb == "EPSV" {
		return c.passive(verb)
	}
	ln, err := listenBeside(c.host, c.conn)
	if err != nil {
		return nil, err
	}
	c.listener = ln
	c.announced = announcement(verb, ln.Addr().(*net.TCPAddr).AddrPort())
	if _, err := c.say(2, c.announced); err != nil {
		return nil, err
	}
	return func() (net.Conn, error) {
		_ = ln.SetDeadline(time.Now().Add(c.timeout))
		return ln.Accept()
	}, nil
}

// announcement is the command for active mode.
func announcement(verb string, at netip.AddrPort) string {
	if verb == "PORT" {
		return "PORT " + sixNumbers(at)
	}
	kind := 1
	if at.Addr().Unmap().Is6() {
		kind = 2
	}
	return fmt.Sprintf("EPRT |%d|%s|%d|", kind, at.Addr().Unmap(), at.Port())
}

func (c *client) passive(verb string) (opener, error) {
	text, err := c.say(2, verb)
	if err != nil {
		return nil, err
	}
	code := 227
	if verb == "EPSV" {
		code = 229
	}
	c.announced = fmt.Sprintf("%d %s", code, text)
	_, inner, _ := strings.Cut(text, "(")
	inner, _, _ = strings.Cut(inner, ")")
	remote, _ := netip.ParseAddrPort(c.conn.RemoteAddr().String())
	var to netip.AddrPort
	if verb == "EPSV" {
		port, perr := strconv.ParseUint(strings.Trim(inner, "|"), 10, 16)
		to, err = netip.AddrPortFrom(remote.Addr(), uint16(port)), perr
	} else {
		to, err = parseSix(inner)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: answer %q: %w", verb, text, err)
	}
	return func() (net.Conn, error) { return c.host.Dial(netip.AddrPort{}, to, c.timeout) }, nil
}

// open requests a transfer and opens the negotiated data connection.
func (c *client) open(open opener, command string) (net.Conn, error) {
	if err := c.text.PrintfLine("%s", command); err != nil {
		return nil, err
	}
	data, err := open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	_ = data.SetDeadline(time.Now().Add(transferTimeout))
	if _, _, err := c.text.ReadResponse(1); err != nil {
		_ = data.Close()
		return nil, err
	}
	return data, nil
}

// fetch gets the file.
func (c *client) fetch(verb string, want []byte) error {
	open, err := c.announce(verb)
	if err != nil {
		return err
	}
	return c.fetchFrom(open, want)
}

func (c *client) fetchFrom(open opener, want []byte) error {
	data, err := c.open(open, "RETR file")
	if err != nil {
		return err
	}
	got, err := io.ReadAll(data)
	_ = data.Close()
	if err != nil {
		return err
	}
	if _, _, err := c.text.ReadResponse(2); err != nil {
		return err
	}
	if c.sum = sumOf(got); !bytes.Equal(got, want) {
		return fmt.Errorf("fetched %d bytes, %d were sent, or the contents differ", len(got), len(want))
	}
	return nil
}

// store stores a file on the server.
func (c *client) store(verb string, s *server, file []byte) error {
	open, err := c.announce(verb)
	if err != nil {
		return err
	}
	data, err := c.open(open, "STOR file")
	if err != nil {
		return err
	}
	_, err = data.Write(file)
	if e := data.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if _, _, err := c.text.ReadResponse(2); err != nil {
		return err
	}
	c.sum = sumOf(file)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Equal(s.stored, file) {
		return fmt.Errorf("stored %d bytes, %d were sent, or the contents differ", len(s.stored), len(file))
	}
	return nil
}
