// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// passive is the expectation of a connection from the client to a server's port,
// as the reply to PASV announces it.
func passive(a addresses, control Tuple, translated bool, port uint16) Expectation {
	return Expectation{
		Master: control, Source: a.client, Dest: netip.AddrPortFrom(control.Dst.Addr(), port),
		NAT: translated, Direction: Original, ToAddr: a.server, ToPort: port,
		Timeout: time.Minute,
	}
}

// active is the expectation of a connection from the server to a client's port.
// seenAs is the client's address as the server sees it.
func active(a addresses, control Tuple, translated bool, seenAs netip.Addr, port uint16) Expectation {
	return Expectation{
		Master: control, Source: a.server, Dest: netip.AddrPortFrom(seenAs, port),
		NAT: translated, Direction: Reply, ToAddr: a.client, ToPort: port,
		Timeout: time.Minute,
	}
}

func TestKernelExpectationErrors(t *testing.T) {
	for _, a := range []addresses{ipv4, ipv6} {
		t.Run(a.family, func(t *testing.T) {
			n := newNetwork(t, carrierSane, false, false)
			c := n.dial()
			_, one := n.control(a, false)
			_, two := n.control(a, false)
			must(t, c.CreateExpectation(passive(a, one, false, 40000)))

			wantErr(t, "the same again", c.CreateExpectation(passive(a, one, false, 40000)), unix.EEXIST)
			wantErr(t, "the same by another master", c.CreateExpectation(passive(a, two, false, 40000)), unix.EEXIST)
			// A wider expectation shows as existing, a narrower one as in the
			// way.
			narrow := passive(a, two, false, 40000)
			narrow.SourcePort = 20
			wantErr(t, "a narrower one by another master", c.CreateExpectation(narrow), unix.EEXIST)
			narrow.Dest = netip.AddrPortFrom(narrow.Dest.Addr(), 40002)
			must(t, c.CreateExpectation(narrow))
			wantErr(t, "a wider one by another master", c.CreateExpectation(passive(a, one, false, 40002)), unix.EBUSY)
			wantErr(t, "unknown master", c.CreateExpectation(passive(a, one.shift(), false, 40001)), unix.ENOENT)

			x, err := c.getExpectation(passive(a, one, false, 40000).Tuple())
			must(t, err)
			if x.Master != one {
				t.Errorf("the expectation's master is %v, want %v", x.Master, one)
			}
		})
	}
}

// Without EXCL the kernel answers "ok" to another master's tuple and changes only
// its timeout: the reason for NLM_F_EXCL.
func TestKernelExpectationWithoutExclusive(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, one := n.control(ipv4, false)
	_, two := n.control(ipv4, false)
	must(t, c.CreateExpectation(passive(ipv4, one, false, 40000)))

	other := passive(ipv4, two, false, 40000)
	other.Timeout = 1000 * time.Second
	c.begin(expNew, unix.NLM_F_ACK|unix.NLM_F_CREATE, unix.AF_INET)
	c.out = appendExpectation(c.out, &other)
	if err := c.execute(); err != nil {
		t.Fatalf("create without EXCL: %v, want an acknowledgement", err)
	}
	x, err := c.getExpectation(other.Tuple())
	must(t, err)
	if x.Master != one || x.Timeout < 900*time.Second {
		t.Errorf("master %v timeout %v, want master %v and the new timeout", x.Master, x.Timeout, one)
	}
}

func TestKernelExpectationUnknownFunction(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, one := n.control(ipv4, false)
	x := passive(ipv4, one, false, 40000)
	c.begin(expNew, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, unix.AF_INET)
	c.out = appendExpectation(c.out, &x)
	c.out = endRequest(appendAttrString(c.out, ctaExpectFn, "no-such-function"), 0)
	wantErr(t, "unknown function", c.execute(), unix.EINVAL)
}

func TestKernelExpectationNeedsHelper(t *testing.T) {
	for _, with := range []carrier{carrierNone, carrierBare} {
		t.Run(string(with), func(t *testing.T) {
			n := newNetwork(t, with, false, false)
			c := n.dial()
			_, control := n.control(ipv4, false)
			wantErr(t, "create", c.CreateExpectation(passive(ipv4, control, false, 40000)), unix.EOPNOTSUPP)
		})
	}
}

