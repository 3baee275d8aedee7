// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// pairState is what a session is in the middle of when the firewall changes.
// begin brings it there, and returns what must hold when another machine has it.
type pairState struct {
	name  string
	begin func(t *testing.T, f *FirewallPair, d *Dialogue) (then func(*testing.T))
}

var pairStates = []pairState{
	{"idle", func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return func(*testing.T) {}
	}},
	{"rewritten before", func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		for _, m := range []Mode{d.passive(), d.active()} {
			c := d.Announce(m).MustOpen(t)
			c.Close()
		}
		d.Reply("226 done")
		return func(*testing.T) { d.Exchange() }
	}},
	{"announced passive", func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return announced(f, d.Announce(d.passive()))
	}},
	{"announced active", func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return announced(f, d.Announce(d.active()))
	}},
	{"asked", func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		host, addr, opener := d.listensAt(EPSV)
		ln := f.listen(t, host, addr)
		d.Command("EPSV")
		return func(t *testing.T) {
			o := &Offer{Opener: opener, listener: ln}
			go o.serve()
			var err error
			line := d.Reply(fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", addrOf(ln.Addr()).Port()))
			if o.To, err = parseExtended(line, addrOf(d.Client.RemoteAddr()).Addr()); err != nil {
				t.Fatal(err)
			}
			o.MustOpen(t)
		}
	}},
	{"half a line", func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		if _, err := io.WriteString(d.Client, "NO"); err != nil {
			t.Fatal(err)
		}
		return func(t *testing.T) {
			d.Command("OP") // completes it
			d.Reply("200 ok")
		}
	}},
	{"transfer passive", func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return transferring(t, d, d.passive())
	}},
	{"transfer active", func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
		return transferring(t, d, d.active())
	}},
	{"ended", func(t *testing.T, f *FirewallPair, d *Dialogue) func(*testing.T) {
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

// announced is open for one connection, and only for who it is for.
func announced(f *FirewallPair, o *Offer) func(*testing.T) {
	return func(t *testing.T) {
		other := f.Client2
		if o.Opener == f.Server {
			other = f.Third
		}
		o.MustRefuse(t, other, "another one")
		o.MustOpen(t)
		o.MustRefuse(t, o.Opener, "a second time")
	}
}

// transferring has bytes go over a data connection before and after.
func transferring(t *testing.T, d *Dialogue, m Mode) func(*testing.T) {
	c := d.Announce(m).MustOpen(t)
	d.Reply("150 here it comes")
	send := func() error {
		c.SetWriteDeadline(time.Now().Add(openTimeout))
		for range 16 {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) {
		if err := send(); err != nil {
			t.Errorf("%s data connection: %v", m, err)
		}
		c.CloseWrite()
		c.SetReadDeadline(time.Now().Add(openTimeout))
		if _, err := io.Copy(io.Discard, c); err != nil { // the other end has all of it
			t.Errorf("%s data connection: %v", m, err)
		}
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

// pairFailover is a way in which another machine comes to have the sessions.
type pairFailover struct {
	name string
	do   func(t *testing.T, f *FirewallPair)
}

var pairFailovers = []pairFailover{
	{"crash", func(t *testing.T, f *FirewallPair) { f.Crash(t, 0) }},
	{"move", func(t *testing.T, f *FirewallPair) { f.Move(t, 0) }},
	{"there and back", func(t *testing.T, f *FirewallPair) {
		f.Move(t, 0)
		f.Back(t)
	}},
	{"daemons restarted", func(t *testing.T, f *FirewallPair) {
		for _, i := range []int{0, 1} { // the one that has the sessions, then the other one
			m := f.Machines[i]
			if err := m.daemon.Crash(); err != nil {
				t.Fatal(err)
			}
			f.startDaemon(t, m)
			f.waitJoined(t)
		}
		f.Crash(t, 0)
	}},
}

// TestPair: what the sessions are in the middle of goes on when another machine
// has the addresses, and nothing is open that was not announced. All states are
// tried at once, with sessions of their own.
//
// PASVPORT_PAIR=all tries every position, strategy and way to change.
func TestPair(t *testing.T) {
	needDaemon(t)
	all := os.Getenv("PASVPORT_PAIR") == "all"
	for _, c := range []struct {
		position Position
		family   Family
		subject  Subject
		allow    Allow
		conf     PairConf
		failover string
	}{
		{position("routed"), IPv4, Expectation, AllowRelated, PairConf{}, "crash"},
		{pairNAT, IPv4, Expectation, AllowRelated, PairConf{}, "crash"},
		{pairNAT, IPv4, Expectation, AllowRelated, PairConf{}, "there and back"},
		{pairNAT, IPv4, Claim, AllowChain, PairConf{}, "move"},
		{position("nat66"), IPv6, Expectation, AllowMark, PairConf{}, "crash"},
		{pairNAT, IPv4, Expectation, AllowRelated, PairConf{NoExternalCache: true}, "crash"},
	} {
		for _, way := range pairFailovers {
			if way.name != c.failover && !all {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s/%s/%s/%s", c.position.Name, c.subject.Name, c.allow, c.conf, strings.ReplaceAll(way.name, " ", "-")), func(t *testing.T) {
				pairCase(t, c.position, c.family, c.subject, c.allow, c.conf, way)
			})
		}
	}
}

func pairCase(t *testing.T, p Position, family Family, subject Subject, allow Allow, conf PairConf, way pairFailover, flags ...string) {
	f := NewPair(t, p, allow, subject, conf, flags...)
	ln := f.ListenControl(t, family)
	type session struct {
		state pairState
		talk  *Dialogue
		then  func(*testing.T)
	}
	var sessions []session
	for _, st := range pairStates {
		d := f.Talk(t, ln, f.Client, family)
		sessions = append(sessions, session{st, d, st.begin(t, f, d)})
	}
	for _, s := range sessions {
		if s.state.name != "ended" {
			f.waitCarried(t, 1, s.talk)
		}
	}
	begun := time.Now()
	way.do(t, f)
	for _, s := range sessions {
		f.Site.Case(Case{Kind: "pair"}).Count(t)
		t.Run(strings.ReplaceAll(s.state.name, " ", "-"), func(t *testing.T) {
			s.talk.t = t
			s.then(t)
			if s.state.name == "ended" {
				return
			}
			s.talk.Exchange()
			s.talk.Announce(s.talk.passive()).MustOpen(t)
			s.talk.Announce(s.talk.active()).MustOpen(t)
		})
	}
	t.Logf("all %d sessions spoke within %v of the begin of the change", len(sessions), time.Since(begun))
}
