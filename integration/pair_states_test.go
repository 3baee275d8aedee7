// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pairState is a moment of a session at which the firewall fails over. begin
// brings the session there, and returns what must hold once the other machine has
// it.
type pairState struct {
	name  string
	begin func(t *testing.T, f *FirewallPair, d *Dialogue) (then func(*testing.T))
	older bool // its control connection is older than the daemons
	over  bool // the session has ended
	mute  bool // the daemons do not read the session
	again bool // an end retransmits meanwhile
}

// unreadTime is longer than it takes a daemon to tell the other one of lines that have
// passed in the kernel.
const unreadTime = 500 * time.Millisecond

var pairStates = []pairState{
	{name: "idle", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return func(*testing.T) {}
	}},
	{name: "logging in", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		d.Command("USER other")
		return func(*testing.T) {
			d.Reply("331 password")
			d.Command("PASS secret")
			d.Reply("230 welcome")
		}
	}},
	{name: "rewritten before", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		for _, m := range []Mode{d.passive(), d.active()} {
			d.Announce(m).MustOpen(t).Close()
		}
		d.Reply("226 done")
		return func(*testing.T) { d.Exchange() }
	}},
	{name: "between transfers", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		d.Announce(d.passive()).MustOpen(t).Close()
		d.Command("RETR file")
		d.Reply("150 here it comes")
		d.Reply("226 done")
		d.Command("TYPE I")
		d.Reply("200 ok")
		time.Sleep(unreadTime)
		return func(t *testing.T) { announced(f, d.Announce(d.passive()))(t) } // before anything else is said
	}},
	{name: "older than the daemons", older: true, begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		d.Exchange()
		for range 3 {
			d.Announce(d.active()).MustOpen(t).Close()
		}
		return announced(f, d.Announce(d.passive()))
	}},
	{name: "asked passive", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		o := d.asks(t, f)
		return func(t *testing.T) { d.says(t, f, o, 0) }
	}},
	{name: "asked active", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		o := d.orders(t, d.active())
		return func(t *testing.T) {
			d.Reply("200 ok")
			announced(f, o)(t)
		}
	}},
	{name: "refused active", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		o := d.orders(t, d.active())
		return func(t *testing.T) {
			d.Reply("500 no")
			o.MustRefuse(t, o.Opener, "the server has refused")
		}
	}},
	{name: "half a command", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		say(t, d.Client, "NO")
		return func(t *testing.T) {
			d.Command("OP") // completes the command
			d.Reply("200 ok")
		}
	}},
	{name: "half a PORT", again: true, begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		host, addr, opener := d.listensAt(d.active())
		o := &Offer{Opener: opener, listener: f.listen(t, host, addr)}
		go o.serve()
		line := string(d.active()) + " " + argument(d.active(), addrOf(o.listener.Addr()))
		say(t, d.Client, line[:len(line)-4])
		return func(t *testing.T) {
			var err error
			if o.To, err = parseCommand(d.Command(line[len(line)-4:])); err != nil {
				t.Fatal(err)
			}
			d.Reply("200 ok")
			announced(f, o)(t)
		}
	}},
	{name: "half a 227", again: true, begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		o := d.asks(t, f)
		say(t, d.Server, d.answer(o)[:14])
		return func(t *testing.T) { d.says(t, f, o, 14) }
	}},
	{name: "unacknowledged 227", again: true, begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return d.repeated(t, f, d.Server, d.Client, "output", "the client's acknowledgement is lost")
	}},
	{name: "lost 227", again: true, begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return d.repeated(t, f, d.Server, d.Client, "input", "the client does not get it")
	}},
	{name: "unacknowledged PORT", again: true, begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return d.repeated(t, f, d.Client, d.Server, "output", "the server's acknowledgement is lost")
	}},
	{name: "lost PORT", again: true, begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return d.repeated(t, f, d.Client, d.Server, "input", "the server does not get it")
	}},
	{name: "announced passive", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return announced(f, d.Announce(d.passive()))
	}},
	{name: "announced active", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return announced(f, d.Announce(d.active()))
	}},
	{name: "announced extended", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return announced(f, d.Announce(EPSV))
	}},
	{name: "announced anew", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		old, o := d.Announce(d.passive()), d.Announce(d.passive())
		return func(t *testing.T) {
			old.MustRefuse(t, old.Opener, "another one was announced after it")
			announced(f, o)(t)
		}
	}},
	{name: "used", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		o := d.Announce(d.passive())
		o.MustOpen(t).Close()
		d.Reply("226 done")
		return func(t *testing.T) { o.MustRefuse(t, o.Opener, "it was used before") }
	}},
	{name: "SYN passive", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return synInFlight(t, f, d.Announce(d.passive()), f.Server)
	}},
	{name: "SYN active", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return synInFlight(t, f, d.Announce(d.active()), d.from)
	}},
	{name: "transfer passive", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return transferring(t, f, d, d.passive())
	}},
	{name: "transfer active", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return transferring(t, f, d, d.active())
	}},
	{name: "transfer and announced", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		running := transferring(t, f, d, d.active())
		o := d.Announce(d.passive())
		return func(t *testing.T) {
			announced(f, o)(t)
			running(t)
		}
	}},
	{name: "unasked 227", begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		d.Exchange()
		return func(t *testing.T) {
			host, addr, opener := d.listensAt(d.passive())
			o := &Offer{Opener: opener, listener: f.listen(t, host, addr)}
			go o.serve()
			d.Reply(d.answer(o))
			o.To = netip.AddrPortFrom(addrOf(d.Client.RemoteAddr()).Addr(), addrOf(o.listener.Addr()).Port())
			o.MustRefuse(t, o.Opener, "the client has not asked")
		}
	}},
	{name: "encrypted", mute: true, begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		ln, err := f.Server.Listen(netip.AddrPortFrom(serverAddr[d.family], tlsRangePort))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		o := &Offer{To: netip.AddrPortFrom(addrOf(d.Client.RemoteAddr()).Addr(), tlsRangePort), Opener: d.from, listener: ln}
		go o.serve()
		d.Command("AUTH TLS")
		d.Reply("234 go ahead")
		o.MustOpen(t).Close()
		return func(t *testing.T) {
			d.Command("\x17\x03\x03 not FTP")
			o.MustRefuse(t, f.Client2, "another one")
			o.MustOpen(t).Close()
			if d.Client.Close(); !f.split {
				d.Server.Close()
				time.Sleep(time.Second)
				o.MustRefuse(t, d.from, "the session has ended")
			}
		}
	}},
	{name: "ended", over: true, begin: func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		o := d.Announce(d.passive())
		d.Client.Close()
		d.Server.Close()
		return func(t *testing.T) { o.MustRefuse(t, o.Opener, "its session has ended") }
	}},
}

