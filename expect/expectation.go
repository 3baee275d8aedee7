// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Message types of expectations: enum ctnl_exp_msg_types.
const (
	expNew    = unix.NFNL_SUBSYS_CTNETLINK_EXP << 8
	expGet    = unix.NFNL_SUBSYS_CTNETLINK_EXP<<8 | 1
	expDelete = unix.NFNL_SUBSYS_CTNETLINK_EXP<<8 | 2
)

// Attributes of an expectation: enum ctattr_expect and ctattr_expect_nat in
// include/uapi/linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaExpectMaster   = 1
	ctaExpectTuple    = 2
	ctaExpectMask     = 3
	ctaExpectTimeout  = 4
	ctaExpectID       = 5
	ctaExpectHelpName = 6
	ctaExpectZone     = 7
	ctaExpectNat      = 10
	ctaExpectFn       = 11

	ctaExpectNatDir   = 1
	ctaExpectNatTuple = 2
)

// nfctFollowMaster names the expectation function that translates a child like
// its master (net/netfilter/nf_nat_core.c, nf_nat_follow_master). It takes both
// addresses from the master's tuples and only the port from the expectation: it
// cannot lead to a third host.
const nfctFollowMaster = "nat-follow-master"

// Expectation announces one TCP connection to the kernel: it will be RELATED to
// its master, inherit its mark and, if NAT is set, be translated like it. The
// first connection that matches uses it up.
type Expectation struct {
	// Master is either tuple of the control connection, whose entry must have
	// a helper.
	Master Tuple

	// Source is who connects and Dest where to, as its SYN is seen in prerouting
	// before any translation.
	Source     netip.Addr
	SourcePort uint16 // 0: any
	Dest       netip.AddrPort

	// NAT must be set if the master is translated. Direction is the master's
	// direction that the data connection has: Original for one that the client
	// opens (passive mode), Reply for one that the server opens (active mode).
	NAT       bool
	Direction Direction

	// ToPort is the port that the connection is forwarded to: the one on which
	// its target listens. The kernel stores and shows ToAddr, but the master
	// decides the address.
	ToPort uint16
	ToAddr netip.Addr

	// Timeout is how long the expectation waits, rounded up to seconds. Zero
	// keeps the helper's, which is 300 s for sane.
	Timeout time.Duration
}

// Tuple returns the tuple of the data connection's SYN, with a source port of
// zero for any. It is expected in the master's zone.
func (x Expectation) Tuple() Tuple {
	return Tuple{Src: netip.AddrPortFrom(x.Source, x.SourcePort), Dst: x.Dest, Zone: x.Master.Zone}
}

func (x Expectation) valid() bool {
	t := x.Tuple()
	return x.Master.valid() && t.valid() && sameFamily(x.Master.Src.Addr(), x.Source) &&
		(!x.NAT || x.ToPort != 0 && sameFamily(x.Source, x.ToAddr))
}

// CreateExpectation adds the expectation. Errors of the kernel are
//
//	EEXIST      the tuple is already expected in this zone, by any master
//	EBUSY       a part of the tuple is, for instance with one source port
//	ENOENT      the master has no entry, or lost it meanwhile
//	EOPNOTSUPP  the master has no helper
//	EMFILE      too many expectations
//
// A helper of type sane allows one expectation for each master: a second one
// silently replaces the first.
func (c *Conn) CreateExpectation(x Expectation) error {
	if !x.valid() {
		return opError("create expectation", x.Tuple(), errTuple)
	}
	// Without NLM_F_EXCL the kernel answers "ok" for an existing expectation,
	// even of another master, and changes its timeout.
	c.beginIn(expNew, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, x.Master)
	c.out = appendExpectation(c.out, &x)
	if err := c.execute(); err != nil {
		return opError("create expectation", x.Tuple(), err)
	}
	if x.Timeout == 0 {
		return nil
	}
	if err := c.resendAsChange(); err != nil {
		// It must not stay for the helper's 300 s. If it is already gone, all the
		// better.
		_ = c.deleteExpectation(x.Tuple())
		return opError("set expectation timeout", x.Tuple(), err)
	}
	return nil
}

