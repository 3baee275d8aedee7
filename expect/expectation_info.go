// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// ExpectationInfo is an expectation as the kernel reports it.
type ExpectationInfo struct {
	Master   Tuple // original tuple of the master
	Expected Tuple
	Mask     Tuple // which bits of Expected matter
	Timeout  time.Duration
	ID       uint32
	Helper   string // name of the master's helper

	NAT       bool // translated like its master, or by some other function
	Direction Direction
	To        netip.AddrPort // where it is forwarded to
	Function  string         // "nat-follow-master"; empty: none
}

// DumpExpectations calls f for each TCP expectation in the namespace, in any
// zone: the kernel does not report which. The value is valid until f returns; f
// must not use c.
func (c *Conn) DumpExpectations(f func(*ExpectationInfo)) error {
	c.begin(expGet, unix.NLM_F_DUMP, unix.AF_UNSPEC)
	c.out = endRequest(c.out, 0)
	var x ExpectationInfo
	err := c.dump(func(b []byte) error {
		tcp, err := parseExpectation(&x, b)
		if err == nil && tcp {
			f(&x)
		}
		return err
	})
	return opError("dump expectations", Tuple{}, err)
}

// parseExpectation decodes the attributes of an expectation message into x. It
// returns false for protocols other than TCP.
func parseExpectation(x *ExpectationInfo, b []byte) (tcp bool, err error) {
	*x = ExpectationInfo{}
	a := attrs{rest: b}
	for a.next() {
		switch a.typ {
		case ctaExpectMaster:
			a.tuple(&x.Master)
		case ctaExpectTuple:
			tcp = a.tuple(&x.Expected) == unix.IPPROTO_TCP
		case ctaExpectMask:
			a.tuple(&x.Mask)
		case ctaExpectTimeout:
			// Negative when the timer is due and has not run.
			x.Timeout = time.Duration(max(int32(a.u32()), 0)) * time.Second
		case ctaExpectID:
			x.ID = a.u32()
		case ctaExpectHelpName:
			x.Helper = a.name()
		case ctaExpectFn:
			x.Function = a.name()
		case ctaExpectNat:
			x.NAT = true
			x.Direction, x.To = a.expectNAT()
		}
	}
	if a.bad {
		return false, errMalformed
	}
	return tcp, nil
}

func (a *attrs) expectNAT() (d Direction, to netip.AddrPort) {
	in := attrs{rest: a.val}
	for in.next() {
		switch in.typ {
		case ctaExpectNatDir:
			if in.u32() != 0 {
				d = Reply
			}
		case ctaExpectNatTuple:
			var t Tuple
			in.tuple(&t)
			to = t.Src
		}
	}
	a.bad = a.bad || in.bad
	return d, to
}
