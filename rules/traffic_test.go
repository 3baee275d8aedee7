// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/integration/stage"
)

// A topology is a client and a server on the two sides of a router that
// translates the client's address.
type topology struct{ client, router, server stage.Namespace }

const (
	clientV4, serverV4 = "192.168.77.2", "203.0.113.2"
	clientV6, serverV6 = "fd77::2", "2001:db8::2"
	routerV4, routerV6 = "192.168.77.1", "fd77::1" // the client's side
)

func newTopology(t testing.TB) topology {
	t.Helper()
	stage.Need(t, "conntrack")
	l := stage.NewLine(t, clientV4+"/24 "+clientV6+"/64", routerV4+"/24 "+routerV6+"/64", "203.0.113.1/24 2001:db8::1/64", serverV4+"/24 "+serverV6+"/64")
	n := topology{l.Client, l.Router, l.Server}
	n.router.Load(t, `table inet nat { chain post { type nat hook postrouting priority srcnat; oifname "rs" masquerade; }; }`)
	return n
}

// An endpoint is a listener that passes accepted connections on by a channel.
type endpoint struct {
	addr     string
	accepted chan *net.TCPConn
}

// listen opens a listener in n until the end of the test.
func listen(t *testing.T, n stage.Namespace, host string, port int) *endpoint {
	t.Helper()
	e := &endpoint{net.JoinHostPort(host, strconv.Itoa(port)), make(chan *net.TCPConn, 64)}
	var ln net.Listener
	n.In(t, func() (err error) {
		ln, err = net.Listen("tcp", e.addr)
		return err
	})
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			e.accepted <- c.(*net.TCPConn)
		}
	}()
	return e
}

// connect opens a connection from n to e and returns both ends.
func connect(t *testing.T, n stage.Namespace, e *endpoint) (client, server *net.TCPConn) {
	t.Helper()
	n.In(t, func() error {
		c, err := (&net.Dialer{Timeout: 10 * time.Second}).Dial("tcp", e.addr)
		if err == nil {
			client = c.(*net.TCPConn)
		}
		return err
	})
	server = <-e.accepted
	for _, c := range []net.Conn{client, server} {
		c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return client, server
}

// say sends text from one end to the other.
func say(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, []byte(text)) {
		t.Fatalf("sent %q, received %q, %v", text, got, err)
	}
}

