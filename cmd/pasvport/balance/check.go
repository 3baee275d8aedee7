// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/rules"
)

// check connects to a server, waits for its greeting, logs in if a user is
// configured, and quits. encrypted is for implicit TLS; the server's certificate
// is not verified.
func check(ctx context.Context, server netip.AddrPort, k config.Check, encrypted bool) error {
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	d := net.Dialer{Control: noSession}
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", server.String())
	if err != nil {
		return plain(err)
	}
	defer func() { _ = c.Close() }()
	end, _ := ctx.Deadline()
	if err := c.SetDeadline(end); err != nil {
		return err
	}
	// A stop must not wait for a silent server.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if encrypted {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	return plain(dialogue(c, k))
}

// noSession keeps the connection from counting as a session.
func noSession(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PRIORITY, int(rules.MarkCheck))
	})
	return errors.Join(cerr, err)
}

// dialogue is the check's part of the dialogue.
func dialogue(c net.Conn, k config.Check) error {
	in := bufio.NewReaderSize(c, maxLine)
	steps := []struct{ command, want string }{{"", "220"}}
	if k.User != "" {
		steps = append(steps, struct{ command, want string }{"USER " + k.User, "230 331"})
	}
	for i := 0; i < len(steps); i++ {
		code, line, err := ask(c, in, steps[i].command)
		if err != nil {
			return err
		}
		if !strings.Contains(steps[i].want, code) {
			verb, _, _ := strings.Cut(steps[i].command, " ")
			return fmt.Errorf("%s answered with %.60q, want %s", map[bool]string{true: "connection", false: verb}[verb == ""], line, steps[i].want)
		}
		if code == "331" {
			steps = append(steps, struct{ command, want string }{"PASS " + k.Password, "230 202"})
		}
	}
	// Its answer does not matter, but the server is spared a reset.
	_, _, _ = ask(c, in, "QUIT")
	return nil
}

// The longest line of a reply, and how many lines a reply may have.
const (
	maxLine  = 4096
	maxLines = 200
)

var errReply = errors.New("the answer is no reply of FTP")

// ask sends a command, unless it is empty, and reads the reply (RFC 959
// section 4.2): its code and its first line.
func ask(c net.Conn, in *bufio.Reader, command string) (code, first string, err error) {
	if command != "" {
		if _, err := c.Write([]byte(command + "\r\n")); err != nil {
			return "", "", err
		}
	}
	for i := range maxLines {
		b, err := in.ReadSlice('\n')
		if err != nil {
			return "", "", err
		}
		line := strings.TrimRight(string(b), "\r\n")
		if i == 0 {
			if len(line) < 3 || strings.Trim(line[:3], "0123456789") != "" || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
				return "", "", fmt.Errorf("%w: %.60q", errReply, line)
			}
			code, first = line[:3], line
			if len(line) == 3 || line[3] == ' ' {
				return code, first, nil
			}
			continue
		}
		if line == code || strings.HasPrefix(line, code+" ") {
			return code, first, nil
		}
	}
	return "", "", errReply
}

// plain removes from an error what is said next to it anyway.
func plain(err error) error {
	var op *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in time")
	case errors.As(err, &op):
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return err
}
