// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// shortTimeout is conntrack's timeout for silent established connections.
	shortTimeout = "5"
	// longTransfer is several times as long.
	longTransfer = 20 * time.Second
	// awayTimeout is the same where the daemon is away for a while: a third of it may
	// be over when that stops, and a start on a busy machine takes some seconds.
	awayTimeout  = "12"
	awayTransfer = 30 * time.Second
)

// shortTimeouts are the ways in which an administrator shortens conntrack's
// timeout for silent connections.
var shortTimeouts = map[string]func(*testing.T, *Host){
	"sysctl": func(t *testing.T, fw *Host) {
		t.Helper()
		if err := fw.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_established", shortTimeout); err != nil {
			t.Fatal(err)
		}
	},
	"policy": func(t *testing.T, fw *Host) {
		t.Helper()
		const text = `table inet short {
	ct timeout short4 {
		protocol tcp
		l3proto ip
		policy = { established: %[1]s }
	}
	ct timeout short6 {
		protocol tcp
		l3proto ip6
		policy = { established: %[1]s }
	}
	chain pre {
		type filter hook prerouting priority -175; policy accept;
		tcp dport 21 meta nfproto ipv4 ct timeout set "short4"
		tcp dport 21 meta nfproto ipv6 ct timeout set "short6"
	}
}
`
		out, err := fw.Run(10*time.Second, Command{Args: []string{"nft", "-f", "-"}, Stdin: fmt.Sprintf(text, shortTimeout)})
		if err != nil {
			t.Skipf("kernel without ct timeout objects (CONFIG_NF_CONNTRACK_TIMEOUT): %s", out)
		}
	},
}

// longSession is a session with a data connection that is busy for long.
type longSession struct {
	*Dialogue
	mode Mode
	data *net.TCPConn
}

// TestControlOutlivesTransfer: while data flows conntrack does not forget the
// control connection, however short its timeout, and the session continues
// afterwards. A session without data is forgotten.
func TestControlOutlivesTransfer(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	for _, c := range []struct{ position, timeout string }{
		{"routed", "sysctl"}, {"routed", "policy"}, {"masquerade", "sysctl"}, {"dnat", "sysctl"},
	} {
		for _, s := range subjects(t) {
			t.Run(c.position+"/"+c.timeout+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSiteOnly(t, position(c.position), AllowRelated, s)
				shortTimeouts[c.timeout](t, site.Firewalls[0])
				site.StartSubject(t)
				site.testLongTransfer(t, longTransfer, nil)
			})
		}
	}
}

// TestControlOutlivesRestart does the same with a daemon that stops or crashes in
// the middle, and is started again.
func TestControlOutlivesRestart(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	ends := map[string]func(*Daemon) error{
		"stop":  func(d *Daemon) error { _, err := d.Stop(syscall.SIGTERM); return err },
		"crash": (*Daemon).Crash,
	}
	for name, end := range ends {
		for _, p := range []string{"routed", "masquerade"} {
			for _, s := range subjects(t) {
				t.Run(name+"/"+p+"/"+s.Name, func(t *testing.T) {
					t.Parallel()
					site := NewSiteOnly(t, position(p), AllowRelated, s)
					if err := site.Firewalls[0].Sysctl("net/netfilter/nf_conntrack_tcp_timeout_established", awayTimeout); err != nil {
						t.Fatal(err)
					}
					site.StartSubject(t)
					site.testLongTransfer(t, awayTransfer, func() {
						if err := end(site.Daemons[0]); err != nil {
							t.Fatal(err)
						}
						site.StartSubject(t)
					})
				})
			}
		}
	}
}

// testLongTransfer keeps data connections of each mode and family busy for a time. It
// calls middle, unless nil, on the way.
func (s *Site) testLongTransfer(t *testing.T, long time.Duration, middle func()) {
	t.Helper()
	var sessions []longSession
	var idle []*Dialogue
	for f, modes := range map[Family][]Mode{IPv4: {PASV, PORT}, IPv6: {EPSV, EPRT}} {
		ln := s.ListenControl(t, f)
		for _, m := range modes {
			d := s.Talk(t, ln, s.Client, f)
			d.silence(t)
			s.Case(Case{Mode: m, Family: f, Kind: "long transfer"}).Count(t)
			sessions = append(sessions, longSession{d, m, d.Announce(m).MustOpen(t)})
		}
		d := s.Talk(t, ln, s.Client, f)
		d.silence(t)
		idle = append(idle, d)
	}
	began := time.Now()
	s.trickle(t, sessions, long*2/5)
	if middle != nil {
		middle()
	}
	s.trickle(t, sessions, long-time.Since(began))
	for _, d := range idle {
		if entry := s.entry(t, d); entry != "" {
			t.Errorf("conntrack still has a session without data: %s", entry)
		}
	}
	for _, l := range sessions {
		l.goesOn(t)
	}
}

// trickle sends a little over each data connection, for a time.
func (s *Site) trickle(t *testing.T, sessions []longSession, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		for _, l := range sessions {
			if _, err := l.data.Write(make([]byte, 1000)); err != nil {
				t.Fatalf("%s data: %v", l.mode, err)
			}
		}
	}
}

// goesOn ends the transfer and does a second one on the same session.
func (l longSession) goesOn(t *testing.T) {
	t.Helper()
	if l.site.entry(t, l.Dialogue) == "" {
		t.Errorf("%s: conntrack has lost the control connection", l.mode)
	}
	l.data.Close()
	l.Reply("226 transfer complete")
	l.Command("NOOP")
	l.Reply("200 noop")
	l.Announce(l.mode).MustOpen(t)
	l.Reply("226 transfer complete")
}

// entry is the first firewall's conntrack entry of the dialogue's control
// connection; empty if it is not established. An expired entry may be listed
// until it is collected, but no packet finds it.
func (s *Site) entry(t *testing.T, d *Dialogue) string {
	t.Helper()
	family := map[Family]string{IPv4: "ipv4", IPv6: "ipv6"}[d.family]
	client := addrOf(d.Client.LocalAddr())
	out, err := s.Firewalls[0].Run(10*time.Second, Cmd("conntrack", "-L", "-f", family, "-p", "tcp",
		"--orig-src", client.Addr().String(), "--orig-port-src", fmt.Sprint(client.Port()), "--orig-port-dst", "21"))
	if err != nil {
		t.Fatalf("conntrack: %v: %s", err, out)
	}
	if !strings.Contains(out, "ESTABLISHED") || strings.Contains(out, " 0 ESTABLISHED") {
		return ""
	}
	return out
}