// CTA_EXPECT_TIMEOUT is ignored on creation, 300 s being sane's, and set by
// the second message.
func TestKernelExpectationTimeout(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, control := n.control(ipv4, false)
	x := passive(ipv4, control, false, 40000)
	x.Timeout = 20*time.Second - time.Millisecond

	c.begin(expNew, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, unix.AF_INET)
	c.out = appendExpectation(c.out, &x)
	must(t, c.execute())
	info, err := c.getExpectation(x.Tuple())
	must(t, err)
	if info.Timeout < 290*time.Second {
		t.Errorf("after creation the timeout is %v; this kernel honours it", info.Timeout)
	}
	must(t, c.DeleteExpectation(control, x.Tuple()))

	must(t, c.CreateExpectation(x))
	info, err = c.getExpectation(x.Tuple())
	must(t, err)
	if info.Timeout > 20*time.Second || info.Timeout < 10*time.Second {
		t.Errorf("timeout %v, want 20s", info.Timeout)
	}
}

// An unused expectation expires on its own.
func TestKernelExpectationExpires(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, control := n.control(ipv4, false)
	x := passive(ipv4, control, false, 40000)
	x.Timeout = time.Millisecond
	must(t, c.CreateExpectation(x))
	waitFor(t, "the expectation to expire", func() bool {
		_, err := c.getExpectation(x.Tuple())
		return errors.Is(err, unix.ENOENT)
	})
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// sane allows one expectation for each master: a second evicts the first.
func TestKernelSaneSecondExpectationEvictsFirst(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, control := n.control(ipv4, false)
	must(t, c.CreateExpectation(passive(ipv4, control, false, 40000)))
	must(t, c.CreateExpectation(passive(ipv4, control, false, 40001)))
	var got []uint16
	must(t, c.DumpExpectations(func(x *ExpectationInfo) { got = append(got, x.Expected.Dst.Port()) }))
	if len(got) != 1 || got[0] != 40001 {
		t.Errorf("expected ports %v, want [40001]", got)
	}
}

func TestKernelMasterTakesItsExpectations(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, control := n.control(ipv4, false)
	must(t, c.CreateExpectation(passive(ipv4, control, false, 40000)))
	must(t, c.Delete(control))
	must(t, c.DumpExpectations(func(x *ExpectationInfo) { t.Errorf("still there: %+v", x) }))
}

// An expectation outlives the FIN of its master; only the end of the entry
// removes it.
func TestKernelExpectationOutlivesFIN(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	p, control := n.control(ipv4, false)
	x := passive(ipv4, control, false, 40000)
	must(t, c.CreateExpectation(x))
	p.near.Close()
	p.far.Close()
	waitFor(t, "the control connection to close", func() bool {
		e, err := c.Get(control)
		return err == nil && e.TCPState == TCPStateTimeWait
	})
	_, err := c.getExpectation(x.Tuple())
	must(t, err)
}

func TestKernelDeleteExpectation(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, one := n.control(ipv4, false)
	_, two := n.control(ipv4, false)
	x, y := passive(ipv4, one, false, 40000), passive(ipv4, two, false, 40001)
	must(t, c.CreateExpectation(x))
	must(t, c.CreateExpectation(y))
	wantErr(t, "delete of another's", c.DeleteExpectation(two, x.Tuple()), unix.ENOENT)
	must(t, c.DeleteExpectation(one, x.Tuple()))
	wantErr(t, "delete again", c.DeleteExpectation(one, x.Tuple()), unix.ENOENT)
	var got []Tuple
	must(t, c.DumpExpectations(func(x *ExpectationInfo) { got = append(got, x.Expected) }))
	if len(got) != 1 || got[0] != y.Tuple() {
		t.Errorf("left %v, want %v", got, y.Tuple())
	}
}

// A dump reports what was created.
func TestKernelDumpExpectations(t *testing.T) {
	for _, a := range []addresses{ipv4, ipv6} {
		t.Run(a.family, func(t *testing.T) {
			n := newNetwork(t, carrierSane, true, false)
			c := n.dial()
			p, control := n.control(a, false)
			x := active(a, control, true, remoteAddr(p.far).Addr(), 40000)
			must(t, c.CreateExpectation(x))
			var got []ExpectationInfo
			must(t, c.DumpExpectations(func(x *ExpectationInfo) { got = append(got, *x) }))
			if len(got) != 1 {
				t.Fatalf("%d expectations, want 1", len(got))
			}
			g := got[0]
			if g.Master != control || g.Expected != x.Tuple() || g.Mask != x.mask() || g.Direction != Reply || !g.NAT ||
				g.To != netip.AddrPortFrom(a.client, 40000) || g.Function != nfctFollowMaster || g.Helper != "sane" || g.ID == 0 {
				t.Errorf("dumped %+v, created %+v", g, x)
			}
		})
	}
}

// The data connection of an expectation is RELATED with its first packet and only
// that, has its master and its master's mark, and is translated like its master,
// whichever end opens it. The second connection to the same port is not expected.
func TestKernelChildFollowsMaster(t *testing.T) {
	for _, nat := range nat {
		t.Run(nat.name, func(t *testing.T) {
			n := newNetwork(t, carrierSane, nat.snat, nat.dnat)
			c := n.dial()
			for _, a := range []addresses{ipv4, ipv6} {
				t.Run(a.family+"/passive", func(t *testing.T) {
					childOfPassive(t, n, c, a, nat.snat, nat.dnat)
				})
				t.Run(a.family+"/active", func(t *testing.T) {
					childOfActive(t, n, c, a, nat.snat, nat.dnat)
				})
			}
		})
	}
}

func childOfPassive(t *testing.T, n *network, c *Conn, a addresses, snat, dnat bool) {
	ctl, control := n.control(a, dnat)
	l := n.listen("s", netip.AddrPortFrom(a.server, 0))
	x := passive(a, control, snat || dnat, unmap(l.Addr()).Port())
	must(t, c.CreateExpectation(x))

	before := n.counter("related")
	data := n.connect("c", netip.AddrPortFrom(a.client, 0), x.Dest, l)
	data.talk(t)
	if got := n.counter("related") - before; got != 1 {
		t.Errorf("%d packets were RELATED, want 1", got)
	}
	if got, want := remoteAddr(data.far).Addr(), remoteAddr(ctl.far).Addr(); got != want {
		t.Errorf("the server sees data from %v, control from %v", got, want)
	}
	checkChild(t, c, Tuple{Src: localAddr(data.near), Dst: x.Dest}, control)
	checkUsedUp(t, n, x, "c", netip.AddrPortFrom(a.client, 0), l)
}

func childOfActive(t *testing.T, n *network, c *Conn, a addresses, snat, dnat bool) {
	ctl, control := n.control(a, dnat)
	l := n.listen("c", netip.AddrPortFrom(a.client, 0))
	x := active(a, control, snat || dnat, remoteAddr(ctl.far).Addr(), unmap(l.Addr()).Port())
	must(t, c.CreateExpectation(x))

	before := n.counter("related")
	data := n.connect("s", netip.AddrPortFrom(a.server, 0), x.Dest, l)
	data.talk(t)
	if got := n.counter("related") - before; got != 1 {
		t.Errorf("%d packets were RELATED, want 1", got)
	}
	if got, want := remoteAddr(data.far).Addr(), control.Dst.Addr(); got != want {
		t.Errorf("the client sees data from %v, it dialled %v", got, want)
	}
	checkChild(t, c, Tuple{Src: localAddr(data.near), Dst: x.Dest}, control)
	checkUsedUp(t, n, x, "s", netip.AddrPortFrom(a.server, 0), l)
}

func checkChild(t *testing.T, c *Conn, original, control Tuple) {
	t.Helper()
	e, err := c.Get(original)
	must(t, err)
	if e.Status&StatusExpected == 0 || e.Master != control || e.Mark != controlMark {
		t.Errorf("child %+v, want EXPECTED, master %v and mark %#x", e, control, controlMark)
	}
	if e.Helper != "" {
		t.Errorf("child has helper %q, want none", e.Helper)
	}
}

// checkUsedUp proves that the connection after the expected one is an ordinary
// new one, whatever happens to it.
func checkUsedUp(t *testing.T, n *network, x Expectation, host string, from netip.AddrPort, l interface{ Close() error }) {
	t.Helper()
	related, fresh := n.counter("related"), n.counter("new_data")
	l.Close()
	var near interface{ Close() error }
	n.in(host, func() {
		if c, err := dialTimeout(from, x.Dest, 200*time.Millisecond); err == nil {
			near = c
		}
	})
	if near != nil {
		near.Close()
	}
	if got := n.counter("related") - related; got != 0 {
		t.Errorf("a second connection was RELATED (%d packets)", got)
	}
	if got := n.counter("new_data") - fresh; got == 0 {
		t.Error("the second connection's SYN was not seen as NEW")
	}
}

// The master may be named by its reply tuple; the kernel reports the original.
func TestKernelMasterByReplyTuple(t *testing.T) {
	n := newNetwork(t, carrierSane, true, true)
	c := n.dial()
	ctl, control := n.control(ipv4, true)
	reply := Tuple{Src: localAddr(ctl.far), Dst: remoteAddr(ctl.far)}
	x := passive(ipv4, reply, true, 40000)
	x.Dest = netip.AddrPortFrom(ipv4.vip, 40000)
	must(t, c.CreateExpectation(x))
	info, err := c.getExpectation(x.Tuple())
	must(t, err)
	must(t, c.Claim(Claim{Original: control.shift(), Master: reply, Timeout: time.Minute}))
	e, err := c.Get(control.shift())
	must(t, err)
	if info.Master != control || e.Master != control {
		t.Errorf("masters %v (expectation), %v (claim); want %v", info.Master, e.Master, control)
	}
	must(t, c.DeleteExpectation(control, x.Tuple()))
}

// An expectation leads to the master's own hosts, whatever address it names: it
// cannot lead to a third host.
func TestKernelExpectationAddressIsTheMasters(t *testing.T) {
	n := newNetwork(t, carrierSane, true, false)
	c := n.dial()
	ctl, control := n.control(ipv4, false)
	l := n.listen("c", netip.AddrPortFrom(ipv4.client, 0))
	const announced = 40000 // another port than the client's
	x := active(ipv4, control, true, remoteAddr(ctl.far).Addr(), announced)
	x.ToAddr, x.ToPort = netip.MustParseAddr("192.168.77.99"), unmap(l.Addr()).Port()
	must(t, c.CreateExpectation(x))
	n.connect("s", netip.AddrPortFrom(ipv4.server, 0), x.Dest, l).talk(t)
}

// An expectation may require a source port: others are not expected.
func TestKernelExpectationSourcePort(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, control := n.control(ipv4, false)
	l := n.listen("c", netip.AddrPortFrom(ipv4.client, 0))
	x := active(ipv4, control, false, ipv4.client, unmap(l.Addr()).Port())
	x.SourcePort = controlPort - 1
	must(t, c.CreateExpectation(x))
	before := n.counter("related")
	n.connect("s", netip.AddrPortFrom(ipv4.server, 0), x.Dest, l)
	if got := n.counter("related") - before; got != 0 {
		t.Errorf("a connection from another port is RELATED (%d packets)", got)
	}
	n.connect("s", netip.AddrPortFrom(ipv4.server, controlPort-1), x.Dest, l)
	if got := n.counter("related") - before; got != 1 {
		t.Errorf("%d packets were RELATED, want 1", got)
	}
}

// TestKernelProlong: an existing expectation gets another timeout, and a missing
// one is not created. Both are counted.
func TestKernelProlong(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, one := n.control(ipv4, false)
	count := func(want int) {
		t.Helper()
		got, err := c.CountExpectations()
		must(t, err)
		if got != want {
			t.Errorf("%d expectations are counted, want %d", got, want)
		}
	}
	x := passive(ipv4, one, false, 40000)
	wantErr(t, "one that is not there", c.ProlongExpectation(x), unix.ENOENT)
	count(0)
	must(t, c.CreateExpectation(x))
	count(1)
	x.Timeout = 10 * time.Minute
	must(t, c.ProlongExpectation(x))
	got, err := c.getExpectation(x.Tuple())
	must(t, err)
	if got.Timeout < 9*time.Minute {
		t.Errorf("it has %v left, want 10m", got.Timeout)
	}
	must(t, c.DeleteExpectation(one, x.Tuple()))
	count(0)
	if MostExpectations() < 1 {
		t.Error("the kernel has room for none")
	}
}
