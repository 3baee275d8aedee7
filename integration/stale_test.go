// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// staleSpeaker is the end that sends first after conntrack lost the connection.
type staleSpeaker string

const (
	clientSpeaks staleSpeaker = "client"
	serverSpeaks staleSpeaker = "server"
)

// staleCases are the expected fates of a control connection whose entry was
// flushed.
var staleCases = []struct {
	position string
	speaker  staleSpeaker
	survives bool
}{
	{"routed", clientSpeaks, true},
	{"routed", serverSpeaks, true},
	{"masquerade", clientSpeaks, true},
	{"masquerade", serverSpeaks, false},
	{"snat", clientSpeaks, true},
	{"snat", serverSpeaks, false},
	{"dnat", clientSpeaks, true},
	{"dnat", serverSpeaks, false},
	{"both-nat", clientSpeaks, true},
	{"both-nat", serverSpeaks, false},
	{"server-on-firewall", clientSpeaks, true},
	{"server-on-firewall", serverSpeaks, true},
	{"client-on-firewall", clientSpeaks, true},
	{"client-on-firewall", serverSpeaks, true},
}

// resetTimeout is how long an end may wait for its reset: until its first
// retransmission, on a busy machine.
const resetTimeout = 10 * time.Second

// TestStale flushes conntrack under sessions, and makes one end of each send. The
// session continues, with transfers, or that end is reset.
func TestStale(t *testing.T) {
	needDaemon(t)
	for _, c := range staleCases {
		for _, s := range subjects(t) {
			t.Run(c.position+"/"+string(c.speaker)+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(c.position), AllowRelated, s)
				for _, f := range site.Position.families() {
					site.Case(Case{Family: f, Kind: "stale"}).Count(t)
					d := site.Talk(t, site.ListenControl(t, f), site.ClientHost(), f)
					site.flush(t, d)
					if c.survives {
						d.goesOn(t, c.speaker)
					} else {
						d.isReset(t, c.speaker)
					}
				}
			})
		}
	}
}

// TestStaleAdjusted: the sequence adjustment is lost with the entry, and so is
// the session, whichever end sends.
func TestStaleAdjusted(t *testing.T) {
	needDaemon(t)
	for _, speaker := range []staleSpeaker{clientSpeaks, serverSpeaks} {
		for _, s := range subjects(t) {
			t.Run(string(speaker)+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position("masquerade"), AllowRelated, s)
				d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
				d.Announce(PORT).MustOpen(t) // 10.7.0.2 becomes 203.0.113.171
				site.flush(t, d)
				d.isReset(t, speaker)
			})
		}
	}
}

// TestStaleOpaque: an encrypted session that continues with a new entry is left
// alone as before.
func TestStaleOpaque(t *testing.T) {
	needDaemon(t)
	for _, speaker := range []staleSpeaker{clientSpeaks, serverSpeaks} {
		for _, s := range subjects(t) {
			t.Run(string(speaker)+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position("routed"), AllowRelated, s)
				d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
				d.encrypt(t)
				site.flush(t, d)
				if speaker == serverSpeaks {
					d.Reply("\x17\x03\x03 not for you")
				}
				d.Command("\x17\x03\x03 neither")
				d.Reply("\x17\x03\x03 never")
				out, err := site.Firewalls[0].Run(10*time.Second, Cmd("nft", "list", "set", "inet", "pasvport", "aside"))
				if err != nil || !strings.Contains(out, `comment "encrypted"`) {
					t.Errorf("left alone: %v %s, want the session", err, out)
				}
			})
		}
	}
}

// TestStaleUnknown: the session is lost while no daemon runs, so the new one
// knows nothing of it.
func TestStaleUnknown(t *testing.T) {
	needDaemon(t)
	for _, c := range []struct {
		position string
		speaker  staleSpeaker
		survives bool
	}{
		{"routed", clientSpeaks, true},
		{"routed", serverSpeaks, false}, // the ruleset refuses a new connection from port 21
		{"masquerade", clientSpeaks, true},
		{"masquerade", serverSpeaks, false},
		{"dnat", clientSpeaks, true},
		{"dnat", serverSpeaks, false},
	} {
		t.Run(c.position+"/"+string(c.speaker), func(t *testing.T) {
			t.Parallel()
			site := NewSiteOnly(t, position(c.position), AllowRelated, Auto)
			d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
			site.flush(t, d)
			site.StartSubject(t)
			if c.survives {
				d.goesOn(t, c.speaker)
			} else {
				d.isReset(t, c.speaker)
			}
		})
	}
}

