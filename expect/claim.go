// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Attributes of a translation: enum ctattr_nat and ctattr_protonat.
const (
	ctaNatV4MinIP = 1
	ctaNatV4MaxIP = 2
	ctaNatProto   = 3
	ctaNatV6MinIP = 4
	ctaNatV6MaxIP = 5

	ctaProtoNatPortMin = 1
	ctaProtoNatPortMax = 2
)

// Claim describes the entry of a data connection whose SYN is held before
// connection tracking (raw, priority -350). Once the entry exists, the SYN
// may be forwarded: it finds the entry and is RELATED from its first packet, without
// a helper on the master.
type Claim struct {
	Original Tuple // the SYN's own addresses
	Master   Tuple // either tuple of the control connection, in the same zone

	// DNAT and SNAT are the translated destination and source of the connection;
	// the zero value: no translation. Port 0 keeps the port. Both must be given
	// here: an entry created with one of them, or none, never traverses the
	// ruleset's nat chains.
	DNAT, SNAT netip.AddrPort

	Mark    uint32        // of the new entry; the kernel does not copy the master's
	Timeout time.Duration // until the SYN arrives, rounded up to seconds, at least one
}

func (x Claim) valid() bool {
	ok := func(a netip.AddrPort) bool {
		return !a.Addr().IsValid() || sameFamily(x.Original.Src.Addr(), a.Addr())
	}
	return x.Original.valid() && x.Original.Src.Port() != 0 && x.Master.valid() &&
		sameFamily(x.Original.Src.Addr(), x.Master.Src.Addr()) && x.Original.Zone == x.Master.Zone && ok(x.DNAT) && ok(x.SNAT)
}

// Claim creates the entry. Errors of the kernel are
//
//	EEXIST  there is an entry with that tuple, for instance for a retransmitted SYN
//	ENOENT  the master has no entry
func (c *Conn) Claim(x Claim) error {
	const op = "claim"
	if !x.valid() {
		return opError(op, x.Original, errTuple)
	}
	c.beginIn(ctNew, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, x.Original)
	c.out = appendClaim(c.out, &x)
	return opError(op, x.Original, c.execute())
}

// appendClaim completes a request that creates an entry.
func appendClaim(dst []byte, x *Claim) []byte {
	dst = appendTuple(dst, ctaTupleOrig, x.Original)
	// The plain inverse: nf_nat_setup_info changes it as the translation
	// requires.
	dst = appendTuple(dst, ctaTupleReply, x.Original.Reverse())
	dst = appendTuple(dst, ctaTupleMaster, x.Master)
	// Required, and zero would expire at once.
	dst = appendAttr32(dst, ctaTimeout, max(seconds(x.Timeout), 1))
	if x.Mark != 0 {
		dst = appendAttr32(dst, ctaMark, x.Mark)
	}
	if x.SNAT.Addr().IsValid() {
		dst = appendNAT(dst, ctaNatSrc, x.SNAT)
	}
	if x.DNAT.Addr().IsValid() {
		dst = appendNAT(dst, ctaNatDst, x.DNAT)
	}
	return endRequest(dst, 0)
}

// appendNAT appends a translation to one address and, unless it is 0, one
// port.
func appendNAT(dst []byte, typ uint16, to netip.AddrPort) []byte {
	dst, at := beginNested(dst, typ)
	if to.Addr().Is4() {
		dst = appendAddr(dst, ctaNatV4MinIP, to.Addr())
		dst = appendAddr(dst, ctaNatV4MaxIP, to.Addr())
	} else {
		dst = appendAddr(dst, ctaNatV6MinIP, to.Addr())
		dst = appendAddr(dst, ctaNatV6MaxIP, to.Addr())
	}
	if to.Port() != 0 {
		var proto int
		dst, proto = beginNested(dst, ctaNatProto)
		dst = appendAttr16(dst, ctaProtoNatPortMin, to.Port())
		dst = appendAttr16(dst, ctaProtoNatPortMax, to.Port())
		dst = endNested(dst, proto)
	}
	return endNested(dst, at)
}
