// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// lose drops one in n packets of control connections, in both directions: on the
// links before the firewall, in its hook before conntrack, and on those behind
// it, in the receiver's hook.
func (s *Site) lose(t testing.TB, n int) {
	t.Helper()
	drop := fmt.Sprintf("numgen random mod %d 0 counter drop", n)
	s.Firewalls[0].LoadRules(t, `table inet lossy {
	chain links {
		type filter hook prerouting priority -450; policy accept;
		iifname "in*" tcp dport 21 `+drop+`
		iifname "out*" tcp sport 21 `+drop+`
	}
}`)
	for _, h := range []*Host{s.Client, s.Client2, s.Server} {
		h.LoadRules(t, `table inet lossy {
	chain links {
		type filter hook input priority 0; policy accept;
		tcp dport 21 `+drop+`
		tcp sport 21 `+drop+`
	}
}`)
	}
}

var lostPackets = regexp.MustCompile(`counter packets (\d+)`)

// lost is how many packets lose has dropped before and behind the firewall.
func (s *Site) lost(t testing.TB) (before, behind int) {
	t.Helper()
	count := func(h *Host) (n int) {
		out, err := h.Run(10*time.Second, Cmd("nft", "list", "table", "inet", "lossy"))
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, m := range lostPackets.FindAllStringSubmatch(out, -1) {
			k, _ := strconv.Atoi(m[1])
			n += k
		}
		return n
	}
	return count(s.Firewalls[0]), count(s.Client) + count(s.Client2) + count(s.Server)
}

// numberedServer answers dialogues whose lines are numbered, so that a lost,
// duplicated or corrupted line is noticed. Announcements get real ports only
// where data is requested.
type numberedServer struct {
	*miniServer
	// translated: the address in PORT and EPRT must be that of the control
	// connection's peer.
	translated bool
}

// startNumbered starts a numberedServer on the position's server host.
func (s *Site) startNumbered(t testing.TB, translated bool) {
	t.Helper()
	n := &numberedServer{startMini(t, s.ServerHost()), translated}
	n.patience = dataPatience
	go acceptAll(s.ListenControl(t, IPv4), n.serve)
}

func (n *numberedServer) serve(c *net.TCPConn) {
	defer c.Close()
	in := bufio.NewReader(c)
	open := func() (net.Conn, error) { return nil, net.ErrClosed }
	fmt.Fprint(c, "220 ready\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line, ended := strings.CutSuffix(line, "\r\n")
		verb, arg, _ := strings.Cut(line, " ")
		switch {
		case !ended:
			fmt.Fprintf(c, "500 line end of %q\r\n", line)
		case verb == "PASV" || verb == "EPSV":
			open = n.passive(c, Mode(verb))
		case verb == "PORT" || verb == "EPRT":
			open = n.announced(c, line)
		case verb == "RETR":
			n.send(c, open, arg)
		case verb == "NOOP" || verb == "USER" || verb == "PASS":
			fmt.Fprintf(c, "200 %s\r\n", arg)
		default:
			fmt.Fprintf(c, "500 %q\r\n", line)
		}
	}
}

func (n *numberedServer) announced(c *net.TCPConn, line string) func() (net.Conn, error) {
	to, err := parseCommand(line)
	if peer := addrOf(c.RemoteAddr()).Addr(); err == nil && n.translated && to.Addr() != peer {
		err = fmt.Errorf("%q does not name %s", line, peer)
	}
	if err != nil {
		fmt.Fprintf(c, "501 %v\r\n", err)
		return func() (net.Conn, error) { return nil, err }
	}
	return n.active(c, line)
}

// numberedSession is a client of numberedServer with one deadline for everything.
type numberedSession struct {
	host   *Host
	c      *net.TCPConn
	in     *bufio.Reader
	end    time.Time
	serial int
	index  int // of the session
	// translated: a 227 must name the dialled address.
	translated bool
}

func numberedLogin(h *Host, i int, to netip.AddrPort, translated bool) (*numberedSession, error) {
	c, err := h.Dial(netip.AddrPort{}, to, lineTimeout)
	if err != nil {
		return nil, err
	}
	s := &numberedSession{host: h, index: i, c: c, in: bufio.NewReader(c), translated: translated}
	s.limit(lineTimeout)
	if err := s.expect("220 ready"); err != nil {
		return nil, err
	}
	return s, s.exchange("USER one", "200 one", "PASS two", "200 two")
}

// limit is how long everything may take from now on.
func (s *numberedSession) limit(d time.Duration) {
	s.end = time.Now().Add(d)
	s.c.SetDeadline(s.end)
}

// expect reads a reply, which must be want.
func (s *numberedSession) expect(want string) error {
	got, err := s.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("waiting for %q: %w", want, err)
	}
	if got != want+"\r\n" {
		return fmt.Errorf("received %q, not %q", got, want)
	}
	return nil
}

// noop is a numbered command of some length, and its reply.
func (s *numberedSession) noop() (line, reply string) {
	s.serial++
	text := fmt.Sprintf("%d %s", s.serial, strings.Repeat("x", s.serial*17%90))
	return "NOOP " + text, "200 " + text
}

// numberedSerials is more than a session needs.
const numberedSerials = 40

// announcement is the line of an active mode without a listener, or the passive
// command. The port is neither one that the kernel gives to listeners, nor one
// that another of the first 300 sessions announces: announcing another session's
// port closes that session's pinhole.
func (s *numberedSession) announcement(m Mode) string {
	s.serial++
	if !m.Active() {
		return string(m)
	}
	own := addrOf(s.c.LocalAddr()).Addr()
	return string(m) + " " + argument(m, netip.AddrPortFrom(own, uint16(20000+(s.index*numberedSerials+s.serial)*997%12000)))
}

// answered reads the reply to an announcement.
func (s *numberedSession) answered(m Mode) (to netip.AddrPort, err error) {
	if m.Active() {
		return to, s.expect("200 ok")
	}
	line, err := s.in.ReadString('\n')
	if err != nil {
		return to, fmt.Errorf("waiting for the reply to %s: %w", m, err)
	}
	dialled := addrOf(s.c.RemoteAddr()).Addr()
	if m == PASV {
		to, err = parseCommand("PORT " + numbers(line))
	} else {
		to, err = parseExtended(line, dialled)
	}
	if err == nil && s.translated && to.Addr() != dialled {
		err = fmt.Errorf("%q does not name %s", line, dialled)
	}
	return to, err
}

func (s *numberedSession) say(lines ...string) error {
	_, err := io.WriteString(s.c, strings.Join(lines, "\r\n")+"\r\n")
	return err
}

// envInt is a number from the environment.
func envInt(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s: want a positive number", name, text)
	}
	return n
}
