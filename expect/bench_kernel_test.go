// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"net/netip"
	"testing"
	"time"
)

// operation is one call, or a pair of calls that leave the tracker as it was.
type operation struct {
	name string
	do   func() error
}

// operations are those on the packet path, on a live control connection.
func operations(t testing.TB) []operation {
	n := newNetwork(t, carrierSane, true, true)
	c := n.dial()
	ctl, control := n.control(ipv6, true)
	reply := Tuple{Src: localAddr(ctl.far), Dst: remoteAddr(ctl.far)}
	x := passive(ipv6, control, true, 40000)
	claim := Claim{
		Original: control.shift(), Master: control, Mark: controlMark, Timeout: time.Minute,
		DNAT: netip.AddrPortFrom(ipv6.server, 40000), SNAT: netip.AddrPortFrom(ipv6.outside, 0),
	}
	var pos uint32
	return []operation{
		{"Get", func() error { _, err := c.Get(reply); return err }},
		{"CreateExpectation+Delete", func() error {
			if err := c.CreateExpectation(x); err != nil {
				return err
			}
			return c.DeleteExpectation(control, x.Tuple())
		}},
		{"Claim+Delete", func() error {
			if err := c.Claim(claim); err != nil {
				return err
			}
			return c.Delete(claim.Original)
		}},
		{"SetSeqAdj", func() error {
			pos++
			return c.SetSeqAdj(control, Original, SeqAdj{Pos: pos, After: 3})
		}},
		{"UpdateMark", func() error { return c.UpdateMark(control, 0, 1) }},
		{"UpdateTimeout", func() error { return c.UpdateTimeout(control, time.Hour) }},
	}
}

func TestKernelOperationsDoNotAllocate(t *testing.T) {
	for _, op := range operations(t) {
		var err error
		allocs := testing.AllocsPerRun(50, func() {
			if e := op.do(); e != nil {
				err = e
			}
		})
		if err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
		if allocs != 0 {
			t.Errorf("%s: %v allocations, want none", op.name, allocs)
		}
	}
}

func BenchmarkKernel(b *testing.B) {
	for _, op := range operations(b) {
		b.Run(op.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := op.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseEntry(b *testing.B) {
	m, _, err := parseAnswer(readHex(b, "entry_control4"))
	must(b, err)
	b.ReportAllocs()
	var e Entry
	for b.Loop() {
		if _, err := parseEntry(&e, m.attrs()); err != nil {
			b.Fatal(err)
		}
	}
}
