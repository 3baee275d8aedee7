// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
)

// limited runs a test in a position where every announcement must be changed.
func limited(t *testing.T, kind string, f func(*testing.T, *Site, *net.TCPListener), flags ...string) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("masquerade"), AllowChain, s, flags...)
			site.Case(Case{Family: IPv4, Kind: "limit: " + kind}).Count(t)
			f(t, site, site.ListenControl(t, IPv4))
		})
	}
}

// mustBeUnread checks that the client's announcement arrives unchanged, and opens
// nothing.
func (d *Dialogue) mustBeUnread(t *testing.T) {
	t.Helper()
	host, addr, opener := d.listensAt(PORT)
	ln := d.site.listen(t, host, addr)
	line := "PORT " + argument(PORT, addrOf(ln.Addr()))
	if got := d.Command(line); got != line {
		t.Errorf("%q became %q", line, got)
	}
	d.Reply("200 ok")
	o := &Offer{Opener: opener, listener: ln, To: netip.AddrPortFrom(addrOf(d.Server.RemoteAddr()).Addr(), addrOf(ln.Addr()).Port())}
	go o.serve()
	o.MustRefuse(t, opener, "of an unread session")
}

// refusedFor checks that the next announcement is refused for that reason.
func (d *Dialogue) refusedFor(t *testing.T, reason string) {
	t.Helper()
	before := d.site.decisions(t)[reason]
	d.mustBeUnread(t)
	if n := d.site.decisions(t)[reason]; n != before+1 {
		t.Errorf("%v announcements were refused for %s, want one more than %v", n, reason, before)
	}
}

