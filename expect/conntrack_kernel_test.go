// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A look-up by the packet's own addresses finds the entry in both directions,
// under every translation.
func TestKernelGetByPacketAddresses(t *testing.T) {
	for _, nat := range nat {
		t.Run(nat.name, func(t *testing.T) {
			n := newNetwork(t, carrierSane, nat.snat, nat.dnat)
			c := n.dial()
			for _, a := range []addresses{ipv4, ipv6} {
				t.Run(a.family, func(t *testing.T) {
					p, original := n.control(a, nat.dnat)
					reply := Tuple{Src: localAddr(p.far), Dst: remoteAddr(p.far)}
					byOriginal, err := c.Get(original)
					must(t, err)
					byReply, err := c.Get(reply)
					must(t, err)
					byReply.Timeout = byOriginal.Timeout
					if d := cmp.Diff(byOriginal, byReply, cmpTuples); d != "" {
						t.Errorf("by original and by reply tuple differ (-original +reply):\n%s", d)
					}
					checkControl(t, byOriginal, original, reply, nat.snat, nat.dnat)
					if _, err := c.Get(Tuple{Src: original.Dst, Dst: netip.AddrPortFrom(a.client, 1)}); err != nil {
						wantErr(t, "get of no connection", err, unix.ENOENT)
					} else {
						t.Error("get of no connection found one")
					}
				})
			}
		})
	}
}

func checkControl(t *testing.T, e Entry, original, reply Tuple, snat, dnat bool) {
	t.Helper()
	if e.Original != original || e.Reply != reply {
		t.Errorf("tuples %v, %v; want %v, %v", e.Original, e.Reply, original, reply)
	}
	if got := e.Status&StatusSrcNAT != 0; got != snat {
		t.Errorf("status %#x: source NAT %v, want %v", e.Status, got, snat)
	}
	if got := e.Status&StatusDstNAT != 0; got != dnat {
		t.Errorf("status %#x: destination NAT %v, want %v", e.Status, got, dnat)
	}
	if e.TCPState != TCPStateEstablished || e.Helper != "sane" || e.Mark != controlMark || e.ID == 0 || e.Timeout == 0 {
		t.Errorf("entry %+v: want established, helper sane, mark %#x, an id and a timeout", e, controlMark)
	}
}

var cmpTuples = cmp.Comparer(func(a, b Tuple) bool { return a == b })

func TestKernelUpdateMark(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, original := n.control(ipv4, false)
	must(t, c.UpdateMark(original, 0xffffffff, 0x08000003))
	e, err := c.Get(original)
	must(t, err)
	if want := uint32(controlMark | 0x08000003); e.Mark != want {
		t.Errorf("mark %#x, want %#x", e.Mark, want)
	}
	must(t, c.UpdateMark(original, 0, 0x00000001))
	if e, err = c.Get(original); err != nil || e.Mark != controlMark|0x08000002 {
		t.Errorf("mark %#x, error %v, want bit 0 cleared", e.Mark, err)
	}
	wantErr(t, "update of no connection", c.UpdateMark(original.shift(), 1, 1), unix.ENOENT)
}

// shift returns a tuple that no test connection has.
func (t Tuple) shift() Tuple {
	t.Dst = netip.AddrPortFrom(t.Dst.Addr(), t.Dst.Port()+1)
	return t
}

func TestKernelUpdateTimeout(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	p, original := n.control(ipv4, false)
	must(t, c.UpdateTimeout(original, 7777*time.Second-time.Millisecond))
	e, err := c.Get(original)
	must(t, err)
	if e.Timeout > 7777*time.Second || e.Timeout < 7767*time.Second {
		t.Errorf("timeout %v, want 7777s", e.Timeout)
	}
	p.talk(t)
	// At first it is the timeout of unacknowledged data, 300 s.
	waitFor(t, "the timeout of an established connection", func() bool {
		e, err := c.Get(original)
		return err == nil && e.Timeout > 400000*time.Second
	})
	wantErr(t, "update of no connection", c.UpdateTimeout(original.shift(), time.Second), unix.ENOENT)
}

