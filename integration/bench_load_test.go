// SPDX-License-Identifier: Apache-2.0

//go:build bench

package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// bench is a site with a server of its own: both ends of all connections are
// in this process, so that no FTP program is measured.
type bench struct {
	site *Site
	ln   *net.TCPListener
	mu   sync.Mutex
	idle []*benchSession
}

// The files that the server knows.
const (
	benchSmall = 1 << 10
	benchBig   = 1 << 30
)

func newBench(t *testing.T, position string, s Subject) *bench {
	i := slices.IndexFunc(Positions, func(p Position) bool { return p.Name == position })
	site := NewSite(t, Positions[i], AllowRelated, s)
	if s.Name == Open.Name {
		site.Firewalls[0].LoadRules(t, "insert rule inet filter forward accept")
	}
	b := &bench{site: site, ln: site.ListenControl(t, IPv4)}
	go func() {
		for {
			c, err := b.ln.AcceptTCP()
			if err != nil {
				return
			}
			go (&benchServer{b, c}).serve()
		}
	}()
	return b
}

// benchServer is the server's side of a control connection.
type benchServer struct {
	b *bench
	c *net.TCPConn
}

func (s *benchServer) serve() {
	defer s.c.Close()
	in := bufio.NewReader(s.c)
	var open func() (net.Conn, error)
	fmt.Fprint(s.c, "220 ready\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		switch verb {
		case "PASV":
			open = s.passive()
		case "PORT":
			open = s.active(arg)
		case "RETR":
			s.send(open, arg)
		default:
			fmt.Fprint(s.c, "200 ok\r\n")
		}
	}
}

func (s *benchServer) passive() func() (net.Conn, error) {
	ln, err := s.b.site.ServerHost().Listen(netip.AddrPortFrom(s.b.site.ServerAddr(IPv4), 0))
	if err != nil {
		return func() (net.Conn, error) { return nil, err }
	}
	fmt.Fprintf(s.c, "227 Entering Passive Mode (%s).\r\n", argument(PORT, addrOf(ln.Addr())))
	return func() (net.Conn, error) {
		defer ln.Close()
		ln.SetDeadline(time.Now().Add(lineTimeout))
		return ln.Accept()
	}
}

func (s *benchServer) active(arg string) func() (net.Conn, error) {
	to, err := parseCommand("PORT " + arg)
	fmt.Fprint(s.c, "200 ok\r\n")
	return func() (net.Conn, error) {
		if err != nil {
			return nil, err
		}
		return s.b.site.ServerHost().Dial(netip.AddrPort{}, to, lineTimeout)
	}
}

var benchData [1 << 20]byte

func (s *benchServer) send(open func() (net.Conn, error), file string) {
	fmt.Fprint(s.c, "150 here it comes\r\n")
	c, err := open()
	if err != nil {
		fmt.Fprint(s.c, "425 cannot open\r\n")
		return
	}
	if file == "small" {
		c.Write(benchData[:benchSmall])
	} else {
		for range benchBig / len(benchData) {
			c.Write(benchData[:])
		}
	}
	c.Close()
	fmt.Fprint(s.c, "226 done\r\n")
}

// benchSession is the client's side.
type benchSession struct {
	b  *bench
	c  *net.TCPConn
	in *bufio.Reader
}

func (b *bench) login() (*benchSession, error) {
	c, err := b.site.ClientHost().Dial(netip.AddrPort{}, b.site.Dial(b.site.ClientHost(), IPv4, 0), lineTimeout)
	if err != nil {
		return nil, err
	}
	s := &benchSession{b, c, bufio.NewReader(c)}
	if _, err := s.reply(); err != nil {
		return nil, err
	}
	for _, line := range []string{"USER bench", "PASS bench"} {
		if _, err := s.command(line); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// sessions returns n sessions that are logged in; those of earlier rounds are
// used again.
func (b *bench) sessions(t *testing.T, n int) []*benchSession {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.idle) < n {
		s, err := b.login()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.c.Close() })
		b.idle = append(b.idle, s)
	}
	return b.idle[:n]
}

func (s *benchSession) reply() (string, error) {
	s.c.SetReadDeadline(time.Now().Add(lineTimeout))
	return s.in.ReadString('\n')
}

func (s *benchSession) command(line string) (string, error) {
	if _, err := io.WriteString(s.c, line+"\r\n"); err != nil {
		return "", err
	}
	return s.reply()
}

// transfer fetches a file.
func (s *benchSession) transfer(m Mode, file string) (n int64, err error) {
	var c net.Conn
	host := s.b.site.ClientHost()
	if m == PASV {
		line, err := s.command("PASV")
		if err != nil {
			return 0, err
		}
		to, err := parseCommand("PORT " + numbers(line))
		if err != nil {
			return 0, err
		}
		if _, err := io.WriteString(s.c, "RETR "+file+"\r\n"); err != nil {
			return 0, err
		}
		if c, err = host.Dial(netip.AddrPort{}, to, lineTimeout); err != nil {
			return 0, err
		}
	} else {
		ln, err := host.Listen(netip.AddrPortFrom(addrOf(s.c.LocalAddr()).Addr(), 0))
		if err != nil {
			return 0, err
		}
		defer ln.Close()
		if _, err = s.command("PORT " + argument(PORT, addrOf(ln.Addr()))); err != nil {
			return 0, err
		}
		if _, err := io.WriteString(s.c, "RETR "+file+"\r\n"); err != nil {
			return 0, err
		}
		ln.SetDeadline(time.Now().Add(lineTimeout))
		if c, err = ln.Accept(); err != nil {
			return 0, err
		}
	}
	n, err = io.Copy(io.Discard, c)
	c.Close()
	for range 2 { // 150, 226
		if err == nil {
			_, err = s.reply()
		}
	}
	return n, err
}

// transfers are fetched by so many sessions at once, per second.
func (b *bench) transfers(t *testing.T, m Mode, sessions int) float64 {
	var done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for _, s := range b.sessions(t, sessions) {
		wg.Go(func() {
			for time.Since(start) < *benchTime {
				if n, err := s.transfer(m, "small"); err != nil || n != benchSmall {
					t.Errorf("%s: transfer of %d bytes: %v", b.site.Subject.Name, n, err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}

// noop is a quantile of the round-trip time of NOOP, in microseconds.
func (b *bench) noop(t *testing.T, quantile float64) float64 {
	s := b.sessions(t, 1)[0]
	times := make([]time.Duration, 2000)
	for i := range times {
		start := time.Now()
		if _, err := s.command("NOOP"); err != nil {
			t.Fatal(err)
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return float64(times[int(quantile*float64(len(times)))].Nanoseconds()) / 1000
}

// logins are control connections per second, from the SYN to the last reply.
func (b *bench) logins(t *testing.T) float64 {
	n := 0
	start := time.Now()
	for ; time.Since(start) < *benchTime; n++ {
		s, err := b.login()
		if err != nil {
			t.Fatal(err)
		}
		s.c.Close()
	}
	return float64(n) / time.Since(start).Seconds()
}

// bulk is the throughput of a large file, in megabytes per second.
func (b *bench) bulk(t *testing.T) float64 {
	s := b.sessions(t, 1)[0]
	start := time.Now()
	n, err := s.transfer(PASV, "big")
	if err != nil || n != benchBig {
		t.Fatalf("transfer of %d bytes: %v", n, err)
	}
	return float64(n) / 1e6 / time.Since(start).Seconds()
}
