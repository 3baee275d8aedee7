// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testZone is the zone into which the ruleset of these tests puts connections.
const testZone = 7

// newZoned is a network whose router tracks everything in a zone, or only one
// direction ("original", "reply").
func newZoned(t testing.TB, with carrier, direction string) *network {
	n := newNetwork(t, with, true, false)
	n.nft(fmt.Sprintf(`table inet zone {
	chain pre { type filter hook prerouting priority raw; ct %s zone set %d; }
}`, direction, testZone))
	return n
}

// An entry in a zone is found, and changed, by a tuple that names the zone, and
// by no other.
func TestKernelZoneEntry(t *testing.T) {
	n := newZoned(t, carrierSane, "")
	c := n.dial()
	for _, a := range []addresses{ipv4, ipv6} {
		t.Run(a.family, func(t *testing.T) {
			_, control := n.control(a, false)
			_, err := c.Get(control)
			wantErr(t, "look-up in the default zone", err, unix.ENOENT)
			zoned := control
			zoned.Zone = testZone
			e, err := c.Get(zoned)
			must(t, err)
			if e.Original != zoned || e.Reply.Zone != testZone {
				t.Errorf("entry %v, %v; want %v and its reply in the same zone", e.Original, e.Reply, zoned)
			}
			if byReply, err := c.Get(e.Reply); err != nil || byReply.ID != e.ID {
				t.Errorf("look-up by the reply: %v, %v", byReply, err)
			}
			other := zoned
			other.Zone++
			wantErr(t, "mark in another zone", c.UpdateMark(other, 1, 1), unix.ENOENT)
			wantErr(t, "delete in the default zone", c.Delete(control), unix.ENOENT)
			must(t, c.UpdateMark(zoned, 1, 1))
			must(t, c.UpdateTimeout(zoned, time.Minute))
			_, err = c.SetSeqAdj(zoned, Original, SeqAdj{Pos: 5, After: 3})
			must(t, err)
			must(t, c.SetLiberal(zoned))
			dumped := false
			must(t, c.DumpTo([]PortRange{{controlPort, controlPort}}, func(d *Entry) { dumped = dumped || d.Original == zoned }))
			if !dumped {
				t.Error("the dump does not have it, or not with its zone")
			}
			must(t, c.Delete(zoned))
		})
	}
}

// A rule may set the zone of one direction: then the tuples differ in it.
func TestKernelZoneOfOneDirection(t *testing.T) {
	n := newZoned(t, carrierSane, "original")
	c := n.dial()
	_, control := n.control(ipv4, false)
	control.Zone = testZone
	e, err := c.Get(control)
	must(t, err)
	if e.Original != control || e.Reply.Zone != 0 {
		t.Errorf("entry %v, %v; want the zone with the original direction only", e.Original, e.Reply)
	}
}

// An expectation belongs to its master's zone: the same tuple can be expected in
// another. The child is related, in that zone.
func TestKernelZoneExpectation(t *testing.T) {
	n := newZoned(t, carrierSane, "")
	c := n.dial()
	ctl, control := n.control(ipv4, false)
	control.Zone = testZone
	l := n.listen("s", netip.AddrPortFrom(ipv4.server, 0))
	x := Expectation{
		Master: control, Source: ipv4.client, Dest: unmap(l.Addr()), NAT: true, Direction: Original,
		ToAddr: ipv4.server, ToPort: unmap(l.Addr()).Port(), Timeout: 20 * time.Second,
	}
	elsewhere := x
	elsewhere.Master.Zone = 0
	wantErr(t, "master in the default zone", c.CreateExpectation(elsewhere), unix.ENOENT)
	must(t, c.CreateExpectation(x))
	wantErr(t, "again", c.CreateExpectation(x), unix.EEXIST)
	must(t, c.DeleteExpectation(control, x.Tuple()))
	must(t, c.CreateExpectation(x))
	before := n.counter("related")
	data := n.connect("c", netip.AddrPortFrom(ipv4.client, 0), x.Dest, l)
	data.talk(t)
	if got := n.counter("related") - before; got != 1 {
		t.Errorf("%d packets were RELATED, want 1", got)
	}
	child := Tuple{Src: localAddr(data.near), Dst: x.Dest, Zone: testZone}
	e, err := c.Get(child)
	must(t, err)
	if e.Status&StatusExpected == 0 || e.Master != (Tuple{}) && e.Master != control {
		t.Errorf("child %+v; want status expected and master %v", e, control)
	}
	if got, want := remoteAddr(data.far).Addr(), remoteAddr(ctl.far).Addr(); got != want {
		t.Errorf("the server sees %v, want %v as on the control connection", got, want)
	}
}

// A claim makes an entry in the zone of its master; a SYN that a rule puts there
// finds it.
func TestKernelZoneClaim(t *testing.T) {
	n := newZoned(t, carrierNone, "")
	c := n.dial()
	ctl, control := n.control(ipv4, false)
	control.Zone = testZone
	l := n.listen("s", netip.AddrPortFrom(ipv4.server, 0))
	x := Claim{Original: Tuple{Src: netip.AddrPortFrom(ipv4.client, dataPort), Dst: unmap(l.Addr()), Zone: testZone},
		SNAT: netip.AddrPortFrom(ipv4.outside, 0)}
	claimed(t, n, c, x, control, "c", pair{far: ctl.far}, l)
}

// A request for a zone other than its master's is never sent.
func TestZoneClaimNeedsOneZone(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:21")
	x := Claim{Original: Tuple{Src: at, Dst: at, Zone: 1}, Master: Tuple{Src: at, Dst: at}}
	if x.valid() {
		t.Error("a claim in zone 1 with a master in the default zone is valid")
	}
}

// The default zone is never named: kernels without zones refuse the attribute.
func TestZoneIsNamedOnlyIfSet(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:21")
	for zone, want := range map[uint16]int{0: 0, 7: 8} {
		b := appendZone(nil, ctaZone, Tuple{Src: at, Dst: at, Zone: zone})
		if len(b) != want {
			t.Errorf("zone %d takes %d bytes, want %d", zone, len(b), want)
		}
	}
}