// ProlongExpectation sets the timeout of an existing expectation. The error is
// ENOENT if the expectation does not exist.
func (c *Conn) ProlongExpectation(x Expectation) error {
	const op = "prolong expectation"
	if !x.valid() || x.Timeout <= 0 {
		return opError(op, x.Tuple(), errTuple)
	}
	c.beginIn(expNew, unix.NLM_F_ACK, x.Master)
	c.out = appendExpectation(c.out, &x)
	return opError(op, x.Tuple(), c.execute())
}

// resendAsChange sends the request in the output buffer again without CREATE and
// EXCL. The kernel ignores CTA_EXPECT_TIMEOUT when it creates an expectation and
// honours it when it changes one (ctnetlink_change_expect).
func (c *Conn) resendAsChange() error {
	c.seq++
	binary.NativeEndian.PutUint16(c.out[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	binary.NativeEndian.PutUint32(c.out[8:], c.seq)
	return c.execute()
}

// appendExpectation completes a request that creates or changes an
// expectation.
func appendExpectation(dst []byte, x *Expectation) []byte {
	dst = appendTuple(dst, ctaExpectMaster, x.Master)
	dst = appendTuple(dst, ctaExpectTuple, x.Tuple())
	dst = appendTuple(dst, ctaExpectMask, x.mask())
	if x.NAT {
		var at int
		dst, at = beginNested(dst, ctaExpectNat)
		dst = appendAttr32(dst, ctaExpectNatDir, uint32(x.Direction))
		dst = appendTuple(dst, ctaExpectNatTuple, Tuple{
			Src: netip.AddrPortFrom(x.ToAddr, x.ToPort),
			Dst: netip.AddrPortFrom(unspecified(x.ToAddr), 0), // required, but not used
		})
		dst = endNested(dst, at)
		dst = appendAttrString(dst, ctaExpectFn, nfctFollowMaster)
	}
	if x.Timeout != 0 {
		dst = appendAttr32(dst, ctaExpectTimeout, seconds(x.Timeout))
	}
	return endRequest(dst, 0)
}

// mask is all ones except for a source port that may be any.
func (x Expectation) mask() Tuple {
	ones := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if x.Source.Is6() {
		var b [16]byte
		for i := range b {
			b[i] = 255
		}
		ones = netip.AddrFrom16(b)
	}
	var port uint16
	if x.SourcePort != 0 {
		port = 0xffff
	}
	return Tuple{Src: netip.AddrPortFrom(ones, port), Dst: netip.AddrPortFrom(ones, 0xffff)}
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// DeleteExpectation removes the expectation of the tuple that it was created with
// (Expectation.Tuple) if it belongs to the master with that original tuple. The
// error is ENOENT if it does not exist: it was used up, timed out, was replaced, or
// its master is gone. Another master may since have expected the same tuple; that
// expectation stays, and the error is ENOENT, too.
func (c *Conn) DeleteExpectation(master, expected Tuple) error {
	const op = "delete expectation"
	if !expected.valid() {
		return opError(op, expected, errTuple)
	}
	x, err := c.getExpectation(expected)
	if err != nil {
		return opError(op, expected, err)
	}
	if x.Master != master {
		return opError(op, expected, unix.ENOENT)
	}
	return opError(op, expected, c.deleteExpectation(expected))
}

// getExpectation looks an expectation up by its tuple.
func (c *Conn) getExpectation(expected Tuple) (x ExpectationInfo, err error) {
	c.beginIn(expGet, 0, expected)
	c.out = appendTuple(c.out, ctaExpectTuple, expected)
	c.out = endRequest(c.out, 0)
	if err := c.send(); err != nil {
		return x, err
	}
	m, err := c.next(c.seq)
	if err != nil {
		return x, err
	}
	if m.typ == unix.NLMSG_ERROR {
		if err := m.errno(); err != nil {
			return x, err
		}
		return x, errMalformed
	}
	_, err = parseExpectation(&x, m.attrs())
	// The kernel does not report the zone in which it looked.
	x.Master.Zone, x.Expected.Zone = expected.Zone, expected.Zone
	return x, err
}

// deleteExpectation sends a delete. It must name a tuple: without one the kernel
// flushes the expectations of the whole namespace.
func (c *Conn) deleteExpectation(expected Tuple) error {
	if !expected.valid() {
		return errTuple
	}
	c.beginIn(expDelete, unix.NLM_F_ACK, expected)
	c.out = appendTuple(c.out, ctaExpectTuple, expected)
	c.out = endRequest(c.out, 0)
	return c.execute()
}
