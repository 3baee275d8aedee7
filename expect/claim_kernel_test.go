// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests create the claimed entry before the connect, from a bound source
// port. For the kernel this is the same as a SYN that is held in raw: the SYN
// finds the entry.

// dataPort is the source port of claimed connections.
const dataPort = 45678

// A claimed connection is RELATED with its first packet, has master, mark and
// both translations, whichever end opens it. The master has no helper.
func TestKernelClaim(t *testing.T) {
	for _, nat := range nat {
		t.Run(nat.name, func(t *testing.T) {
			n := newNetwork(t, carrierNone, nat.snat, nat.dnat)
			c := n.dial()
			for _, a := range []addresses{ipv4, ipv6} {
				t.Run(a.family+"/passive", func(t *testing.T) {
					ctl, control := n.control(a, nat.dnat)
					l := n.listen("s", netip.AddrPortFrom(a.server, 0))
					port := unmap(l.Addr()).Port()
					x := Claim{Original: Tuple{
						Src: netip.AddrPortFrom(a.client, dataPort),
						Dst: netip.AddrPortFrom(control.Dst.Addr(), port),
					}}
					if nat.dnat {
						x.DNAT = netip.AddrPortFrom(a.server, port)
					}
					if nat.snat {
						x.SNAT = netip.AddrPortFrom(a.outside, 0)
					}
					claimed(t, n, c, x, control, "c", pair{far: ctl.far}, l)
				})
				t.Run(a.family+"/active", func(t *testing.T) {
					ctl, control := n.control(a, nat.dnat)
					l := n.listen("c", netip.AddrPortFrom(a.client, 0))
					port := unmap(l.Addr()).Port()
					x := Claim{Original: Tuple{
						Src: netip.AddrPortFrom(a.server, dataPort),
						Dst: netip.AddrPortFrom(remoteAddr(ctl.far).Addr(), port),
					}}
					if nat.snat {
						x.DNAT = netip.AddrPortFrom(a.client, port)
					}
					if nat.dnat {
						x.SNAT = netip.AddrPortFrom(a.vip, 0)
					}
					claimed(t, n, c, x, control, "s", pair{far: ctl.near}, l)
				})
			}
		})
	}
}

// claimed claims x, connects, and compares what the accepting side sees with what
// it sees of the control connection, whose end on that side is ctl.far.
func claimed(t *testing.T, n *network, c *Conn, x Claim, control Tuple, host string, ctl pair, l listener) {
	t.Helper()
	x.Master, x.Mark, x.Timeout = control, controlMark|1, 10*time.Second
	must(t, c.Claim(x))
	wantErr(t, "claim again, as for a retransmitted SYN", c.Claim(x), unix.EEXIST)
	if e, err := c.Get(x.Original); err != nil || e.TCPState != TCPStateNone || e.Timeout > 10*time.Second {
		t.Errorf("before its SYN: entry %+v, error %v; want no TCP state and 10 s at most", e, err)
	}

	before := n.counter("related")
	data := n.connect(host, x.Original.Src, x.Original.Dst, l)
	data.talk(t)
	if got := n.counter("related") - before; got != 1 {
		t.Errorf("%d packets were RELATED, want 1", got)
	}
	if got, want := remoteAddr(data.far).Addr(), remoteAddr(ctl.far).Addr(); got != want {
		t.Errorf("data is seen to come from %v, control from %v", got, want)
	}
	e, err := c.Get(x.Original)
	must(t, err)
	if e.Status&StatusExpected == 0 || e.Master != control || e.Mark != x.Mark || e.TCPState != TCPStateEstablished {
		t.Errorf("entry %+v, want EXPECTED, master %v, mark %#x, established", e, control, x.Mark)
	}
}

func TestKernelClaimErrors(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	c := n.dial()
	_, control := n.control(ipv4, false)
	x := Claim{Master: control.shift(), Timeout: time.Second, Original: Tuple{
		Src: netip.AddrPortFrom(ipv4.client, dataPort), Dst: netip.AddrPortFrom(ipv4.server, 40000)}}
	wantErr(t, "unknown master", c.Claim(x), unix.ENOENT)
	x.Master, x.Original = control, control
	wantErr(t, "existing entry", c.Claim(x), unix.EEXIST)
	x.Original = Tuple{Dst: control.Dst}
	wantErr(t, "no source", c.Claim(x), errTuple)
	x.Original, x.DNAT = control.shift(), netip.AddrPortFrom(ipv6.server, 1)
	wantErr(t, "translation to another family", c.Claim(x), errTuple)
}

// The mark of a claim is its own; the master's is not copied.
func TestKernelClaimMarkIsNotInherited(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, control := n.control(ipv4, false)
	x := Claim{Master: control, Timeout: time.Minute, Original: control.shift()}
	must(t, c.Claim(x))
	e, err := c.Get(x.Original)
	must(t, err)
	if e.Mark != 0 || e.Helper != "" {
		t.Errorf("mark %#x helper %q, want none", e.Mark, e.Helper)
	}
	must(t, c.Delete(control))
	if _, err := c.Get(x.Original); err != nil {
		t.Errorf("child after its master's end: %v, want it to stay", err)
	}
}

// A translation that a claim does not name becomes a null binding: the nat chains
// are not consulted any more.
func TestKernelClaimSettlesBothTranslations(t *testing.T) {
	n := newNetwork(t, carrierNone, true, true)
	n.nft("table inet every { chain post { type nat hook postrouting priority 90; oifname rs masquerade; }; }")
	c := n.dial()
	_, control := n.control(ipv4, true)
	l := n.listen("s", netip.AddrPortFrom(ipv4.server, 0))
	port := unmap(l.Addr()).Port()

	plain := n.connect("c", netip.AddrPortFrom(ipv4.client, 0), netip.AddrPortFrom(ipv4.server, port), l)
	if got := remoteAddr(plain.far).Addr(); got != ipv4.outside {
		t.Fatalf("an ordinary connection is seen from %v, want the masquerade", got)
	}
	for _, tc := range []struct {
		name string
		snat netip.AddrPort
		want netip.Addr
	}{
		{"destination only", netip.AddrPort{}, ipv4.client},
		{"both", netip.AddrPortFrom(ipv4.outside, 0), ipv4.outside},
		{"both with a port", netip.AddrPortFrom(ipv4.outside, 7000), ipv4.outside},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := Claim{
				Original: Tuple{Src: netip.AddrPortFrom(ipv4.client, freePort(t, n)), Dst: netip.AddrPortFrom(ipv4.vip, port)},
				Master:   control, DNAT: netip.AddrPortFrom(ipv4.server, port), SNAT: tc.snat, Timeout: time.Minute,
			}
			must(t, c.Claim(x))
			data := n.connect("c", x.Original.Src, x.Original.Dst, l)
			data.talk(t)
			seen := remoteAddr(data.far)
			if seen.Addr() != tc.want {
				t.Errorf("seen from %v, want %v", seen, tc.want)
			}
			if want := tc.snat.Port(); want != 0 && seen.Port() != want {
				t.Errorf("seen from %v, want port %d", seen, want)
			}
		})
	}
}

// freePort returns a port of the client's that no one listens on.
func freePort(t *testing.T, n *network) uint16 {
	l := n.listen("c", netip.AddrPortFrom(ipv4.client, 0))
	defer l.Close()
	return unmap(l.Addr()).Port()
}