// info is TCP_INFO of c.
func info(t *testing.T, c *net.TCPConn) *unix.TCPInfo {
	t.Helper()
	var i *unix.TCPInfo
	control(t, c, func(fd int) (err error) {
		i, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	return i
}

func control(t *testing.T, c syscall.Conn, f func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil || ferr != nil {
		t.Fatal(err, ferr)
	}
}

// dataSegments is how many segments with payload both ends have sent,
// retransmissions included.
func dataSegments(t *testing.T, ends ...*net.TCPConn) (n int) {
	t.Helper()
	for _, c := range ends {
		n += int(info(t, c).Data_segs_out)
	}
	return n
}

var counterText = regexp.MustCompile(`counter packets (\d+) bytes`)

// counters are the packets counted by the rules of a chain, in order.
func counters(t *testing.T, n stage.Namespace, chain ...string) []int {
	t.Helper()
	out := n.Run(t, append([]string{"nft", "list", "chain"}, chain...)...)
	var all []int
	for _, m := range counterText.FindAllStringSubmatch(out, -1) {
		v, _ := strconv.Atoi(m[1])
		all = append(all, v)
	}
	return all
}

func queueCounters(t *testing.T, n stage.Namespace) []int {
	return counters(t, n, "inet", "pasvport", "divert")
}

func sum(v []int) (n int) {
	for _, x := range v {
		n += x
	}
	return n
}

// entry is conntrack's line for the connection from a client's port.
func entry(t *testing.T, n stage.Namespace, c net.Addr) string {
	t.Helper()
	from := netip.MustParseAddrPort(c.String())
	family := "ipv4"
	if from.Addr().Is6() {
		family = "ipv6"
	}
	out := n.Run(t, "conntrack", "-L", "-f", family, "-p", "tcp", "-o", "extended,id")
	for _, l := range strings.Split(out, "\n") {
		if strings.Contains(l, fmt.Sprintf("src=%s ", from.Addr())) && strings.Contains(l, fmt.Sprintf("sport=%d ", from.Port())) {
			return l
		}
	}
	t.Fatalf("no conntrack entry for %v in\n%s", from, out)
	return ""
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

const (
	adminMark = "mark=111 "
	dataPort  = 7777
)

var families = []struct{ name, client, router, server string }{
	{"IPv4", clientV4, routerV4, serverV4},
	{"IPv6", clientV6, routerV6, serverV6},
}

func TestTrafficControlConnection(t *testing.T) {
	n := newTopology(t)
	f := installed(t, n.router, Config{
		Ports: []PortRange{{21, 21}, {2121, 2122}}, Queues: 4, Queue: testQueue(t, n.router),
	})
	n.router.Load(t, `table inet admin { chain p { type filter hook prerouting priority mangle - 1; ct state new ct mark set 111; }; }`)
	n.server.Load(t, `table inet f { chain i { type filter hook input priority 0; tcp dport 2122 drop; }; }`)
	for _, fam := range families {
		t.Run(fam.name, func(t *testing.T) {
			ctl := listen(t, n.server, fam.server, 2121)
			c, s := connect(t, n.client, ctl)

			t.Run("carrier", func(t *testing.T) {
				if e := entry(t, n.router, c.LocalAddr()); !strings.Contains(e, "helper=sane") || !strings.Contains(e, adminMark) {
					t.Errorf("control connection: %s", e)
				}
				other := listen(t, n.server, fam.server, dataPort)
				d, _ := connect(t, n.client, other)
				if e := entry(t, n.router, d.LocalAddr()); strings.Contains(e, "helper=") || !strings.Contains(e, adminMark) {
					t.Errorf("other connection: %s", e)
				}
				if mss := info(t, d).Snd_mss; mss <= controlMSS {
					t.Errorf("MSS of another connection is %d: nothing to clamp", mss)
				}
			})
			t.Run("MSS", func(t *testing.T) {
				for _, end := range []*net.TCPConn{c, s} {
					if mss := info(t, end).Snd_mss; mss > controlMSS {
						t.Errorf("%v sends segments of %d", end.LocalAddr(), mss)
					}
				}
			})
			t.Run("payload only", func(t *testing.T) {
				before := sum(queueCounters(t, n.router))
				said := dataSegments(t, c, s)
				for i := range 5 {
					say(t, c, s, fmt.Sprintf("NOOP %d\r\n", i))
					say(t, s, c, "200 OK\r\n")
				}
				got, want := sum(queueCounters(t, n.router))-before, dataSegments(t, c, s)-said
				if got != want || want < 10 {
					t.Errorf("%d packets queued, %d segments with payload sent", got, want)
				}
			})
			t.Run("carrier's request", func(t *testing.T) { testCarrierRequest(t, n, c, s) })
			t.Run("left alone", func(t *testing.T) { testLeftAlone(t, n, f, ctl) })
			t.Run("one queue", func(t *testing.T) { testOneQueue(t, n, ctl) })
		})
	}
}

// halfOpen calls f while a connection attempt to a port that never answers is
// pending.
func halfOpen(t *testing.T, n topology, host string, port int, f func(local net.Addr)) {
	t.Helper()
	family, sa := unix.AF_INET, unix.Sockaddr(nil)
	addr := netip.MustParseAddr(host)
	if addr.Is4() {
		sa = &unix.SockaddrInet4{Port: port, Addr: addr.As4()}
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: port, Addr: addr.As16()}
	}
	fd := -1
	n.client.In(t, func() (err error) {
		if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err = unix.Connect(fd, sa); err != unix.EINPROGRESS {
			return fmt.Errorf("connect: %v", err)
		}
		return nil
	})
	defer unix.Close(fd)
	local, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	switch l := local.(type) {
	case *unix.SockaddrInet4:
		f(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4(l.Addr), uint16(l.Port))))
	case *unix.SockaddrInet6:
		f(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom16(l.Addr), uint16(l.Port))))
	}
}

