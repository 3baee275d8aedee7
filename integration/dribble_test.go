// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// dribbles are the pauses between the bytes of a line: longer than half a line is
// held, about as long as TCP's timeout, and longer.
var dribbles = []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond}

// TestDribble: an announcement that has to be changed arrives byte by byte, as
// from someone at a keyboard or from a server that prints each character.
func TestDribble(t *testing.T) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("both-nat"), AllowRelated, s)
			ln := site.ListenControl(t, IPv4)
			for _, m := range []Mode{PORT, EPRT, PASV} {
				for _, pause := range dribbles {
					for _, delay := range []bool{false, true} {
						d := site.Talk(t, ln, site.Client, IPv4)
						d.Client.SetNoDelay(!delay)
						d.Server.SetNoDelay(!delay)
						t.Run(fmt.Sprintf("%s/%v/nagle=%t", m, pause, delay), func(t *testing.T) {
							t.Parallel()
							site.Case(Case{Mode: m, Family: IPv4, Kind: "dribble"}).Count(t)
							d.t = t
							began := time.Now()
							o := d.dribble(t, m, pause)
							t.Logf("%v", time.Since(began))
							o.MustOpen(t)
						})
					}
				}
			}
		})
	}
}

// TestDribbleUntranslated: the same where no address is translated, so that the
// kernel adjusts no sequence number, but the announced address has to be
// replaced.
func TestDribbleUntranslated(t *testing.T) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("routed"), AllowRelated, s, "--repair", "all")
			ln := site.ListenControl(t, IPv4)
			for _, m := range []Mode{PORT, EPRT, PASV} {
				d := site.Talk(t, ln, site.Client, IPv4)
				t.Run(string(m), func(t *testing.T) {
					t.Parallel()
					site.Case(Case{Mode: m, Family: IPv4, Kind: "dribble, repaired"}).Count(t)
					d.t = t
					d.dribbleAs(t, m, dribbles[0], netip.MustParseAddr("172.16.200.200")).MustOpen(t)
					d.Reply("226 done")
					d.Announce(PORT).MustOpen(t) // and numbers are right from then on
				})
			}
		})
	}
}

func (d *Dialogue) dribble(t *testing.T, m Mode, pause time.Duration) *Offer {
	t.Helper()
	return d.dribbleAs(t, m, pause, netip.Addr{})
}

// dribbleAs announces an address other than its own, if it is valid.
func (d *Dialogue) dribbleAs(t *testing.T, m Mode, pause time.Duration, as netip.Addr) *Offer {
	t.Helper()
	host, addr, opener := d.listensAt(m)
	ln := d.site.listen(t, host, addr)
	o := &Offer{Opener: opener, listener: ln}
	go o.serve()
	told := addrOf(ln.Addr())
	if as.IsValid() {
		told = netip.AddrPortFrom(as, told.Port())
	}
	from, to, heard := d.Client, d.Server, d.heardByServer
	line := string(m) + " " + argument(m, told)
	if m == PASV {
		d.Command("PASV")
		from, to, heard = d.Server, d.Client, d.heardByClient
		line = "227 Entering Passive Mode (" + argument(PORT, told) + ")."
	}
	go dribble(from, line+"\r\n", pause)
	to.SetReadDeadline(time.Now().Add(60 * time.Second))
	got, err := heard.ReadString('\n')
	if err != nil {
		t.Fatalf("%q became %q: %v", line, got, err)
	}
	t.Logf("%q became %q", line, got)
	if m == PASV {
		got = "PORT " + numbers(got)
	}
	if o.To, err = parseCommand(trimLine(got)); err != nil {
		t.Fatal(err)
	}
	return o
}

func trimLine(s string) string {
	for len(s) > 0 && (s[len(s)-1] == '\n' || s[len(s)-1] == '\r') {
		s = s[:len(s)-1]
	}
	return s
}

// dribble sends a text byte by byte.
func dribble(c *net.TCPConn, text string, pause time.Duration) {
	for _, b := range []byte(text) {
		if _, err := io.WriteString(c, string(b)); err != nil {
			return
		}
		time.Sleep(pause)
	}
}