func TestKernelDelete(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, first := n.control(ipv4, false)
	_, second := n.control(ipv4, false)
	must(t, c.Delete(first))
	_, err := c.Get(first)
	wantErr(t, "get of the deleted", err, unix.ENOENT)
	_, err = c.Get(second)
	must(t, err)
	wantErr(t, "delete again", c.Delete(first), unix.ENOENT)
}

// A delete without a tuple would flush the namespace: it is not sent.
func TestKernelDeleteWithoutTupleIsNotSent(t *testing.T) {
	n := newNetwork(t, carrierSane, false, false)
	c := n.dial()
	_, original := n.control(ipv4, false)
	x := passive(ipv4, original, false, 40000)
	must(t, c.CreateExpectation(x))
	mixed := Tuple{Src: original.Src, Dst: netip.AddrPortFrom(ipv6.server, 1)}
	for _, bad := range []Tuple{{}, {Src: original.Src}, {Dst: original.Dst}, mixed} {
		wantErr(t, "delete", c.Delete(bad), errTuple)
		wantErr(t, "delete expectation", c.DeleteExpectation(original, bad), errTuple)
		wantErr(t, "delete expectation", c.deleteExpectation(bad), errTuple)
	}
	_, err := c.Get(original)
	must(t, err)
	_, err = c.getExpectation(x.Tuple())
	must(t, err)
}

// A dump has the connections to the ports, and no expected one; whether the
// kernel filters makes no difference.
func TestKernelDumpTo(t *testing.T) {
	n := newNetwork(t, carrierNone, false, false)
	c := n.dial()
	_, v4 := n.control(ipv4, false)
	_, v6 := n.control(ipv6, false)
	l := n.listen("s", netip.AddrPortFrom(ipv4.server, 30021))
	elsewhere := Tuple{Src: localAddr(n.connect("c", netip.AddrPortFrom(ipv4.client, 0), unmap(l.Addr()), l).near), Dst: unmap(l.Addr())}
	child := Tuple{Src: netip.AddrPortFrom(ipv4.server, 40000), Dst: netip.AddrPortFrom(ipv4.client, controlPort)}
	must(t, c.Claim(Claim{Original: child, Master: v4, Timeout: time.Minute}))
	for _, tc := range []struct {
		ports []PortRange
		want  []Tuple
	}{
		{[]PortRange{{controlPort, controlPort}}, []Tuple{v4, v6}},
		{[]PortRange{{30021, 30021}}, []Tuple{elsewhere}},
		{[]PortRange{{controlPort, controlPort}, {30021, 30021}}, []Tuple{v4, v6, elsewhere}},
		{[]PortRange{{1, 65535}}, []Tuple{v4, v6, elsewhere}},
		{[]PortRange{{1, 1}, {2, 2}, {3, 3}, {4, 4}, {controlPort, controlPort}}, []Tuple{v4, v6}},
		{[]PortRange{{1, 2}}, nil},
		{nil, nil},
	} {
		got := make(map[Tuple]bool)
		must(t, c.DumpTo(tc.ports, func(e *Entry) { got[e.Original] = true }))
		if len(got) != len(tc.want) {
			t.Errorf("dump of %v: %v, want %v", tc.ports, got, tc.want)
		}
		for _, w := range tc.want {
			if !got[w] {
				t.Errorf("dump of %v lacks %v", tc.ports, w)
			}
		}
	}
	var expected []Tuple
	must(t, c.DumpExpected(func(e *Entry) { expected = append(expected, e.Original) }))
	if len(expected) != 1 || expected[0] != child {
		t.Errorf("expected connections %v, want %v", expected, child)
	}
	// The socket is usable for the next request.
	_, err := c.Get(v4)
	must(t, err)
}
