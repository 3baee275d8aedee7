// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// dataEnds are the two ends of a data connection.
type dataEnds struct{ client, server *net.TCPConn }

// ends returns who sends in a transfer, and who receives.
func (e dataEnds) ends(upload bool) (sender, receiver *net.TCPConn) {
	if upload {
		return e.client, e.server
	}
	return e.server, e.client
}

// dataEnds makes one end listen and announce, and returns a function that
// connects the other one.
func (d *Dialogue) dataEnds(m Mode) func() dataEnds {
	d.t.Helper()
	host, addr, opener := d.listensAt(m)
	ln, err := host.Listen(netip.AddrPortFrom(addr, 0))
	if err != nil {
		d.t.Fatal(err)
	}
	to, err := d.announce(m, addrOf(ln.Addr()))
	if err != nil {
		d.t.Fatal(err)
	}
	return func() dataEnds {
		d.t.Helper()
		defer ln.Close()
		c, err := opener.Dial(netip.AddrPort{}, to, openTimeout)
		if err != nil {
			d.t.Fatal(err)
		}
		ln.SetDeadline(time.Now().Add(openTimeout))
		accepted, err := ln.AcceptTCP()
		if err != nil {
			d.t.Fatal(err)
		}
		d.t.Cleanup(func() { c.Close(); accepted.Close() })
		if m.Active() {
			return dataEnds{client: accepted, server: c}
		}
		return dataEnds{client: c, server: accepted}
	}
}

// carries sends text from one end, and returns an error unless the other one
// reads it in time.
func carries(from, to *net.TCPConn, text string, within time.Duration) error {
	if _, err := io.WriteString(from, text); err != nil {
		return err
	}
	return arrives(to, text, within)
}

func arrives(to *net.TCPConn, text string, within time.Duration) error {
	got := make([]byte, len(text))
	to.SetReadDeadline(time.Now().Add(within))
	n, err := io.ReadFull(to, got)
	if err == nil && string(got) != text {
		return fmt.Errorf("%q", got[:n])
	}
	return err
}

// isReset returns an error unless a reset ended the connection.
func isReset(c *net.TCPConn) error {
	c.SetReadDeadline(time.Now().Add(openTimeout))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("not reset: %v", err)
	}
	return nil
}

// transferWay begins a transfer on a session, with its command before or after
// the data connection.
func (d *Dialogue) transferWay(m Mode, verb string, first bool) dataEnds {
	d.t.Helper()
	connect := d.dataEnds(m)
	if first {
		d.Command(verb + " file")
		return connect()
	}
	e := connect()
	d.Command(verb + " file")
	return e
}

// done ends a transfer.
func (d *Dialogue) done(e dataEnds) {
	d.Reply("150 go")
	d.Reply("226 done")
	e.client.Close()
	e.server.Close()
}

// wrongWays is how many data connections all daemons ended for the wrong
// direction.
func (s *Site) wrongWays(t *testing.T) (n float64) {
	t.Helper()
	for _, d := range s.Daemons {
		status, err := d.Status()
		if err != nil {
			t.Fatal(err)
		}
		more, _ := status["decisions"].(Object)["wrong-way"].(float64)
		n += more
	}
	return n
}

// checkDirections: downloads and listings carry data down, uploads up; data in
// the other direction ends the data connection at both ends. If brief, it tries
// only some of this.
func (s *Site) checkDirections(t *testing.T, d *Dialogue, m Mode, brief bool) {
	t.Helper()
	orders, verbs := []bool{true, false}, map[string]bool{"RETR": false, "STOR": true, "NLST": false, "APPE": true}
	if brief { // in the order that most clients and servers use
		orders, verbs = []bool{m.Active()}, map[string]bool{"RETR": false, "STOR": true}
	}
	for _, first := range orders {
		for verb, upload := range verbs {
			name := fmt.Sprintf("%s %s, command first: %t", m, verb, first)
			e := d.transferWay(m, verb, first)
			sender, receiver := e.ends(upload)
			for range 3 {
				if err := carries(sender, receiver, "some bytes", openTimeout); err != nil {
					t.Fatalf("%s: right direction: %v", name, err)
				}
			}
			if verb == "NLST" || verb == "APPE" { // ends normally
				sender.CloseWrite()
				if n, err := receiver.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("%s: at the end %d bytes, %v", name, n, err)
				}
				receiver.CloseWrite()
				if n, err := sender.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("%s: at the end of the other side %d bytes, %v", name, n, err)
				}
				d.done(e)
				continue
			}
			before := s.wrongWays(t)
			if _, err := io.WriteString(receiver, "a secret"); err != nil {
				t.Fatal(err)
			}
			if err := isReset(receiver); err != nil {
				t.Errorf("%s: sender in the wrong direction: %v", name, err)
			}
			err := waitFor(startTimeout, "the end of the other side", func() bool {
				sender.SetWriteDeadline(time.Now().Add(time.Second))
				_, err := io.WriteString(sender, "more")
				return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
			})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := arrives(sender, "a secret", time.Second); err == nil {
				t.Errorf("%s: the data arrived", name)
			}
			if err := waitFor(startTimeout, "the report", func() bool { return s.wrongWays(t) > before }); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			d.done(e)
		}
	}
}

