// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/netip"
	"testing"
)

// policies are the flags that change how an announcement is judged.
var policies = []struct {
	name     string
	position string
	flags    []string
	test     func(*testing.T, *Dialogue)
}{
	{"repair unusable", "routed", nil, repaired("0.0.0.0", true)},
	{"repair unusable behind dnat", "dnat", nil, repaired("127.0.0.1", true)},
	{"repair unusable leaves private", "routed", nil, repaired("172.31.0.9", false)},
	{"repair private", "routed", []string{"--repair", "private"}, repaired("172.31.0.9", true)},
	{"repair private leaves public", "routed", []string{"--repair", "private"}, repaired("192.0.2.9", false)},
	{"repair all", "dnat", []string{"--repair", "all"}, repaired("192.0.2.9", true)},
	{"repair none", "routed", []string{"--repair", "none"}, repaired("0.0.0.0", false)},
	{"third party", "routed", []string{"--third-party", "allow"}, thirdParty},
	{"advertise", "routed", []string{"--advertise", "203.0.113.2=192.0.2.7"}, advertised},
	{"strict active port", "masquerade", []string{"--strict-active-port"}, strictPort},
}

// TestPolicies tries each with both strategies.
func TestPolicies(t *testing.T) {
	needDaemon(t)
	for _, p := range policies {
		for _, s := range subjects(t) {
			t.Run(p.name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				site := NewSite(t, position(p.position), AllowRelated, s, p.flags...)
				site.Case(Case{Kind: "policy: " + p.name, Family: IPv4}).Count(t)
				p.test(t, site.Talk(t, site.ListenControl(t, IPv4), site.Client, IPv4))
			})
		}
	}
}

// announced makes the server listen and announce a wrong address.
func (d *Dialogue) announced(t *testing.T, wrong string) (o *Offer, heard netip.AddrPort) {
	t.Helper()
	ln, err := d.site.Server.Listen(netip.AddrPortFrom(serverAddr[IPv4], 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	o = &Offer{Opener: d.from, listener: ln}
	go o.serve()
	heard = d.AnnounceText(PASV, netip.AddrPortFrom(netip.MustParseAddr(wrong), addrOf(ln.Addr()).Port()))
	// Whatever the text says, the pinhole leads to the control connection's
	// server.
	o.To = netip.AddrPortFrom(addrOf(d.Client.RemoteAddr()).Addr(), heard.Port())
	return o, heard
}

// repaired announces a wrong address, which is replaced by the one that the
// client dialled or left alone.
func repaired(wrong string, replaced bool) func(*testing.T, *Dialogue) {
	return func(t *testing.T, d *Dialogue) {
		o, heard := d.announced(t, wrong)
		want := netip.MustParseAddr(wrong)
		if replaced {
			want = o.To.Addr()
		}
		if heard.Addr() != want {
			t.Errorf("the client received %s, want %s", heard.Addr(), want)
		}
		o.MustOpen(t)
	}
}

// thirdParty makes the server connect to a host that is not its client, which FXP
// needs.
func thirdParty(t *testing.T, d *Dialogue) {
	third, err := d.site.Third.Listen(netip.AddrPortFrom(thirdAddr[IPv4], 0))
	if err != nil {
		t.Fatal(err)
	}
	d.AnnounceListener(PORT, third, d.site.Server).MustOpen(t)
}

// advertised: the client receives the address that the server has behind an
// external NAT, but here the data still goes to the server.
func advertised(t *testing.T, d *Dialogue) {
	o, heard := d.announced(t, serverAddr[IPv4].String())
	if want := netip.MustParseAddr("192.0.2.7"); heard.Addr() != want {
		t.Errorf("the client received %s, want %s", heard.Addr(), want)
	}
	o.MustOpen(t)
}

// strictPort: active data comes from the port below the control port.
func strictPort(t *testing.T, d *Dialogue) {
	o := d.Announce(PORT)
	o.MustRefuse(t, d.site.Server, "any source port")
	c, err := d.site.Server.Dial(netip.AddrPortFrom(serverAddr[IPv4], 20), o.To, openTimeout)
	if err != nil {
		t.Fatalf("from port 20: %v", err)
	}
	c.Close()
}
