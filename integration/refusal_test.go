// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// refusals are the ways to misuse an announcement. None may lead to a connection,
// and the proper use of the announcement must still work.
var refusals = []struct {
	name string
	test func(*testing.T, *Dialogue, Mode)
	not  []Mode // modes in which this way does not exist
}{
	{"second connection", secondConnection, nil},
	{"third host", thirdHost, nil},
	{"replaced offer", replacedOffer, nil},
	{"refused by the server", refusedOffer, []Mode{PASV, EPSV}},
	{"port of a service", lowPort, nil},
	{"address of a third host", foreignAddress, []Mode{EPSV}},
	{"FIN of the client", afterEnd(func(d *Dialogue) error { return d.Client.Close() }), nil},
	{"FIN of the server", afterEnd(func(d *Dialogue) error { return d.Server.Close() }), nil},
	{"reset of the client", afterEnd(func(d *Dialogue) error { return reset(d.Client) }), nil},
	{"reset of the server", afterEnd(func(d *Dialogue) error { return reset(d.Server) }), nil},
}

// TestRefusals tries each way in three positions, with each strategy and both
// families, where the ruleset accepts related connections and where it does not.
func TestRefusals(t *testing.T) {
	needDaemon(t)
	eachGuardedSite(t, nil, func(t *testing.T, site *Site) {
		for _, r := range refusals {
			site.eachMode(t, r.name, r.not, r.test)
		}
	})
}

// TestPinholeTimeout: an unused pinhole expires.
func TestPinholeTimeout(t *testing.T) {
	needDaemon(t)
	const timeout = 2 * time.Second
	test := func(t *testing.T, d *Dialogue, m Mode) {
		d.Announce(m).MustOpen(t)
		o := d.Announce(m)
		// The kernel counts expectations in whole seconds.
		time.Sleep(timeout + time.Second + 100*time.Millisecond)
		o.MustRefuse(t, o.Opener, "after the timeout")
		d.Announce(m).MustOpen(t)
	}
	eachGuardedSite(t, []string{"--pinhole-timeout", timeout.String()}, func(t *testing.T, site *Site) {
		site.eachMode(t, "after the timeout", nil, test)
	})
}

// eachGuardedSite runs f in some positions with each strategy and two ways to
// allow.
func eachGuardedSite(t *testing.T, flags []string, f func(*testing.T, *Site)) {
	for _, name := range []string{"routed", "masquerade", "dnat"} {
		for _, s := range subjects(t) {
			for _, a := range []Allow{AllowRelated, AllowChain} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, s.Name, a), func(t *testing.T) {
					t.Parallel()
					f(t, NewSite(t, position(name), a, s, flags...))
				})
			}
		}
	}
}

// eachMode runs a test as a subtest for each family's own modes, all at once,
// each with a control connection of its own.
func (s *Site) eachMode(t *testing.T, kind string, not []Mode, test func(*testing.T, *Dialogue, Mode)) {
	for f, modes := range map[Family][]Mode{IPv4: {PORT, PASV}, IPv6: {EPRT, EPSV}} {
		ln := s.ListenControl(t, f)
		for _, m := range modes {
			if slices.Contains(not, m) {
				continue
			}
			// Control connections are made one after the other: they share a
			// listener, and Talk must accept its own.
			d := s.Talk(t, ln, s.ClientHost(), f)
			t.Run(fmt.Sprintf("%s/%s/%s", kind, f, m), func(t *testing.T) {
				t.Parallel()
				s.Case(Case{Mode: m, Family: f, Kind: "refused: " + kind}).Count(t)
				d.t = t
				test(t, d, m)
			})
		}
		ln.Close()
	}
}

// secondConnection: a pinhole is for one connection.
func secondConnection(t *testing.T, d *Dialogue, m Mode) {
	o := d.Announce(m)
	o.MustOpen(t)
	o.MustRefuse(t, o.Opener, "second connection")
	d.Announce(m).MustOpen(t)
}

// thirdHost: a pinhole is for the other end alone, and an attempt by another host
// does not use it up.
func thirdHost(t *testing.T, d *Dialogue, m Mode) {
	o := d.Announce(m)
	o.MustRefuse(t, d.site.Third, "host of the server's side")
	o.MustRefuse(t, d.site.Client2, "host of the client's side")
	o.MustOpen(t)
}

// replacedOffer: an announcement replaces the one before.
func replacedOffer(t *testing.T, d *Dialogue, m Mode) {
	first := d.Announce(m)
	second := d.Announce(m)
	first.MustRefuse(t, first.Opener, "replaced")
	second.MustOpen(t)
}

