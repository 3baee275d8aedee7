// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// slipstreams are what a web page, a mail or a name can make a program of another
// protocol send to a control port. %s is the PORT or EPRT of the attacker's
// choice. Texts are cut into segments at \x00.
var slipstreams = []struct{ name, text string }{
	{"POST, a segment of its own", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\n" + filler + "\x00%s"},
	{"POST, a line and segment of its own", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\n" + filler + "\r\n\x00%s"},
	{"POST, body begins with it", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n\x00%s"},
	{"POST, body logs in first", "POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n\x00USER a\r\n\x00PASS b\r\n\x00%s"},
	{"PUT", "PUT /x HTTP/1.0\r\nContent-Length: 40\r\n\r\n\x00%s"},
	{"mail", "EHLO x\r\n\x00MAIL FROM:<a@b>\r\n\x00RCPT TO:<a@b>\r\n\x00DATA\r\n\x00%s"},
	{"chat", "NICK a\r\n\x00USER a 0 * a\r\n\x00%s"},
	{"mail reader", "a1 LOGIN a b\r\n\x00%s"},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\x00%s"},
}

const filler = "----------------------------------------------------------------"

// TestSlipstream: the attacker owns the server, which answers as an FTP server
// would, and tries the data connection after each segment that it received. The
// program's own host listens on the port.
func TestSlipstream(t *testing.T) {
	needDaemon(t)
	for _, p := range []string{"routed", "masquerade"} {
		for _, s := range subjects(t) {
			t.Run(p+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(p), AllowRelated, s)
				ln := site.ListenControl(t, IPv4)
				for _, m := range []Mode{PORT, EPRT} {
					for _, c := range slipstreams {
						t.Run(string(m)+"/"+c.name, func(t *testing.T) {
							site.Case(Case{Mode: m, Family: IPv4, Kind: "slipstream"}).Count(t)
							site.slip(t, ln, m, c.text)
						})
					}
				}
				// The attack itself works: a real session opens the same.
				site.Talk(t, ln, site.Client, IPv4).Announce(PORT).MustOpen(t)
			})
		}
	}
}

// slip sends the text from a client, to a server that answers 220, 331, 230, 200.
func (s *Site) slip(t *testing.T, ln *net.TCPListener, m Mode, text string) {
	t.Helper()
	victim := s.listen(t, s.Client, s.ClientAddr(IPv4))
	client, err := s.Client.Dial(netip.AddrPort{}, s.Dial(s.Client, IPv4, 0), lineTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	line := fmt.Sprintf("%s %s\r\n", m, argument(m, addrOf(victim.Addr())))
	replies := []string{"220 ready\r\n", "331 password\r\n", "230 welcome\r\n", "200 ok\r\n"}
	io.WriteString(server, replies[0])
	parts := strings.Split(fmt.Sprintf(text, line), "\x00")
	got := ""
	for i, part := range parts {
		got = sendAll(t, client, server, part)
		io.WriteString(server, replies[min(i+1, len(replies)-1)])
	}
	io.WriteString(server, replies[3])
	o := &Offer{Opener: s.Server, listener: victim, To: netip.AddrPortFrom(addrOf(server.RemoteAddr()).Addr(), addrOf(victim.Addr()).Port())}
	go o.serve()
	if !strings.HasSuffix(got, line) {
		t.Errorf("the line was changed: %q", got)
	}
	o.MustRefuse(t, s.Server, "as told")
	o.To = addrOf(victim.Addr())
	if !s.Position.Hidden {
		o.MustRefuse(t, s.Server, "as it is")
	}
}

// sendAll sends text as one segment and reads as much at the other end.
func sendAll(t *testing.T, from, to *net.TCPConn, text string) string {
	t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	to.SetReadDeadline(time.Now().Add(lineTimeout))
	if n, err := io.ReadFull(to, got); err != nil {
		t.Fatalf("%q arrived of %q: %v", got[:n], text, err)
	}
	return string(got)
}
