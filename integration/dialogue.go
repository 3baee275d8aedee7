// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Dialogue is a control connection through the firewall. The test speaks for both
// of its ends, and records what each end says and what the other one receives.
type Dialogue struct {
	t              testing.TB
	site           *Site
	from           *Host
	family         Family
	Client, Server *net.TCPConn
	heardByServer  *bufio.Reader
	heardByClient  *bufio.Reader
}

// lineTimeout is how long a line may take to the other end. An emulated machine
// is slow when a hundred sessions log in at once, and TCP repeats a lost line after
// twice as long each time.
const lineTimeout = time.Minute

// Talk connects a client to a listener on the position's server host and logs in.
// No other server may use the port.
func (s *Site) Talk(t testing.TB, ln *net.TCPListener, from *Host, f Family) *Dialogue {
	t.Helper()
	d := s.connect(t, ln, from, f, netip.AddrPort{})
	d.Reply("220 ready")
	d.login()
	return d
}

// connect makes a control connection, from local if that is valid. Neither end
// has sent anything yet.
func (s *Site) connect(t testing.TB, ln *net.TCPListener, from *Host, f Family, local netip.AddrPort) *Dialogue {
	t.Helper()
	var client *net.TCPConn
	err := whileInUse("port of the client", func() (err error) {
		client, err = from.Dial(local, s.Dial(from, f, 0), lineTimeout)
		return err
	})
	if err != nil {
		t.Fatalf("control connection: %v", err)
	}
	ln.SetDeadline(time.Now().Add(lineTimeout))
	server, err := ln.AcceptTCP()
	if err != nil {
		t.Fatalf("control connection: %v", err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return &Dialogue{t: t, site: s, from: from, family: f, Client: client, Server: server,
		heardByServer: bufio.NewReader(server), heardByClient: bufio.NewReader(client)}
}

// login logs the client in.
func (d *Dialogue) login() {
	d.t.Helper()
	for _, ask := range [][2]string{{"USER pvp", "331 password"}, {"PASS secret", "230 welcome"}} {
		d.Command(ask[0])
		d.Reply(ask[1])
	}
}

// ListenControl opens the listener that Talk needs.
func (s *Site) ListenControl(t testing.TB, f Family) *net.TCPListener {
	t.Helper()
	var ln *net.TCPListener
	err := whileInUse("control port", func() (err error) {
		ln, err = s.ServerHost().Listen(netip.AddrPortFrom(s.ServerAddr(f), s.Position.listening()[0]))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// whileInUse retries while a port is in use: a closed socket may live a moment
// longer in a child process, between its fork and its exec.
func whileInUse(what string, open func() error) error {
	var err error
	return errors.Join(waitFor(startTimeout, what+" free", func() bool {
		err = open()
		return !errors.Is(err, syscall.EADDRINUSE)
	}), err)
}

// Command sends a line from the client, and returns what the server receives.
func (d *Dialogue) Command(line string) string {
	d.t.Helper()
	return d.say(d.Client, d.Server, d.heardByServer, line)
}

// Reply sends a line from the server, and returns what the client receives.
func (d *Dialogue) Reply(line string) string {
	d.t.Helper()
	return d.say(d.Server, d.Client, d.heardByClient, line)
}

func (d *Dialogue) say(from, to net.Conn, heard *bufio.Reader, line string) string {
	d.t.Helper()
	if _, err := io.WriteString(from, line+"\r\n"); err != nil {
		d.t.Fatalf("sending %q: %v", line, err)
	}
	got, err := hear(to, heard)
	if err != nil {
		d.t.Fatalf("sent %q, the other end received %q: %v", line, got, err)
	}
	return got
}

// hear reads the next line that an end receives.
func hear(to net.Conn, heard *bufio.Reader) (string, error) {
	to.SetReadDeadline(time.Now().Add(lineTimeout))
	got, err := heard.ReadString('\n')
	return strings.TrimRight(got, "\r\n"), err
}

// Offer is an announced data port, and the two ends of the connection to come.
type Offer struct {
	// To is where the opener was told to connect.
	To       netip.AddrPort
	Opener   *Host
	listener *net.TCPListener
	accepted atomic.Int32
	got      sink // what was received
}

// Exchange sends a command and its reply. A session that was picked up midstream
// opens nothing before: only then does the daemon know where lines start.
func (d *Dialogue) Exchange() {
	d.Command("NOOP")
	d.Reply("200 ok")
}

// Announce makes one end listen, and announces its port in this mode.
func (d *Dialogue) Announce(m Mode) *Offer {
	d.t.Helper()
	host, addr, opener := d.listensAt(m)
	ln, err := host.Listen(netip.AddrPortFrom(addr, 0))
	if err != nil {
		d.t.Fatal(err)
	}
	return d.AnnounceListener(m, ln, opener)
}

// listensAt is where the listener of a mode is, and who connects to it.
func (d *Dialogue) listensAt(m Mode) (host *Host, addr netip.Addr, opener *Host) {
	if m.Active() {
		return d.from, d.clientAddr(), d.site.ServerHost()
	}
	return d.site.ServerHost(), d.site.ServerAddr(d.family), d.from
}

func (d *Dialogue) clientAddr() netip.Addr {
	return addrOf(d.Client.LocalAddr()).Addr()
}

// AnnounceListener announces an existing listener.
func (d *Dialogue) AnnounceListener(m Mode, ln *net.TCPListener, opener *Host) *Offer {
	d.t.Helper()
	o := &Offer{Opener: opener, listener: ln}
	d.t.Cleanup(func() { ln.Close() })
	go o.serve()
	var err error
	if o.To, err = d.announce(m, addrOf(ln.Addr())); err != nil {
		d.t.Fatal(err)
	}
	return o
}

// AnnounceText announces an address without a listener, and returns the address
// that the other end receives.
func (d *Dialogue) AnnounceText(m Mode, a netip.AddrPort) netip.AddrPort {
	d.t.Helper()
	to, err := d.announce(m, a)
	if err != nil {
		d.t.Fatal(err)
	}
	return to
}

func (d *Dialogue) announce(m Mode, a netip.AddrPort) (netip.AddrPort, error) {
	d.t.Helper()
	peer := addrOf(d.Client.RemoteAddr()).Addr()
	switch m {
	case PORT, EPRT:
		to, err := parseCommand(d.Command(string(m) + " " + argument(m, a)))
		d.Reply("200 " + string(m) + " command successful")
		return to, err
	case PASV:
		d.Command("PASV")
		return parseCommand("PORT " + numbers(d.Reply("227 Entering Passive Mode ("+argument(PORT, a)+").")))
	default:
		d.Command("EPSV")
		return parseExtended(d.Reply(fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", a.Port())), peer)
	}
}

// argument formats an address as in PORT and EPRT.
func argument(m Mode, a netip.AddrPort) string {
	if m == EPRT {
		family := 1
		if a.Addr().Is6() {
			family = 2
		}
		return fmt.Sprintf("|%d|%s|%d|", family, a.Addr(), a.Port())
	}
	return fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(a.Addr().String(), ".", ","), a.Port()>>8, a.Port()&255)
}

var sixNumbers = regexp.MustCompile(`(?:\d+,){5}\d+`)

func numbers(reply string) string { return sixNumbers.FindString(reply) }

// parseCommand parses PORT and EPRT.
func parseCommand(line string) (netip.AddrPort, error) {
	if arg, ok := strings.CutPrefix(line, "EPRT "); ok {
		f := strings.Split(arg, arg[:1])
		if len(f) != 5 {
			return netip.AddrPort{}, fmt.Errorf("cannot read %q", line)
		}
		return netip.ParseAddrPort(net.JoinHostPort(f[2], f[3]))
	}
	f := strings.Split(strings.TrimPrefix(line, "PORT "), ",")
	if len(f) != 6 {
		return netip.AddrPort{}, fmt.Errorf("cannot read %q", line)
	}
	high, err1 := strconv.ParseUint(f[4], 10, 8)
	low, err2 := strconv.ParseUint(f[5], 10, 8)
	addr, err3 := netip.ParseAddr(strings.Join(f[:4], "."))
	return netip.AddrPortFrom(addr, uint16(high<<8|low)), errors.Join(err1, err2, err3)
}

var extended = regexp.MustCompile(`\(\|\|\|(\d+)\|\)`)

// parseExtended parses a 229, whose address is the control connection's.
func parseExtended(line string, peer netip.Addr) (netip.AddrPort, error) {
	f := extended.FindStringSubmatch(line)
	if f == nil {
		return netip.AddrPort{}, fmt.Errorf("cannot read %q", line)
	}
	port, err := strconv.ParseUint(f[1], 10, 16)
	return netip.AddrPortFrom(peer, uint16(port)), err
}

// token is what the announcing end sends on each data connection.
func (o *Offer) token() string { return o.listener.Addr().String() + "\n" }

// serve answers data connections for as long as the listener is open.
func (o *Offer) serve() {
	for {
		c, err := o.listener.Accept()
		if err != nil {
			return
		}
		o.accepted.Add(1)
		go func() {
			defer c.Close()
			io.WriteString(c, o.token())
			io.Copy(&o.got, c)
		}()
	}
}

// sink is what data connections received.
type sink struct {
	mu   sync.Mutex
	sum  uint32 // crc32.IEEE
	n    int64
	last time.Time
	gap  time.Duration // longest time without data
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.last.IsZero() {
		s.gap = max(s.gap, now.Sub(s.last))
	}
	s.sum, s.n, s.last = crc32.Update(s.sum, crc32.IEEETable, b), s.n+int64(len(b)), now
	return len(b), nil
}

func (s *sink) state() (sum uint32, n int64, gap time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum, s.n, s.gap
}

// Connect opens a data connection from a host and proves by the token that it
// ends at the announcing end.
func (o *Offer) Connect(h *Host, timeout time.Duration) (*net.TCPConn, error) {
	c, err := h.Dial(netip.AddrPort{}, o.To, timeout)
	if err != nil {
		return nil, err
	}
	got := make([]byte, len(o.token()))
	c.SetReadDeadline(time.Now().Add(timeout))
	if _, err := io.ReadFull(c, got); err != nil {
		c.Close()
		return nil, err
	}
	if string(got) != o.token() {
		c.Close()
		return nil, fmt.Errorf("data connection to %s ended at %q, not %q", o.To, got, o.token())
	}
	return c, nil
}

// openTimeout is for connections that must succeed, refusedTimeout for those that
// must fail: an administrator's drop rule sends no answer.
const (
	openTimeout    = 30 * time.Second
	refusedTimeout = 700 * time.Millisecond
)

// MustOpen opens the data connection from the end that received the announcement;
// the end of the test closes it.
func (o *Offer) MustOpen(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := o.Connect(o.Opener, openTimeout)
	if err != nil {
		t.Fatalf("data connection %s to %s: %v", o.Opener.Role, o.To, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// MustRefuse tries to open a data connection from a host. The attempt must fail
// without reaching the listener.
func (o *Offer) MustRefuse(t testing.TB, h *Host, why string) {
	t.Helper()
	before := o.accepted.Load()
	c, err := o.Connect(h, refusedTimeout)
	if err == nil {
		c.Close()
		t.Errorf("%s: data connection %s to %s was let through", why, h.Role, o.To)
	} else if n := o.accepted.Load() - before; n > 0 {
		t.Errorf("%s: data connection %s to %s reached the listener, then: %v", why, h.Role, o.To, err)
	}
}

func addrOf(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