// refusedOffer: a server that refuses a PORT will not connect.
func refusedOffer(t *testing.T, d *Dialogue, m Mode) {
	o := d.Announce(m)
	o.MustOpen(t)
	ln, err := d.from.Listen(netip.AddrPortFrom(d.clientAddr(), 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	refused := &Offer{Opener: o.Opener, listener: ln}
	go refused.serve()
	if refused.To, err = parseCommand(d.Command(string(m) + " " + argument(m, addrOf(ln.Addr())))); err != nil {
		t.Fatal(err)
	}
	d.Reply("500 Illegal PORT command.")
	refused.MustRefuse(t, refused.Opener, "refused by the server")
	d.Announce(m).MustOpen(t)
}

// afterEnd: a second after the end of the control connection nothing that it
// announced is open.
func afterEnd(end func(*Dialogue) error) func(*testing.T, *Dialogue, Mode) {
	return func(t *testing.T, d *Dialogue, m Mode) {
		d.Announce(m).MustOpen(t)
		o := d.Announce(m)
		if err := end(d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		o.MustRefuse(t, o.Opener, "a second after the end")
	}
}

// reset closes a connection with RST.
func reset(c *net.TCPConn) error {
	if err := c.SetLinger(0); err != nil {
		return err
	}
	return c.Close()
}

// lowPort: the port of a service is never opened.
func lowPort(t *testing.T, d *Dialogue, m Mode) {
	host, addr, opener := d.listensAt(m)
	d.AnnounceListener(m, listenLow(t, host, addr), opener).MustRefuse(t, opener, "port of a service")
	d.Announce(m).MustOpen(t)
}

// foreignAddress: an address that is not the announcing end's is never opened.
// What happens to the text depends on the policy: if it is changed to the
// announcing end's address, that is not a third host any more.
func foreignAddress(t *testing.T, d *Dialogue, m Mode) {
	_, _, opener := d.listensAt(m)
	third, err := d.site.Third.Listen(netip.AddrPortFrom(thirdAddr[d.family], 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { third.Close() })
	o := &Offer{Opener: opener, listener: third}
	go o.serve()
	o.To = d.AnnounceText(m, addrOf(third.Addr()))
	if o.To.Addr() == thirdAddr[d.family] {
		o.MustRefuse(t, opener, "address of a third host")
	}
	d.Announce(m).MustOpen(t)
}

// listenLow listens on a free port under 1024 that is not a control port.
func listenLow(t *testing.T, h *Host, addr netip.Addr) *net.TCPListener {
	t.Helper()
	for port := uint16(600); port < 1024; port++ {
		if ln, err := h.Listen(netip.AddrPortFrom(addr, port)); err == nil {
			return ln
		}
	}
	t.Fatal("no free port under 1024")
	return nil
}

// TestPinholeKept: while a transfer command waits for its final reply its pinhole
// outlives its timeout, whoever dials; after the reply it does not.
func TestPinholeKept(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	const timeout = 2 * time.Second
	for _, a := range []Allow{AllowRelated, AllowChain} {
		for _, s := range subjects(t) {
			for _, m := range []Mode{PORT, PASV} {
				t.Run(fmt.Sprintf("%s/%s/%s", s.Name, a, m), func(t *testing.T) {
					t.Parallel()
					site := NewSite(t, position("masquerade"), a, s, "--pinhole-timeout", timeout.String())
					site.Case(Case{Mode: m, Family: IPv4, Kind: "pinhole kept"}).Count(t)
					d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
					o := d.Announce(m)
					d.Command("RETR slow")
					time.Sleep(3 * timeout)
					d.Reply("150 at last")
					o.MustOpen(t).Close()
					d.Reply("226 done")
					o = d.Announce(m)
					d.Command("RETR never")
					d.Reply("550 no such file")
					time.Sleep(2*timeout + time.Second)
					o.MustRefuse(t, o.Opener, "after the timeout")
				})
			}
		}
	}
}

// TestPinholeOfLostLines: a pinhole outlives its timeout while TCP retransmits
// what the opener has not received yet: a 227, or the reply to PORT that RETR
// waits for.
func TestPinholeOfLostLines(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	for _, s := range subjects(t) {
		for _, m := range []Mode{PORT, PASV} {
			t.Run(fmt.Sprintf("%s/%s", s.Name, m), func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position("both-nat"), AllowRelated, s, "--pinhole-timeout", "1s")
				site.Case(Case{Mode: m, Family: IPv4, Kind: "pinhole of lost lines"}).Count(t)
				d := site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4)
				site.Client.LoadRules(t, "table inet lossy { chain links { type filter hook input priority 0; tcp sport 21 drop; }; }")
				time.AfterFunc(4*time.Second, func() { site.Client.Run(10*time.Second, Cmd("nft", "delete", "table", "inet", "lossy")) })
				o := d.Announce(m) // returns when the client has the reply
				d.Command("RETR small")
				o.MustOpen(t)
			})
		}
	}
}