// The request that would make the sane helper open a port does not pass in the
// direction that the helper reads.
func testCarrierRequest(t *testing.T, n topology, c, s *net.TCPConn) {
	request := "\x00\x00\x00\x07\x00\x00\x00\x01"
	say(t, s, c, request)
	dropped := func() int { return counters(t, n.router, "inet", "pasvport", "session")[0] }
	before := dropped()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request is dropped", func() bool { return dropped() > before })
	s.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if b, err := s.Read(make([]byte, 8)); err == nil {
		t.Errorf("%d bytes of the request arrived", b)
	}
}

// A session that is left alone is not queued until it is taken up; its mark is
// not changed.
func testLeftAlone(t *testing.T, n topology, f *Firewall, ctl *endpoint) {
	c, s := connect(t, n.client, ctl)
	say(t, c, s, "AUTH TLS\r\n")
	id := entryID(t, n.router, c.LocalAddr())
	queued := func() int {
		before := sum(queueCounters(t, n.router))
		for range 3 {
			say(t, c, s, "\x16\x03\x01")
			say(t, s, c, "\x16\x03\x03")
		}
		return sum(queueCounters(t, n.router)) - before
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(f.LeaveAlone(id, "limit"))
	must(f.LeaveAlone(id, "encrypted"))
	if got := queued(); got != 0 {
		t.Errorf("%d packets of a session that is left alone were queued", got)
	}
	if have, err := f.LeftAlone(); err != nil || have[id] != "encrypted" {
		t.Errorf("left alone: %v, %v", have, err)
	}
	if e := entry(t, n.router, c.LocalAddr()); !strings.Contains(e, adminMark) {
		t.Errorf("mark changed: %s", e)
	}
	must(f.TakeUp(id))
	must(f.TakeUp(id))
	if got := queued(); got != 6 {
		t.Errorf("%d packets of a session that was taken up were queued, want 6", got)
	}
}

// An element left by an ended connection is deleted with the first packet of the
// next one with the same id.
func TestTrafficAsideOfAnEarlierConnection(t *testing.T) {
	n := newTopology(t)
	f := installed(t, n.router, Config{Ports: []PortRange{{2121, 2122}}, Queue: testQueue(t, n.router)})
	n.server.Load(t, `table inet f { chain i { type filter hook input priority 0; tcp dport 2122 drop; }; }`)
	halfOpen(t, n, serverV4, 2122, func(local net.Addr) {
		id := entryID(t, n.router, local)
		if err := f.LeaveAlone(id, "earlier"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the repeated SYN takes the element out", func() bool {
			have, err := f.LeftAlone()
			return err == nil && len(have) == 0
		})
	})
}

// The mark of --allow mark is set when the connection is established, and no
// other bit changes.
func TestTrafficMark(t *testing.T) {
	n := newTopology(t)
	installed(t, n.router, Config{Ports: []PortRange{{2121, 2122}}, Queue: testQueue(t, n.router), Mark: 0x04000000})
	n.server.Load(t, `table inet f { chain i { type filter hook input priority 0; tcp dport 2122 drop; }; }`)
	n.router.Load(t, `table inet admin { chain p { type filter hook prerouting priority mangle - 1; ct state new ct mark set 111; }; }`)
	c, _ := connect(t, n.client, listen(t, n.server, serverV4, 2121))
	if e := entry(t, n.router, c.LocalAddr()); !strings.Contains(e, "mark=67108975 ") { // 0x0400006f
		t.Errorf("control connection: %s", e)
	}
	halfOpen(t, n, serverV4, 2122, func(local net.Addr) {
		if e := entry(t, n.router, local); !strings.Contains(e, adminMark) {
			t.Errorf("SYN only: %s", e)
		}
	})
}

// entryID is the id of the conntrack entry of a connection.
func entryID(t *testing.T, n stage.Namespace, c net.Addr) uint32 {
	t.Helper()
	e := entry(t, n, c)
	_, after, _ := strings.Cut(e, " id=")
	id, err := strconv.ParseUint(strings.Fields(after + " ")[0], 10, 32)
	if err != nil {
		t.Fatalf("%s: %v", e, err)
	}
	return uint32(id)
}