func (d *Dialogue) passive() Mode {
	if d.family == IPv6 {
		return EPSV
	}
	return PASV
}

func (d *Dialogue) active() Mode {
	if d.family == IPv6 {
		return EPRT
	}
	return PORT
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// announced checks that an offer is open for one connection, and only for its
// opener.
func announced(f *FirewallPair, o *Offer) func(*testing.T) {
	return func(t *testing.T) {
		other := map[*Host]*Host{f.Client: f.Client2, f.Client2: f.Client, f.Server: f.Third}[o.Opener]
		o.MustRefuse(t, other, "another one")
		o.MustOpen(t)
		if !f.split { // otherwise each machine lets one through
			o.MustRefuse(t, o.Opener, "a second time")
		}
	}
}

// asks sends PASV or EPSV from the client, and makes the server listen.
func (d *Dialogue) asks(t *testing.T, f *FirewallPair) *Offer {
	t.Helper()
	host, addr, opener := d.listensAt(d.passive())
	o := &Offer{Opener: opener, listener: f.listen(t, host, addr)}
	go o.serve()
	d.Command(string(d.passive()))
	return o
}

// answer is the server's reply to PASV or EPSV.
func (d *Dialogue) answer(o *Offer) string {
	a := addrOf(o.listener.Addr())
	if d.passive() == EPSV {
		return fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", a.Port())
	}
	return "227 Entering Passive Mode (" + argument(PORT, a) + ")."
}

// says sends the rest of the server's reply, and has the client use it.
func (d *Dialogue) says(t *testing.T, f *FirewallPair, o *Offer, from int) {
	t.Helper()
	var err error
	if o.To, err = d.announcedAs(d.Reply(d.answer(o)[from:])); err != nil {
		t.Fatal(err)
	}
	announced(f, o)(t)
}

// announcedAs parses the announcement as the other end received it.
func (d *Dialogue) announcedAs(line string) (netip.AddrPort, error) {
	switch {
	case strings.HasPrefix(line, "229"):
		return parseExtended(line, addrOf(d.Client.RemoteAddr()).Addr())
	case strings.HasPrefix(line, "227"):
		return parseCommand("PORT " + numbers(line))
	}
	return parseCommand(line)
}

// orders announces a port of the client, which the server has not yet answered.
func (d *Dialogue) orders(t *testing.T, m Mode) *Offer {
	t.Helper()
	host, addr, opener := d.listensAt(m)
	ln, err := host.Listen(netip.AddrPortFrom(addr, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	o := &Offer{Opener: opener, listener: ln}
	go o.serve()
	if o.To, err = d.announcedAs(d.Command(string(m) + " " + argument(m, addrOf(ln.Addr())))); err != nil {
		t.Fatal(err)
	}
	return o
}

// loss drops packets at a host.
type loss struct {
	h    *Host
	name string
}

// lose drops matching packets at a hook of a host.
func (h *Host) lose(t *testing.T, name, hook, match string) *loss {
	t.Helper()
	h.LoadRules(t, fmt.Sprintf("table inet %s {\n\tchain c {\n\t\ttype filter hook %s priority 0; policy accept;\n\t\t%s counter drop\n\t}\n}\n", name, hook, match))
	return &loss{h, name}
}

// wait waits until a packet was dropped.
func (l *loss) wait(t *testing.T, what string) {
	t.Helper()
	if err := waitFor(lineTimeout, what, func() bool {
		out, err := l.h.Run(10*time.Second, Cmd("nft", "list", "table", "inet", l.name))
		return err == nil && !strings.Contains(out, "packets 0 ")
	}); err != nil {
		t.Fatal(err)
	}
}

func (l *loss) end(t *testing.T) {
	t.Helper()
	l.h.LoadRules(t, "delete table inet "+l.name)
}

// repeated announces a port, in a line that TCP retransmits until it is
// acknowledged. Either the line or its acknowledgement is lost, at a hook of the
// other end.
func (d *Dialogue) repeated(t *testing.T, f *FirewallPair, from, to *net.TCPConn, hook, what string) func(*testing.T) {
	t.Helper()
	var o *Offer
	var line string
	host, heard := d.from, d.heardByClient
	if from == d.Client {
		host, heard = f.Server, d.heardByServer
		m := d.active()
		at, addr, opener := d.listensAt(m)
		o = &Offer{Opener: opener, listener: f.listen(t, at, addr)}
		go o.serve()
		line = string(m) + " " + argument(m, addrOf(o.listener.Addr()))
	} else {
		o = d.asks(t, f)
		line = d.answer(o)
	}
	local, peer := addrOf(to.LocalAddr()).Port(), addrOf(to.RemoteAddr()).Port()
	if hook == "input" {
		local, peer = peer, local
	}
	l := host.lose(t, "lost"+strconv.Itoa(int(addrOf(d.Client.LocalAddr()).Port())), hook, fmt.Sprintf("tcp sport %d tcp dport %d", local, peer))
	say(t, from, line+"\r\n")
	l.wait(t, what)
	return func(t *testing.T) {
		if hook == "output" {
			time.Sleep(300 * time.Millisecond) // the retransmission comes by way of the other machine
		}
		l.end(t)
		got, err := hear(to, heard)
		if err == nil {
			o.To, err = d.announcedAs(got)
		}
		if err != nil {
			t.Fatalf("received %q: %v", got, err)
		}
		if from == d.Client {
			d.Reply("200 ok")
		}
		announced(f, o)(t)
	}
}

// synInFlight begins a data connection whose first SYN passes the firewall and is
// lost behind it.
func synInFlight(t *testing.T, f *FirewallPair, o *Offer, at *Host) func(*testing.T) {
	t.Helper()
	port := addrOf(o.listener.Addr()).Port()
	l := at.lose(t, fmt.Sprintf("syn%d", port), "input", fmt.Sprintf("tcp dport %d", port))
	done := make(chan error, 1)
	go func() {
		// TCP repeats a SYN after longer and longer times, 67 s after the first one at most.
		c, err := o.Connect(o.Opener, 4*openTimeout)
		if err == nil {
			c.Close()
		}
		done <- err
	}()
	l.wait(t, "SYN")
	return func(t *testing.T) {
		l.end(t)
		if err := <-done; err != nil {
			t.Errorf("data connection whose SYN was repeated: %v", err)
		}
		if !f.split {
			o.MustRefuse(t, o.Opener, "a second time")
		}
	}
}

// transferring keeps bytes flowing over data connections, and checks that none is
// lost.
func transferring(t *testing.T, f *FirewallPair, d *Dialogue, m Mode) func(*testing.T) {
	t.Helper()
	o := d.Announce(m)
	c := o.MustOpen(t)
	d.Reply("150 here it comes")
	type sent struct {
		sum uint32
		n   int64
		err error
	}
	stop, done := make(chan struct{}), make(chan sent, 1)
	go func() {
		var s sent
		rng, b := rand.NewChaCha8([32]byte{1}), make([]byte, 8<<10)
		for tick := time.NewTicker(5 * time.Millisecond); s.err == nil; {
			select {
			case <-stop:
				tick.Stop()
				s.err = c.CloseWrite()
				done <- s
				return
			case <-tick.C:
			}
			rng.Read(b)
			c.SetWriteDeadline(time.Now().Add(openTimeout))
			_, s.err = c.Write(b)
			s.sum, s.n = crc32.Update(s.sum, crc32.IEEETable, b), s.n+int64(len(b))
		}
		done <- s
	}()
	return func(t *testing.T) {
		_, before, _ := o.got.state()
		if err := waitFor(openTimeout, "more bytes", func() bool { _, n, _ := o.got.state(); return n > before }); err != nil {
			t.Error(err)
		}
		close(stop)
		s := <-done
		c.SetReadDeadline(time.Now().Add(openTimeout))
		if _, err := io.Copy(io.Discard, c); err != nil || s.err != nil { // the other end has received everything
			t.Errorf("%s data connection: %v, %v", m, s.err, err)
		}
		sum, n, gap := o.got.state()
		if sum != s.sum || n != s.n {
			t.Errorf("%s data connection: %d bytes sent, %d received, or the contents differ", m, s.n, n)
		}
		f.pauses.add(gap)
		d.Reply("226 done")
	}
}

// listen opens a listener for a data connection.
func (f *FirewallPair) listen(t *testing.T, h *Host, addr netip.Addr) *net.TCPListener {
	t.Helper()
	ln, err := h.Listen(netip.AddrPortFrom(addr, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}