// decisions are the daemon's counters by reason.
func (s *Site) decisions(t *testing.T) map[string]float64 {
	t.Helper()
	status, err := s.Daemons[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for reason, n := range status["decisions"].(Object) {
		counts[reason] = n.(float64)
	}
	return counts
}

// TestSessionLimits: control connections above the limits pass unread for good;
// one that ends makes room for another.
func TestSessionLimits(t *testing.T) {
	limited(t, "sessions", func(t *testing.T, site *Site, ln *net.TCPListener) {
		first := site.Talk(t, ln, site.Client, IPv4)
		second := site.Talk(t, ln, site.Client, IPv4)
		site.Talk(t, ln, site.Client, IPv4).mustBeUnread(t)
		second.Announce(PORT).MustOpen(t)
		site.Talk(t, ln, site.Client2, IPv4).Announce(PORT).MustOpen(t)
		site.Talk(t, ln, site.Client2, IPv4).mustBeUnread(t)
		first.Announce(PASV).MustOpen(t)
		if n := site.decisions(t); n["too-many-sessions-of-client"] != 1 || n["too-many-sessions"] != 1 {
			t.Errorf("decisions: %v", n)
		}
		turnedAway := regexp.MustCompile(`msg="control connection not read" .*client=10\.7\.0\.2:.* reason=too-many-sessions-of-client .*hint=`)
		if err := waitFor(lineTimeout, "line about the unread session", func() bool { return turnedAway.MatchString(site.Daemons[0].Output()) }); err != nil {
			t.Errorf("%v in\n%s", err, site.Daemons[0].Output())
		}
		second.end(t)
		again := func() bool {
			d := site.Talk(t, ln, site.Client, IPv4)
			defer d.end(t)
			line := "PORT " + argument(PORT, netip.AddrPortFrom(d.clientAddr(), 40000))
			return d.Command(line) != line
		}
		if err := waitFor(startTimeout, "room for a session", again); err != nil {
			t.Error(err)
		}
	}, "--max-sessions", "3", "--max-client-sessions", "2")
}

// end closes both ends, the client first.
func (d *Dialogue) end(t *testing.T) {
	t.Helper()
	d.Client.Close()
	d.Server.SetReadDeadline(time.Now().Add(lineTimeout))
	if _, err := d.heardByServer.ReadByte(); err != io.EOF {
		t.Errorf("the server did not see the end: %v", err)
	}
	d.Server.Close()
}

// TestSessionLimitClosed: with --fail closed a control connection above the limit
// waits until there is room, and is then a session like any other.
func TestSessionLimitClosed(t *testing.T) {
	limited(t, "sessions, fail closed", func(t *testing.T, site *Site, ln *net.TCPListener) {
		first := site.Talk(t, ln, site.Client, IPv4)
		waited := make(chan *Dialogue)
		go func() {
			for site.decisions(t)["too-many-sessions"] == 0 {
				time.Sleep(10 * time.Millisecond)
			}
			first.end(t)
			close(waited)
		}()
		second := site.Talk(t, ln, site.Client, IPv4)
		<-waited
		second.Announce(PORT).MustOpen(t)
	}, "--max-sessions", "1", "--fail", "closed")
}

// TestPinholeLimits: announcements above the limits are refused with their
// reasons. A pinhole that is used or replaced makes room.
func TestPinholeLimits(t *testing.T) {
	limited(t, "pinholes", func(t *testing.T, site *Site, ln *net.TCPListener) {
		var d []*Dialogue
		for _, h := range []*Host{site.Client, site.Client, site.Client, site.Client2, site.Client2} {
			d = append(d, site.Talk(t, ln, h, IPv4))
		}
		d[0].Announce(PORT)
		unused := d[1].Announce(PASV)
		d[2].refusedFor(t, "too-many-pinholes-of-client")
		d[3].Announce(PASV)
		d[4].refusedFor(t, "too-many-pinholes")
		d[0].Announce(PORT).MustOpen(t)
		d[4].Announce(PORT).MustOpen(t)
		unused.MustOpen(t)
		d[2].Announce(PORT).MustOpen(t)
	}, "--max-pinholes", "3", "--max-client-pinholes", "2")
}

// TestLogLimit: a session that announces thousands of ports and uses none writes
// no more log lines than its limit, and the log says how many were left out.
// Lines of another session are still written.
func TestLogLimit(t *testing.T) {
	const offers = 3000
	limited(t, "lines of the log", func(t *testing.T, site *Site, ln *net.TCPListener) {
		d, other := site.Talk(t, ln, site.Client, IPv4), site.Talk(t, ln, site.Client2, IPv4)
		for i := range offers {
			d.AnnounceText(PORT, netip.AddrPortFrom(d.clientAddr(), uint16(20000+i)))
		}
		took := time.Since(site.Daemons[0].ready(t))
		out := site.Daemons[0].Output()
		lines := strings.Count(out, "\n")
		if most := 600 * (1 + int(took/(10*time.Second)) + 1); lines > most {
			t.Errorf("%d offers wrote %d lines in %v, want at most %d", offers, lines, took, most)
		}
		other.Announce(PORT).MustOpen(t)
		used := regexp.MustCompile(`msg="pinhole used" .*client=192\.168\.178\.202`)
		if err := waitFor(openTimeout, "the other's line", func() bool { return used.MatchString(site.Daemons[0].Output()) }); err != nil {
			t.Error(err)
		}
		// It is said by the session's next line, if the limit's next window begins soon enough.
		left := regexp.MustCompile(`(?m)msg="pinhole .* more=\d+$|msg="lines were left out of the log" lines=\d`)
		if err := waitFor(openTimeout, "number of lines left out", func() bool { return left.MatchString(site.Daemons[0].Output()) }); err != nil {
			t.Error(err)
		}
	})
}

// ready is the time at which the daemon was ready.
func (d *Daemon) ready(t *testing.T) time.Time {
	t.Helper()
	status, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339Nano, status["started"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestOfferLimit: a session announces too often in a minute.
func TestOfferLimit(t *testing.T) {
	limited(t, "offers", func(t *testing.T, site *Site, ln *net.TCPListener) {
		d := site.Talk(t, ln, site.Client, IPv4)
		for _, m := range []Mode{PORT, PASV, PORT} {
			d.Announce(m).MustOpen(t)
		}
		d.refusedFor(t, "too-many-offers")
		site.Talk(t, ln, site.Client, IPv4).Announce(PORT).MustOpen(t)
	}, "--max-offers", "3")
}

// TestLineLimits: built-in limits on what one connection may ask for. Above them
// lines pass unchanged and open nothing, and the session continues.
func TestLineLimits(t *testing.T) {
	limited(t, "lines", func(t *testing.T, site *Site, ln *net.TCPListener) {
		d := site.Talk(t, ln, site.Client, IPv4)
		long := "PORT " + strings.Repeat(" ", 5000) + argument(PORT, netip.AddrPortFrom(d.clientAddr(), 40000))
		if got := d.Command(long); got != long {
			t.Errorf("a line of %d bytes was changed", len(long))
		}
		d.Reply("500 no")
		// More commands than may wait for a reply, then the offer.
		for i := range 70 {
			d.Command(fmt.Sprint("NOOP ", i))
		}
		d.refusedFor(t, "too-many-lines")
		for range 70 {
			d.Reply("200 ok")
		}
		d.Announce(PORT).MustOpen(t)
		// Thousands of malformed announcements in one segment.
		d = site.Talk(t, ln, site.Client, IPv4)
		io.WriteString(d.Client, strings.Repeat("PORT\r\n", 5000))
		d.Server.SetReadDeadline(time.Now().Add(30 * time.Second))
		for range 5000 {
			if line, err := d.heardByServer.ReadString('\n'); line != "PORT\r\n" {
				t.Fatalf("%q, %v", line, err)
			}
		}
		if n := strings.Count(site.Daemons[0].Output(), "msg=\"offer refused\""); n > 250 {
			t.Errorf("%d lines in the log", n)
		}
	})
}

// TestSessionFlood: hundreds of connections of one client, each with one unused
// announcement and half of another, stay within the limits; the daemon does not
// grow, and others are served.
func TestSessionFlood(t *testing.T) {
	const flood, most = 400, 20
	limited(t, "flood of sessions", func(t *testing.T, site *Site, ln *net.TCPListener) {
		other := site.Talk(t, ln, site.Client2, IPv4)
		var before int
		for i := range flood {
			d := site.Talk(t, ln, site.Client, IPv4)
			port := netip.AddrPortFrom(d.clientAddr(), uint16(20000+i))
			d.Command("PORT " + argument(PORT, port))
			io.WriteString(d.Client, "PORT 10,7,"+strings.Repeat("0", 200))
			if i == 2*most {
				before = site.Daemons[0].memory(t)
			}
		}
		if grown := site.Daemons[0].memory(t) - before; grown > 4<<10 {
			t.Errorf("the daemon has grown by %d kB in %d sessions", grown, flood-2*most)
		}
		status, err := site.Daemons[0].Status()
		if err != nil {
			t.Fatal(err)
		}
		if n := status["sessions"]; n != float64(most+1) {
			t.Errorf("%v sessions, want %d", n, most+1)
		}
		if n := status["pinholes_open"].(float64); n > most/2 {
			t.Errorf("%v pinholes, want at most %d", n, most/2)
		}
		other.Announce(PORT).MustOpen(t)
		other.Announce(PASV).MustOpen(t)
		lines := strings.Count(site.Daemons[0].Output(), "control connection not read")
		if lines == 0 || lines > 60 {
			t.Errorf("%d lines in the log for %d sessions", lines, flood-most)
		}
	}, "--max-client-sessions", fmt.Sprint(most), "--max-client-pinholes", fmt.Sprint(most/2))
}