// checkUndecided: before the command nothing passes in either direction; what was
// sent in the right direction arrives after it.
func (d *Dialogue) checkUndecided(t *testing.T, m Mode) {
	t.Helper()
	for verb, upload := range map[string]bool{"LIST": false, "STOU": true} {
		e := d.dataEnds(m)()
		sender, receiver := e.ends(upload)
		if err := carries(sender, receiver, "early", refusedTimeout); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s before %s: %v", m, verb, err)
		}
		d.Command(verb)
		if err := arrives(receiver, "early", openTimeout); err != nil {
			t.Errorf("%s after %s: %v", m, verb, err)
		}
		d.done(e)
		// What was sent in the wrong direction ends the data connection.
		e = d.dataEnds(m)()
		_, receiver = e.ends(upload)
		if _, err := io.WriteString(receiver, "early"); err != nil {
			t.Fatal(err)
		}
		d.Command(verb)
		if err := isReset(receiver); err != nil {
			t.Errorf("%s, wrong direction, after %s: %v", m, verb, err)
		}
		d.done(e)
	}
	// A failed transfer leaves the data connection to the next one.
	e := d.dataEnds(m)()
	d.Command("RETR nothing")
	d.Reply("550 no such file")
	d.Command("STOR something")
	if err := carries(e.client, e.server, "up", openTimeout); err != nil {
		t.Errorf("%s: STOR after a RETR that failed: %v", m, err)
	}
	d.done(e)
}

// TestDataDirection tests --data-direction strict in every position.
func TestDataDirection(t *testing.T) {
	needDaemon(t)
	for _, p := range Positions {
		for _, s := range subjects(t) {
			t.Run(p.Name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, p, AllowRelated, s, "--data-direction", "strict")
				brief := p.Name != "both-nat" && p.Name != "routed"
				for _, f := range p.families() {
					d := site.Talk(t, site.ListenControl(t, f), site.ClientHost(), f)
					for _, m := range f.Modes() {
						site.checkDirections(t, d, m, brief)
					}
					if !brief {
						d.checkUndecided(t, f.Modes()[0])
						d.checkUndecided(t, f.Modes()[1])
					}
				}
			})
		}
	}
}

// TestDataDirectionAllow: it works with every way of accepting data connections,
// and touches no mark; sessions of another policy are not affected.
func TestDataDirectionAllow(t *testing.T) {
	needDaemon(t)
	for _, a := range []Allow{AllowMark, AllowChain} {
		for _, s := range subjects(t) {
			t.Run(string(a)+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				file := filepath.Join(t.TempDir(), "p.yaml")
				text := "policies:\n  - {client: 192.0.2.255, data-direction: any}\n  - {families: [ipv4, ipv6], server: [0.0.0.0/0], data-direction: strict}\n"
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				site := NewSite(t, position("both-nat"), a, s, "--config", file)
				if a == AllowChain { // its output chain accepts established packets only, and a reset is related
					site.Firewalls[0].LoadRules(t, "add rule inet filter output tcp flags & rst == rst accept")
				}
				d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
				for _, m := range IPv4.Modes() {
					site.checkDirections(t, d, m, true)
				}
				e := d.transferWay(PASV, "RETR", true)
				out, err := site.Firewalls[0].Run(10*time.Second, Cmd("conntrack", "-L", "-p", "tcp", "--dport", fmt.Sprint(addrOf(e.client.RemoteAddr()).Port())))
				want := "mark=0 "
				if a == AllowMark {
					want = fmt.Sprintf("mark=%d ", 0x04000000)
				}
				if err != nil || !strings.Contains(out, want) {
					t.Errorf("want %q: %v\n%s", want, err, out)
				}
				// Over IPv6 no policy matches.
				six := site.Talk(t, site.ListenControl(t, IPv6), site.Client, IPv6)
				for _, m := range IPv6.Modes() {
					e := six.transferWay(m, "RETR", true)
					if err := carries(e.client, e.server, "up", openTimeout); err != nil {
						t.Errorf("%s, no policy: %v", m, err)
					}
				}
			})
		}
	}
}

