// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// eachTCP runs a test where every announcement must be changed.
func eachTCP(t *testing.T, kind string, f func(*testing.T, *Site, *net.TCPListener)) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("both-nat"), AllowRelated, s)
			site.Case(Case{Family: IPv4, Kind: kind}).Count(t)
			f(t, site, site.ListenControl(t, IPv4))
		})
	}
}

// TestUrgentData: an ABOR as clients send it, in the segment of an announcement
// that grows. The urgent mark must stay at its byte.
func TestUrgentData(t *testing.T) {
	eachTCP(t, "urgent data", func(t *testing.T, site *Site, ln *net.TCPListener) {
		d := site.Talk(t, ln, site.Client, IPv4)
		host, addr, opener := d.listensAt(PORT)
		data := site.listen(t, host, addr)
		if err := control(d.Server, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) }); err != nil {
			t.Fatal(err)
		}
		line := "PORT " + argument(PORT, addrOf(data.Addr()))
		text := line + "\r\n\xff\xf4\xff\xf2" // IAC IP IAC DM
		if err := control(d.Client, func(fd int) error { return unix.Sendto(fd, []byte(text), unix.MSG_OOB, nil) }); err != nil {
			t.Fatal(err)
		}
		io.WriteString(d.Client, "ABOR\r\n")
		got := d.readToMark(t)
		heard, rest, _ := strings.Cut(got, "\r\n")
		if rest != "\xff\xf4\xff" || heard == line {
			t.Errorf("received before the mark: %q", got)
		}
		if err := d.readAll("\xf2ABOR\r\n"); err != nil {
			t.Error(err)
		}
		o := &Offer{Opener: opener, listener: data}
		go o.serve()
		var err error
		if o.To, err = parseCommand(heard); err != nil {
			t.Fatal(err)
		}
		d.Reply("200 ok")
		o.MustOpen(t)
	})
}

func control(c *net.TCPConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// readToMark reads what the server receives up to the urgent mark, where a read
// always ends.
func (d *Dialogue) readToMark(t *testing.T) string {
	t.Helper()
	var got []byte
	for {
		mark := 0
		err := control(d.Server, func(fd int) (err error) { mark, err = unix.IoctlGetInt(fd, unix.SIOCATMARK); return err })
		if err != nil {
			t.Fatal(err)
		}
		if mark != 0 {
			return string(got)
		}
		buf := make([]byte, 512)
		d.Server.SetReadDeadline(time.Now().Add(lineTimeout))
		n, err := d.Server.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			t.Fatalf("no mark after %q: %v", got, err)
		}
	}
}

// readAll reads what the server receives next.
func (d *Dialogue) readAll(want string) error {
	got := make([]byte, len(want))
	d.Server.SetReadDeadline(time.Now().Add(lineTimeout))
	if n, err := io.ReadFull(d.Server, got); err != nil || string(got) != want {
		return fmt.Errorf("received after the mark: %q, %w", got[:n], err)
	}
	return nil
}

// TestZeroWindow: one end does not read, until the other one may send nothing
// more and the announcement has to wait; first the client, then the server.
func TestZeroWindow(t *testing.T) {
	eachTCP(t, "zero window", func(t *testing.T, site *Site, ln *net.TCPListener) {
		for _, m := range []Mode{PASV, PORT} {
			d := site.Talk(t, ln, site.Client, IPv4)
			d.Command("STAT")
			from, to, heard := d.Client, d.Server, d.heardByServer
			filler, announce := "NOOP "+strings.Repeat("x", 3000)+"\r\n", "PORT "
			if m == PASV {
				d.Command("PASV")
				from, to, heard = d.Server, d.Client, d.heardByClient
				filler, announce = "211-"+strings.Repeat("x", 90)+"\r\n", "227 "
			}
			host, addr, opener := d.listensAt(m)
			data := site.listen(t, host, addr)
			to.SetReadBuffer(4096)
			fillers, rest := fillWindow(from, filler)
			if m == PASV {
				rest += "211 end\r\n"
			}
			go io.WriteString(from, rest+announce+argument(PORT, addrOf(data.Addr()))+"\r\n")
			time.Sleep(time.Second) // time for some window probes
			got := ""
			for n := 0; !strings.HasPrefix(got, announce); n++ {
				to.SetReadDeadline(time.Now().Add(openTimeout))
				var err error
				if got, err = heard.ReadString('\n'); err != nil {
					t.Fatalf("%s: after %d of %d lines: %v", m, n, fillers, err)
				}
				if n < fillers && got != filler {
					t.Fatalf("%s: line %d became %q", m, n, got)
				}
			}
			o := &Offer{Opener: opener, listener: data}
			go o.serve()
			var err error
			if o.To, err = parseCommand("PORT " + numbers(got)); err != nil {
				t.Fatal(err)
			}
			o.MustOpen(t)
		}
	})
}

// fillWindow writes the line until the socket accepts no more, and returns how
// many complete lines it wrote and the rest of the last one.
func fillWindow(c *net.TCPConn, line string) (n int, rest string) {
	c.SetWriteBuffer(4096)
	defer c.SetWriteDeadline(time.Time{})
	for rest = line; ; n, rest = n+1, line {
		c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		m, err := io.WriteString(c, rest)
		if err == nil {
			continue
		}
		if m == 0 {
			return n, ""
		}
		return n + 1, rest[m:]
	}
}

// TestFullSegment: an announcement grows at the end of a segment of every size up
// to the largest.
func TestFullSegment(t *testing.T) {
	eachTCP(t, "full segment", func(t *testing.T, site *Site, ln *net.TCPListener) {
		d := site.Talk(t, ln, site.Client2, IPv4)
		own := netip.AddrPortFrom(site.ServerAddr(IPv4), 40000)
		largest := 0
		if err := control(d.Server, func(fd int) (err error) {
			largest, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for size := largest - 4; size <= largest+1; size++ {
			d.Command("PASV")
			last := "227 " + argument(PORT, own)
			first := "227-" + strings.Repeat("x", size-len(last)-len("227-\r\n\r\n"))
			if got := d.Reply(first + "\r\n" + last); got != first {
				t.Fatalf("%d bytes: %q became %q", size, first, got)
			}
			got, err := d.heardByClient.ReadString('\n')
			if err != nil || len(got) <= len(last)+2 {
				t.Fatalf("%d bytes: %q became %q, %v", size, last, got, err)
			}
		}
		d.Announce(PASV).MustOpen(t)
	})
}

// TestEarlyConnection: a server connects before it answers PORT, and then refuses
// it: the existing connection stays.
func TestEarlyConnection(t *testing.T) {
	eachTCP(t, "early connection", func(t *testing.T, site *Site, ln *net.TCPListener) {
		d := site.Talk(t, ln, site.Client, IPv4)
		for _, reply := range []string{"200 ok", "500 no"} {
			host, addr, opener := d.listensAt(PORT)
			o := &Offer{Opener: opener, listener: site.listen(t, host, addr)}
			go o.serve()
			var err error
			if o.To, err = parseCommand(d.Command("PORT " + argument(PORT, addrOf(o.listener.Addr())))); err != nil {
				t.Fatal(err)
			}
			c := o.MustOpen(t)
			d.Reply(reply)
			o.MustRefuse(t, opener, "a second time")
			c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the data connection ended: %v", reply, err)
			}
		}
	})
}
