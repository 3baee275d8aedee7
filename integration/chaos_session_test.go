// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"
)

const (
	// chaosLimit is how long one data connection may take.
	chaosLimit = 20 * time.Second
	// chaosFile is the size of what is sent and comes back.
	chaosFile = 100_000
)

// serve starts the server: its one file sends back what it receives.
func (c *chaos) serve(t *testing.T) {
	t.Helper()
	var listen []netip.AddrPort
	for _, f := range c.site.Position.families() {
		listen = append(listen, netip.AddrPortFrom(c.site.ServerAddr(f), 21))
	}
	m := startMini(t, c.site.ServerHost(), listen...)
	m.files["echo"] = func(conn net.Conn) {
		conn.SetDeadline(time.Now().Add(chaosLimit))
		io.Copy(conn, conn)
	}
}

// loop has one session after the other until the end.
func (c *chaos) loop(i int) {
	rng := rand.New(rand.NewPCG(c.seed, uint64(i)+1))
	h := []*Host{c.site.Client, c.site.Client2}[i%2]
	for time.Now().Before(c.end) {
		f := []Family{IPv4, IPv6}[rng.IntN(2)]
		began := time.Now()
		n, announced, err := c.session(h, f, rng)
		c.count(span{began, time.Now()}, announced, n, err)
	}
}

// session logs in, transfers some times, and ends. It returns the number of
// transfers, and the time of the last announcement.
func (c *chaos) session(h *Host, f Family, rng *rand.Rand) (n int, announced span, err error) {
	s, err := miniLogin(h, c.site.Dial(h, f, 0))
	if s != nil {
		defer s.c.Close()
	}
	if err != nil {
		return 0, announced, fmt.Errorf("login: %w", err)
	}
	for range 1 + rng.IntN(5) {
		m := f.Modes()[rng.IntN(len(f.Modes()))]
		data := make([]byte, rng.IntN(chaosFile))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		if announced, err = s.echo(m, data); err != nil {
			return n, announced, fmt.Errorf("transfer %d, %s, %s: %w", n, f, m, err)
		}
		n++
		time.Sleep(time.Duration(20+rng.IntN(200)) * time.Millisecond)
	}
	_, err = s.command("QUIT")
	return n, announced, err
}

// echo sends data and compares what comes back.
func (s *miniSession) echo(m Mode, data []byte) (announced span, err error) {
	announced.from = time.Now()
	open, err := s.announce(m)
	announced.to = time.Now()
	if err == nil {
		_, err = io.WriteString(s.c, "RETR echo\r\n")
	}
	if err != nil {
		return announced, fmt.Errorf("announcement: %w", err)
	}
	conn, err := open()
	if err != nil {
		line, _ := s.reply()
		return announced, fmt.Errorf("data connection: %w (server: %q)", err, line)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(chaosLimit))
	go func() {
		conn.Write(data)
		conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil {
		return announced, fmt.Errorf("data: %w", err)
	}
	if a, b := sha256.Sum256(got), sha256.Sum256(data); !bytes.Equal(a[:], b[:]) {
		return announced, fmt.Errorf("%w: %d bytes came back of %d", errChecksum, len(got), len(data))
	}
	for range 2 { // 150, 226
		if _, err := s.reply(); err != nil {
			return announced, fmt.Errorf("end of transfer: %w", err)
		}
	}
	return announced, nil
}

// errChecksum is never excused.
var errChecksum = errors.New("checksum differs")

// count files a session under completed, excused or failed.
func (c *chaos) count(life, announced span, transfers int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hit := func(list []span, s span) bool {
		for _, h := range list {
			if h.overlaps(s) {
				return true
			}
		}
		return false
	}
	c.transfers += transfers
	switch {
	case err == nil:
		c.completed++
	case errors.Is(err, errChecksum):
		c.failed = append(c.failed, err)
	case hit(c.broken, life):
		c.excused["conntrack -F"]++
	case hit(c.unread, announced):
		c.excused["announced before the ruleset was back"]++
	case hit(c.unread, life):
		// Of what passed meanwhile the daemon knows nothing: it finds its place
		// in the dialogue again a few lines later.
		c.excused["spoke before the ruleset was back"]++
	default:
		at := life.from.Format(time.StampMilli)
		c.failed = append(c.failed, fmt.Errorf("%s, %v: %w", at, time.Since(life.from).Round(time.Millisecond), err))
	}
}

// excusedEnd tells whether the end of a connection may have been lost: the
// tracker takes up in the middle what it forgot, and hears no end of it if one
// side is gone.
func (c *chaos) excusedEnd(entry string) bool {
	return c.excused["conntrack -F"] > 0
}
