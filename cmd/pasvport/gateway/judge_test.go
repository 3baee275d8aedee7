// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// TestBrokenPeer: an attacker who has broken into the other firewall of a pair
// has its key. His records open here only what an FTP session may open.
func TestBrokenPeer(t *testing.T) {
	e := entryOf(1)
	clientAddr, serverAddr := e.Original.Src.Addr(), e.Reply.Src.Addr()
	passive := succession.Pinhole{Source: clientAddr, Public: netip.AddrPortFrom(e.Original.Dst.Addr(), 50000),
		Target: netip.AddrPortFrom(serverAddr, 50000), NAT: true, Left: time.Minute}
	active := succession.Pinhole{Active: true, Source: serverAddr, Public: netip.AddrPortFrom(e.Reply.Dst.Addr(), 50000),
		Target: netip.AddrPortFrom(clientAddr, 50000), NAT: true, Left: time.Minute}
	with := func(p succession.Pinhole, f func(*succession.Pinhole)) []succession.Pinhole {
		f(&p)
		return []succession.Pinhole{p}
	}
	for _, tt := range []struct {
		name  string
		holes []succession.Pinhole
		edit  func(*config.Config)
		entry func(*expect.Entry)
		open  int
	}{
		{name: "passive", holes: []succession.Pinhole{passive}, open: 1},
		{name: "active", holes: []succession.Pinhole{active}, open: 1},
		{name: "for a year", holes: with(passive, func(p *succession.Pinhole) { p.Left = 365 * 24 * time.Hour }), open: 1},
		{name: "many", holes: []succession.Pinhole{active, passive}, open: 1},
		{name: "to a third host", holes: with(passive, func(p *succession.Pinhole) { p.Target = ap("10.0.0.9:50000") })},
		{name: "from a third host", holes: with(passive, func(p *succession.Pinhole) { p.Source = netip.MustParseAddr("198.51.100.9") })},
		{name: "at another address", holes: with(passive, func(p *succession.Pinhole) { p.Public = ap("203.0.113.9:50000") })},
		{name: "to SSH", holes: with(passive, func(p *succession.Pinhole) { p.Target = netip.AddrPortFrom(serverAddr, 22) })},
		{name: "as SSH", holes: with(passive, func(p *succession.Pinhole) { p.Public = netip.AddrPortFrom(e.Original.Dst.Addr(), 22) })},
		{name: "the client's SSH", holes: with(active, func(p *succession.Pinhole) { p.Target = netip.AddrPortFrom(clientAddr, 22) })},
		{name: "untranslated", holes: with(passive, func(p *succession.Pinhole) { p.NAT = false })},
		{name: "its time is over", holes: with(passive, func(p *succession.Pinhole) { p.Left = -time.Second })},
		{name: "a mode that is not allowed", holes: []succession.Pinhole{active}, edit: func(c *config.Config) { c.Modes = config.Modes{Passive: true} }},
		{name: "what no command may ask for", holes: []succession.Pinhole{passive}, edit: func(c *config.Config) { c.DenyCommands = map[string]bool{"PASV": true, "EPSV": true} }},
		{name: "a port that is not allowed", holes: []succession.Pinhole{passive}, edit: func(c *config.Config) { c.MinDataPort = 60000 }},
		{name: "what is only monitored", holes: []succession.Pinhole{passive}, edit: func(c *config.Config) { c.Monitor = true }},
		{name: "no connection", holes: []succession.Pinhole{passive}, entry: func(x *expect.Entry) { x.Original.Src = ap("198.51.100.9:40000") }},
		{name: "another connection", holes: []succession.Pinhole{passive}, entry: func(x *expect.Entry) { x.Reply.Src = ap("10.0.0.9:21") }},
		{name: "for a data connection alone", open: 1, holes: []succession.Pinhole{{Source: clientAddr, Public: passive.Public, Target: passive.Target, NAT: true,
			Left: time.Minute, Data: &succession.Tuple{Src: ap("198.51.100.1:41000"), Dst: passive.Public}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFirewalls(t, tt.edit)
			own := e
			if tt.entry != nil {
				tt.entry(&own)
			}
			f.b.k.enter(own)
			rec := succession.Record{Original: succession.Tuple(e.Original), Reply: succession.Tuple(e.Reply), Pinholes: tt.holes,
				Engine: &ftpalg.State{Login: true, Waiting: []string{"PASV"}}}
			f.a.peer.Tell(new(pair.Session), &rec, pair.Lazily)
			f.told()
			all := f.b.pinholes.All()
			if len(all) != tt.open || len(f.b.k.expected) != tt.open {
				t.Fatalf("open: %v; in the kernel: %v", all, f.b.k.expected)
			}
			for _, p := range all {
				if d := tt.holes[0].Data; d != nil && p.Port != d.Src.Port() {
					t.Errorf("open for port %d", p.Port)
				}
				if left := time.Until(p.Until()); left > f.b.settings().PinholeTimeout {
					t.Errorf("open for %v", left)
				}
			}
		})
	}
}

// TestBrokenPeerDialogue: his claims about pending commands, logins and
// adjustments do not make a bad announcement good, and take no session away whose
// packets come here.
func TestBrokenPeerDialogue(t *testing.T) {
	f := newFirewalls(t, nil)
	e := entryOf(1)
	f.b.k.enter(e)
	rec := succession.Record{Original: succession.Tuple(e.Original), Reply: succession.Tuple(e.Reply),
		Engine: &ftpalg.State{Started: true, Begun: true, Answered: true, Greeted: true, Login: true, Waiting: []string{"PASV", "PASV", "PASV"},
			Stream: [2]ftpalg.Place{{Known: true, Start: true, Next: 1000}, {Known: true, Start: true, Next: 5000}}}}
	f.a.peer.Tell(new(pair.Session), &rec, pair.Lazily)
	f.told()
	m := &link{b: f.b, entry: &e, next: [2]uint32{1000, 5000}}
	for _, reply := range []string{"227 Entering Passive Mode (198,51,100,77,195,80).\r\n", "227 Entering Passive Mode (10,0,0,2,0,22).\r\n"} {
		m.say(server, reply)
		for _, p := range f.b.pinholes.All() { // passed on unchanged, it opens at most the server's own port
			if p.Source != e.Original.Src.Addr() || p.Target.Addr() != e.Reply.Src.Addr() || p.Target.Port() < 1024 {
				t.Errorf("%q opens %+v", reply, p.Spec)
			}
		}
	}
	// A good announcement is good: the session is ours by its packets.
	m.say(server, "227 Entering Passive Mode (10,0,0,2,195,80).\r\n")
	if n := len(f.b.pinholes.All()); n != 1 || m.session().Pair.Standby() {
		t.Fatalf("%d pinholes; it is the other firewall's: %t", n, m.session().Pair.Standby())
	}
	f.a.peer.Ended(new(pair.Session), e.Original, e.Reply, false)
	f.told()
	if n := len(f.b.pinholes.All()); n != 1 {
		t.Errorf("%d pinholes when the other firewall reports the end of the session", n)
	}
}