// All packets of a connection go to one queue, the one that QueueOf names, and
// connections spread over the queues.
func testOneQueue(t *testing.T, n topology, ctl *endpoint) {
	used := map[int]bool{}
	for range 16 {
		before := queueCounters(t, n.router)
		c, s := connect(t, n.client, ctl)
		say(t, s, c, "220 hello\r\n")
		say(t, c, s, "USER x\r\n")
		say(t, s, c, "331 y\r\n")
		after, hits := queueCounters(t, n.router), 0
		for i := range after {
			if after[i] == before[i] {
				continue
			}
			used[i] = true
			hits++
			if want := QueueOf(entryID(t, n.router, c.LocalAddr()), len(after)); i != want {
				t.Errorf("queue %d got the packets, want %d", i, want)
			}
			if got, want := after[i]-before[i], dataSegments(t, c, s); got != want {
				t.Errorf("queue %d got %d of %d packets", i, got, want)
			}
		}
		if hits != 1 {
			t.Errorf("connection on %d queues: %v then %v", hits, before, after)
		}
		c.Close()
		s.Close()
	}
	if len(used) < 2 {
		t.Errorf("16 connections used the queues %v only", used)
	}
}

// Control connections that begin or end on the firewall, or never leave it, have
// each packet queued once.
func TestTrafficLocal(t *testing.T) {
	n := newTopology(t)
	installed(t, n.router, Config{Ports: []PortRange{{2121, 2121}}, Queues: 2, Queue: testQueue(t, n.router)})
	for _, fam := range families {
		loopback := "127.0.0.1"
		if fam.name == "IPv6" {
			loopback = "::1"
		}
		for _, tt := range []struct {
			name       string
			from, to   stage.Namespace
			serverAddr string
		}{
			{"server on the firewall", n.client, n.router, fam.router},
			{"client on the firewall", n.router, n.server, fam.server},
			{"loopback", n.router, n.router, loopback},
		} {
			t.Run(fam.name+" "+tt.name, func(t *testing.T) {
				before := sum(queueCounters(t, n.router))
				c, s := connect(t, tt.from, listen(t, tt.to, tt.serverAddr, 2121))
				for range 3 {
					say(t, s, c, "200 OK\r\n")
					say(t, c, s, "NOOP\r\n")
				}
				got, want := sum(queueCounters(t, n.router))-before, dataSegments(t, c, s)
				if got != want || want < 6 {
					t.Errorf("%d packets queued, %d segments with payload sent", got, want)
				}
				if e := entry(t, n.router, c.LocalAddr()); !strings.Contains(e, "helper=sane") || !strings.Contains(e, "mark=0 ") {
					t.Errorf("entry: %s", e)
				}
				for _, end := range []*net.TCPConn{c, s} {
					if mss := info(t, end).Snd_mss; mss > controlMSS {
						t.Errorf("%v sends segments of %d", end.LocalAddr(), mss)
					}
				}
			})
		}
	}
}

// The SYN of an open pinhole is queued once, and no other packet is.
func TestTrafficClaim(t *testing.T) {
	n := newTopology(t)
	f := installed(t, n.router, Config{Claim: true, Carrier: CarrierBare, Queue: testQueue(t, n.router)})
	for i, fam := range families {
		t.Run(fam.name, func(t *testing.T) {
			claims := func() int { return counters(t, n.router, "inet", "pasvport", "claim")[i] }
			e := listen(t, n.server, fam.server, dataPort)
			exchange := func() {
				c, s := connect(t, n.client, e)
				say(t, c, s, "data")
				say(t, s, c, "data")
				c.Close()
				s.Close()
			}
			exchange()
			if got := claims(); got != 0 {
				t.Errorf("%d packets queued with no pinhole open", got)
			}
			p := Pinhole{Source: netip.MustParseAddr(fam.client), Dest: netip.MustParseAddrPort(e.addr)}
			if err := f.OpenPinhole(p); err != nil {
				t.Fatal(err)
			}
			exchange()
			if got := claims(); got != 1 {
				t.Errorf("%d packets queued, want the SYN", got)
			}
			if err := f.ClosePinhole(p); err != nil {
				t.Fatal(err)
			}
			exchange()
			if got := claims(); got != 1 {
				t.Errorf("%d packets queued after the pinhole was closed", got-1)
			}
			if e := n.router.Run(t, "conntrack", "-L", "-f", strings.ToLower(fam.name)); strings.Contains(e, "helper=") {
				t.Errorf("the bare carrier has a helper: %s", e)
			}
		})
	}
}

