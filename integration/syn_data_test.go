// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	bin "encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a server may read and the daemon may miss: the data of a SYN, and packets
// that the real end never accepts.

// dialWith opens a connection whose SYN carries the text (RFC 7413).
func (h *Host) dialWith(to netip.AddrPort, text string) (*net.TCPConn, error) {
	var conn *net.TCPConn
	err := h.Enter(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "syn")
		defer f.Close()
		sa := &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
		if err := unix.Sendto(fd, []byte(text), unix.MSG_FASTOPEN, sa); err != nil {
			return err
		}
		c, err := net.FileConn(f)
		if err == nil {
			conn = c.(*net.TCPConn)
		}
		return err
	})
	return conn, err
}

// withSYN begins a session whose client sends its first line in its SYN.
func (s *Site) withSYN(t *testing.T, ln *net.TCPListener, line string) *Dialogue {
	t.Helper()
	client, err := s.Client.dialWith(s.Dial(s.Client, IPv4, 0), line)
	if err != nil {
		t.Fatal(err)
	}
	ln.SetDeadline(time.Now().Add(lineTimeout))
	server, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return &Dialogue{t: t, site: s, from: s.Client, family: IPv4, Client: client, Server: server,
		heardByServer: bufio.NewReader(server), heardByClient: bufio.NewReader(client)}
}

// fastOpen makes both ends accept and send data in a SYN without a cookie.
func (s *Site) fastOpen(t *testing.T) {
	t.Helper()
	for _, h := range []*Host{s.Client, s.Server} {
		if err := h.Sysctl("net/ipv4/tcp_fastopen", fmt.Sprint(0x1|0x2|0x4|0x200|0x400)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSYNData: the daemon reads a first line in the data of the SYN. Otherwise a
// server that accepts such data would have it before the daemon, which then would
// not know where lines start.
func TestSYNData(t *testing.T) {
	needDaemon(t)
	for _, p := range []string{"routed", "both-nat"} {
		for _, s := range subjects(t) {
			t.Run(p+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSiteOnly(t, position(p), AllowRelated, s)
				site.fastOpen(t)
				site.StartSubject(t)
				ln := site.ListenControl(t, IPv4)
				d := site.withSYN(t, ln, "USER pvp\r\n")
				if got, err := hear(d.Server, d.heardByServer); err != nil || got != "USER pvp" {
					t.Fatalf("the server received %q, %v", got, err)
				}
				d.Reply("220 ready")
				d.Reply("331 password")
				d.Command("PASS secret")
				d.Reply("230 welcome")
				d.goesOn(t, clientSpeaks)
				site.droppedInBegin(t)
			})
		}
	}
}

// TestSYNDataDenied: a denied command in a SYN does not reach the server.
func TestSYNDataDenied(t *testing.T) {
	needDaemon(t)
	for _, fail := range []string{"open", "closed"} {
		t.Run(fail, func(t *testing.T) {
			t.Parallel()
			site := NewSiteOnly(t, position("routed"), AllowRelated, Auto)
			site.fastOpen(t)
			site.StartSubject(t, "--deny-command", "SITE", "--fail", fail)
			d := site.withSYN(t, site.ListenControl(t, IPv4), "SITE CHMOD 777 x\r\n")
			d.Reply("220 ready")
			if line, err := hear(d.Server, d.heardByServer); err != nil || strings.HasPrefix(line, "SITE") {
				t.Errorf("the server received %q, %v", line, err)
			}
			site.droppedInBegin(t)
		})
	}
}

// droppedInBegin fails the test if no SYN with data was dropped.
func (s *Site) droppedInBegin(t *testing.T) {
	t.Helper()
	out, err := s.Firewalls[0].Run(lineTimeout, Cmd("nft", "list", "chain", "inet", "pasvport", "begin"))
	if m := uplinkCounter.FindStringSubmatch(out); err != nil || m == nil || m[1] == "0" {
		t.Errorf("no SYN carried data: %v\n%s", err, out)
	}
}

// spoof sends a segment from one end's address to the other, from a third host
// that knows no sequence number.
func (s *Site) spoof(t *testing.T, from, to netip.AddrPort, flags byte, text string) {
	t.Helper()
	segment := make([]byte, 20, 20+len(text))
	bin.BigEndian.PutUint16(segment, from.Port())
	bin.BigEndian.PutUint16(segment[2:], to.Port())
	bin.BigEndian.PutUint32(segment[4:], 0x12345678)
	bin.BigEndian.PutUint32(segment[8:], 0x9abcdef0)
	segment[12], segment[13], segment[14] = 5<<4, flags, 0xff
	segment = append(segment, text...)
	bin.BigEndian.PutUint16(segment[16:], checksum4(from.Addr(), to.Addr(), segment))
	ip := make([]byte, 20, 20+len(segment))
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_TCP
	bin.BigEndian.PutUint16(ip[2:], uint16(20+len(segment)))
	copy(ip[12:], from.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	err := s.Third.Enter(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, append(ip, segment...), 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestBlindThirdHost: an attacker who knows addresses and ports but no sequence
// number ends no session and no transfer with a SYN and ACK, or a reset, that
// carries data.
func TestBlindThirdHost(t *testing.T) {
	needDaemon(t)
	for _, p := range []string{"routed", "both-nat"} {
		for _, s := range subjects(t) {
			t.Run(p+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(p), AllowRelated, s)
				for _, dev := range []string{"all", "out0", "out1"} {
					if err := site.Firewalls[0].Sysctl("net/ipv4/conf/"+dev+"/rp_filter", "0"); err != nil {
						t.Fatal(err)
					}
				}
				d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
				client, server := addrOf(d.Server.RemoteAddr()), addrOf(d.Server.LocalAddr())
				for i, flags := range []byte{0x12, 0x14, 0x04, 0x18, 0x10} { // SYN|ACK, RST|ACK, RST, PSH|ACK, ACK
					site.seen(t, func() { site.spoof(t, server, client, flags, "227 Entering Passive Mode (203,0,113,2,4,1).\r\n") })
					d.Command(fmt.Sprintf("NOOP %d", i))
					d.Reply("200 ok")
					for _, m := range []Mode{PASV, PORT} {
						d.Announce(m).MustOpen(t)
						d.Reply("226 done")
					}
				}
				if log := site.Daemons[0].Output(); strings.Contains(log, "connection reset") || strings.Contains(log, "left alone") {
					t.Errorf("the session was disturbed:\n%s", log)
				}
			})
		}
	}
}

// seen calls send, and waits until the firewall has seen the packet.
func (s *Site) seen(t *testing.T, send func()) {
	t.Helper()
	count := func() uint64 {
		dev, err := s.Firewalls[0].Links.LinkByName("out1")
		if err != nil {
			t.Fatal(err)
		}
		return dev.Attrs().Statistics.RxPackets
	}
	before := count()
	send()
	if err := waitFor(lineTimeout, "packet of the third host", func() bool { return count() != before }); err != nil {
		t.Fatal(err)
	}
}