// TestStaleStrictTracker: with nf_conntrack_tcp_loose=0 conntrack picks up
// nothing midstream, and no session survives.
func TestStaleStrictTracker(t *testing.T) {
	needDaemon(t)
	for _, p := range []string{"routed", "masquerade", "server-on-firewall", "client-on-firewall"} {
		for _, speaker := range []staleSpeaker{clientSpeaks, serverSpeaks} {
			t.Run(p+"/"+string(speaker), func(t *testing.T) {
				t.Parallel()
				site := NewSiteOnly(t, position(p), AllowRelated, Auto)
				fw := site.Firewalls[0]
				if err := fw.Sysctl("net/netfilter/nf_conntrack_tcp_loose", "0"); err != nil {
					t.Fatal(err)
				}
				// The reset of a connection without an entry has no entry either.
				fw.LoadRules(t, `insert rule inet filter output tcp flags & rst == rst accept`)
				site.StartSubject(t)
				for _, f := range site.Position.families() {
					d := site.Talk(t, site.ListenControl(t, f), site.ClientHost(), f)
					site.flush(t, d)
					d.isReset(t, speaker)
				}
			})
		}
	}
}

// TestStaleOff: with --reset-stale off there is silence, as without pasvport.
func TestStaleOff(t *testing.T) {
	needDaemon(t)
	site := NewSite(t, position("masquerade"), AllowRelated, Auto, "--reset-stale", "off")
	d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
	site.flush(t, d)
	if _, err := io.WriteString(d.Server, "421 too long idle\r\n"); err != nil {
		t.Fatal(err)
	}
	d.Server.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := d.Server.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("the server got %v, want silence", err)
	}
}

// TestStaleSparesLiving: to conntrack a segment outside the window is as invalid
// as one without a connection, but its sender must not be reset.
func TestStaleSparesLiving(t *testing.T) {
	needDaemon(t)
	for _, p := range []string{"routed", "masquerade"} {
		t.Run(p, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position(p), AllowRelated, Auto)
			d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
			if err := d.sendOutOfWindow(); err != nil {
				t.Fatal(err)
			}
			if err := waitFor(startTimeout, "invalid packet queued", func() bool {
				out, _ := site.Firewalls[0].Run(10*time.Second, Cmd("nft", "list", "chain", "inet", "pasvport", "unplaced"))
				return regexp.MustCompile(`counter packets [1-9]`).MatchString(out)
			}); err != nil {
				t.Fatal(err)
			}
			d.goesOn(t, clientSpeaks)
		})
	}
}

// flush empties conntrack on the firewalls once the dialogue is silent, and waits
// until the daemon has noticed. A late acknowledgement would create a new entry.
func (s *Site) flush(t *testing.T, d *Dialogue) {
	t.Helper()
	s.silent(t, d)
	for _, fw := range s.Firewalls {
		if out, err := fw.Run(10*time.Second, Cmd("conntrack", "-F")); err != nil {
			t.Fatalf("conntrack -F: %v: %s", err, out)
		}
	}
	for _, d := range s.Daemons {
		if err := waitFor(startTimeout, "end of the sessions", func() bool {
			list, err := d.Sessions()
			return err == nil && len(list) == 0
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// silent waits until all that was said is acknowledged, and no copy of it waits in a
// queue: a segment that a busy machine is late with is sent again.
func (s *Site) silent(t *testing.T, talks ...*Dialogue) {
	t.Helper()
	for _, d := range talks {
		for _, c := range []*net.TCPConn{d.Client, d.Server} {
			if err := waitFor(startTimeout, "acknowledgement", func() bool { return unacknowledged(t, c) == 0 }); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, fw := range s.Firewalls {
		if err := waitFor(startTimeout, "empty queues", func() bool { return fw.queued() == 0 }); err != nil {
			t.Fatal(err)
		}
	}
}

// goesOn makes one end send, and then does a whole transfer.
func (d *Dialogue) goesOn(t *testing.T, speaker staleSpeaker) {
	t.Helper()
	if speaker == serverSpeaks {
		d.Reply("200 still here")
	}
	for range 2 {
		d.Command("NOOP")
		d.Reply("200 noop")
	}
	for _, m := range d.family.Modes() {
		d.Announce(m).MustOpen(t)
		d.Reply("226 transfer complete")
	}
}

// isReset makes one end send, and expects it to be reset.
func (d *Dialogue) isReset(t *testing.T, speaker staleSpeaker) {
	t.Helper()
	c, line := d.Client, "NOOP\r\n"
	if speaker == serverSpeaks {
		c, line = d.Server, "421 too long idle\r\n"
	}
	began := time.Now()
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	expectReset(t, c, resetTimeout)
	t.Logf("%s was reset after %v", speaker, time.Since(began).Round(time.Millisecond))
}

// expectReset waits until an end has received a reset.
func expectReset(t *testing.T, c net.Conn, timeout time.Duration) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(timeout))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Fatalf("%s got %v, want a reset", c.LocalAddr(), err)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// unacknowledged is how many segments of an end are in flight.
func unacknowledged(t *testing.T, c *net.TCPConn) uint32 {
	t.Helper()
	info, err := tcpInfo(c)
	if err != nil {
		t.Fatal(err)
	}
	return info.Unacked
}

// tcpInfo is what the kernel knows of a connection's end.
func tcpInfo(c *net.TCPConn) (*unix.TCPInfo, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var info *unix.TCPInfo
	var infoErr error
	err = raw.Control(func(fd uintptr) { info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return info, errors.Join(err, infoErr)
}