// The rule in the administrator's chain accepts an announced connection once, and
// only because the kernel expects it.
func TestTrafficChainRule(t *testing.T) {
	n := newTopology(t)
	n.router.Load(t, `table inet filter { chain forward {
		type filter hook forward priority 0; policy drop;
		ct state established accept
		tcp dport 2121 ct state new accept
		tcp dport 7777 counter
	}; }`)
	f := installed(t, n.router, Config{
		Ports: []PortRange{{2121, 2121}}, Queue: testQueue(t, n.router), Chains: []ChainRef{forward},
	})
	master, _ := connect(t, n.client, listen(t, n.server, serverV4, 2121))
	data := listen(t, n.server, serverV4, dataPort)
	// In order: our rules for IPv6 and IPv4, the administrator's.
	seen := func() (accepted, refused int) {
		c := counters(t, n.router, "inet", "filter", "forward")
		return c[0] + c[1], c[2]
	}
	refused := func() {
		t.Helper()
		_, before := seen()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- n.client.Enter(func() error {
				c, err := (&net.Dialer{}).DialContext(ctx, "tcp", data.addr)
				if err == nil {
					c.Close()
				}
				return err
			})
		}()
		eventually(t, "the SYN is refused", func() bool { _, now := seen(); return now > before })
		cancel()
		if err := <-done; err == nil {
			t.Error("connected")
		}
	}
	p := Pinhole{}
	p.Forward.Src, p.Forward.Dst = netip.MustParseAddr(clientV4), netip.MustParseAddrPort(data.addr)
	if err := f.OpenPinhole(p); err != nil {
		t.Fatal(err)
	}
	refused()
	if got, _ := seen(); got != 0 {
		t.Fatalf("%d packets accepted without an expectation", got)
	}
	expect(t, n.router, netip.MustParseAddrPort(master.LocalAddr().String()), netip.AddrPortFrom(p.Forward.Dst.Addr(), 2121), p.Forward.Dst)
	c, s := connect(t, n.client, data)
	say(t, c, s, "data")
	if got, _ := seen(); got == 0 {
		t.Error("the expected connection came through, but not by our rule")
	}
	refused() // the pinhole is still open, but nothing is expected any more
}

// appendTuple appends a tuple of ctnetlink.
func appendTuple(b []byte, typ uint16, src, dst netip.AddrPort) []byte {
	const ctaTupleIP, ctaTupleProto = 1, 2
	b, outer := openNest(b, typ)
	b, ip := openNest(b, ctaTupleIP)
	b = closeAttr(appendAttr(appendAttr(b, 1, src.Addr().AsSlice()), 2, dst.Addr().AsSlice()), ip)
	b, proto := openNest(b, ctaTupleProto)
	b = appendUint16(appendUint16(appendUint8(b, 1, unix.IPPROTO_TCP), 2, src.Port()), 3, dst.Port())
	return closeAttr(closeAttr(b, proto), outer)
}

// expect creates an expectation of a connection from a control connection's
// client to an address (ctnetlink_new_expect; the conntrack program of 1.4.7
// garbles the protocol).
func expect(t *testing.T, n stage.Namespace, client, server, data netip.AddrPort) {
	t.Helper()
	const ctaExpectMaster, ctaExpectTuple, ctaExpectMask = 1, 2, 3
	ones := netip.MustParseAddr("255.255.255.255")
	c, err := dial(n.FD)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	b := batch{seq: 1}
	b.header(unix.NFNL_SUBSYS_CTNETLINK_EXP<<8, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, unix.AF_INET, 0)
	b.buf = appendTuple(b.buf, ctaExpectMaster, client, server)
	b.buf = appendTuple(b.buf, ctaExpectTuple, netip.AddrPortFrom(client.Addr(), 0), data)
	b.buf = appendTuple(b.buf, ctaExpectMask, netip.AddrPortFrom(ones, 0), netip.AddrPortFrom(ones, 0xffff))
	b.buf = appendUint32(b.buf, 4, 60) // CTA_EXPECT_TIMEOUT
	b.done()
	if err := c.send(b.buf); err != nil {
		t.Fatal(err)
	}
	size, err := c.recv()
	if err != nil {
		t.Fatal(err)
	}
	for m := range messages(c.in[:size]) {
		if errno := errorOf(m.body); errno != 0 {
			t.Fatalf("expectation: %v", errno)
		}
	}
}