// TestDataDirectionRestart: a decision survives the daemon's crash. After a stop,
// which removes the rules, running data connections continue unjudged.
func TestDataDirectionRestart(t *testing.T) {
	for _, m := range []Mode{PASV, PORT} {
		t.Run(string(m), func(t *testing.T) {
			eachRestart(t, AllowRelated, func(t *testing.T, s *Site) {
				const flag, value = "--data-direction", "strict"
				crash := s.ending == syscall.SIGKILL
				s.ending = syscall.SIGTERM
				s.restart(t, flag, value)
				if crash {
					s.ending = syscall.SIGKILL
				}
				ln := s.ListenControl(t, IPv4)
				flows := s.Talk(t, ln, s.Client, IPv4)
				early := s.Talk(t, ln, s.Client, IPv4)
				asked := s.Talk(t, ln, s.Client, IPv4)
				flowing := flows.transferWay(m, "STOR", true)
				if err := carries(flowing.client, flowing.server, "up", openTimeout); err != nil {
					t.Fatal(err)
				}
				opened := early.dataEnds(m)()
				connect := asked.dataEnds(m)
				asked.Command("STOR file")
				s.restart(t, flag, value)

				later := connect()
				early.Exchange() // the daemon knows where a line starts
				early.Command("STOR file")
				for what, e := range map[string]dataEnds{"flowing": flowing, "opened": opened, "announced": later} {
					if err := carries(e.client, e.server, "up", openTimeout); err != nil {
						t.Errorf("%s, right direction: %v", what, err)
					}
					if !crash && what != "announced" {
						continue
					}
					if _, err := io.WriteString(e.server, "down"); err != nil {
						t.Fatal(err)
					}
					if err := isReset(e.server); err != nil {
						t.Errorf("%s, wrong direction: %v", what, err)
					}
				}
			})
		})
	}
}

// TestDataDirectionHeal: decisions are restored together with our rules.
func TestDataDirectionHeal(t *testing.T) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSite(t, position("both-nat"), AllowRelated, s, "--data-direction", "strict")
			d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
			flowing := d.transferWay(PASV, "RETR", false)
			site.Firewalls[0].LoadRules(t, site.reload())
			if err := waitFor(startTimeout, "our rules", func() bool { return site.Daemons[0].heals() > 0 }); err != nil {
				t.Fatal(err)
			}
			if err := carries(flowing.server, flowing.client, "down", openTimeout); err != nil {
				t.Errorf("right direction: %v", err)
			}
			if _, err := io.WriteString(flowing.client, "up"); err != nil {
				t.Fatal(err)
			}
			if err := isReset(flowing.client); err != nil {
				t.Errorf("wrong direction: %v", err)
			}
		})
	}
}

// TestDataDirectionReload: a reload decides for sessions that begin after it, to
// strict or back, and a faulty file changes nothing.
func TestDataDirectionReload(t *testing.T) {
	needDaemon(t)
	for _, s := range subjects(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			site := NewSiteOnly(t, position("masquerade"), AllowRelated, s)
			head := "strategy: " + s.Strategy + "\n"
			r := site.startWithFile(t, head)
			ln := site.ListenControl(t, IPv4)
			ends := func(d *Dialogue, m Mode) bool {
				t.Helper()
				e := d.transferWay(m, "RETR", m.Active())
				defer d.done(e)
				err := carries(e.client, e.server, "up", 2*time.Second)
				if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
				return err != nil
			}
			before := site.Talk(t, ln, site.Client, IPv4)
			r.reload(t, head+"policies: [{data-direction: sometimes}]\n", "want any or strict")
			if ends(site.Talk(t, ln, site.Client, IPv4), PASV) {
				t.Error("a faulty file took effect")
			}
			r.reload(t, head+"policies: [{client: 10.7.0.0/24, data-direction: strict}]\n", reloaded)
			strict := site.Talk(t, ln, site.Client, IPv4)
			for _, m := range []Mode{PASV, PORT} {
				if !ends(strict, m) || ends(before, m) {
					t.Errorf("%s: a session that began before a reload, or one after it, is judged wrongly", m)
				}
			}
			r.reload(t, head, reloaded)
			if ends(site.Talk(t, ln, site.Client, IPv4), PORT) || !ends(strict, PASV) {
				t.Error("after another reload a session is judged wrongly")
			}
		})
	}
}
