// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestPairPortsAgain has a client use the ports of ended connections again, when
// conntrackd has entered these at the other machine: the kernel there does not know that
// both ends have closed, and takes what begins for more of the same. Or what conntrackd
// enters has begun before, and it mixes the two up.
func TestPairPortsAgain(t *testing.T) {
	needDaemon(t)
	ends := []struct {
		name string
		end  func(d *Dialogue) error
	}{
		{"closed", (*Dialogue).closedByServer},
		{"reset", func(d *Dialogue) error { return reset(d.Client) }},
	}
	for _, c := range []struct {
		position Position
		subject  Subject
		allow    Allow
		conf     PairConf
	}{
		{pairNAT, Expectation, AllowRelated, PairConf{}},
		{pairNAT, Claim, AllowChain, PairConf{NoExternalCache: true}},
		{position("routed"), Expectation, AllowRelated, PairConf{NoTrack: true}},
	} {
		t.Run(fmt.Sprintf("%s/%s/%s/%s", c.position.Name, c.subject.Name, c.allow, c.conf), func(t *testing.T) {
			t.Parallel()
			f := NewPair(t, c.position, c.allow, c.subject, c.conf)
			ln := f.ListenControl(t, IPv4)
			talk := func(i int) *Dialogue { return f.talkFrom(t, ln, uint16(31000+i)) }
			listen := map[Mode]*portsAgain{}
			use := func(d *Dialogue, m Mode) error {
				to := d.AnnounceText(m, addrOf(listen[m].ln.Addr()))
				defer d.Reply("226 done")
				return oneByte(listen[m].ln, listen[m].opener, listen[m].from, to)
			}
			for i, e := range ends {
				d := talk(i)
				for _, m := range []Mode{PORT, PASV} {
					if listen[m] == nil {
						listen[m] = new(portsAgain)
						listen[m].ln, listen[m].opener, listen[m].from = d.keepsPort(t, m)
					}
					if i == 0 {
						if err := use(d, m); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := e.end(d); err != nil {
					t.Fatal(err)
				}
			}
			// conntrackd has these with the adjustments of those before.
			again := func(i int) *Dialogue {
				d := talk(i)
				for _, m := range []Mode{PORT, PASV} {
					d.Announce(m).MustOpen(t)
				}
				if err := d.closedByServer(); err != nil {
					t.Fatal(err)
				}
				return talk(i)
			}
			begun, encrypted := again(len(ends)), again(len(ends)+1)
			encrypted.Command("AUTH TLS")
			encrypted.Reply("234 go ahead")
			f.waitSynced(t, 1)
			f.Move(t, 0)
			f.Site.Case(Case{Kind: "pair, ports again", State: "before"}).Count(t)
			begun.Exchange()
			encrypted.Exchange()
			for _, m := range []Mode{PORT, PASV} {
				begun.Announce(m).MustOpen(t)
			}
			for i, e := range ends {
				f.Site.Case(Case{Kind: "pair, ports again", State: e.name}).Count(t)
				d := talk(i)
				for _, m := range []Mode{PORT, PASV} {
					if i > 0 {
						d.Announce(m).MustOpen(t)
					} else if err := use(d, m); err != nil {
						t.Errorf("%s data connection between the same ports as before: %v", m, err)
					}
				}
			}
			f.NothingOpen(t)
		})
	}
}

// TestPairEndUnknown has a client use the port of a connection again of which the other
// machine does not know that it has ended, before it takes over: conntrackd did not carry
// its end, or neither that nor the daemon.
func TestPairEndUnknown(t *testing.T) {
	needDaemon(t)
	for _, c := range []struct {
		position Position
		subject  Subject
		conf     PairConf
		cut      string
	}{
		{pairNAT, Expectation, PairConf{}, "udp dport 3780"},
		{pairNAT, Expectation, PairConf{}, "th dport { 2121, 3780 }"},
		{position("routed"), Claim, PairConf{NoExternalCache: true}, "udp dport 3780"},
		{position("routed"), Claim, PairConf{NoExternalCache: true}, "th dport { 2121, 3780 }"},
	} {
		t.Run(fmt.Sprintf("%s/%s/%s/%s", c.position.Name, c.subject.Name, c.conf, c.cut), func(t *testing.T) {
			t.Parallel()
			f := NewPair(t, c.position, AllowRelated, c.subject, c.conf)
			f.Site.Case(Case{Kind: "pair, end unknown"}).Count(t)
			ln := f.ListenControl(t, IPv4)
			d := f.talkFrom(t, ln, 31000)
			for _, m := range []Mode{PORT, PASV} {
				d.Announce(m).MustOpen(t).Close()
			}
			f.waitCarried(t, 1, d)
			f.Cut(t, c.cut)
			if err := d.closedByServer(); err != nil {
				t.Fatal(err)
			}
			f.Crash(t, 0)
			d = f.talkFrom(t, ln, 31000)
			for _, m := range []Mode{PORT, PASV} {
				d.Announce(m).MustOpen(t)
			}
			d.Server.Close()
			d.Client.Close()
			f.NothingOpen(t)
		})
	}
}

// talkFrom is a session of a client that uses this port.
func (f *FirewallPair) talkFrom(t *testing.T, ln *net.TCPListener, port uint16) *Dialogue {
	t.Helper()
	d := f.Site.connect(t, ln, f.Client, IPv4, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	d.Reply("220 ready")
	d.login()
	return d
}

// closedByServer closes a session in such an order that the client's port can be used
// again at once: who closes first waits (RFC 9293 section 3.6.1).
func (d *Dialogue) closedByServer() error {
	d.Server.Close()
	_ = d.Client.SetReadDeadline(time.Now().Add(lineTimeout))
	_, err := io.Copy(io.Discard, d.Client)
	return errors.Join(err, d.Client.Close())
}

// portsAgain are the ports that data connections of a mode have.
type portsAgain struct {
	ln     *net.TCPListener
	opener *Host
	from   netip.AddrPort
}
