// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"time"

	"golang.org/x/sys/unix"
)

// Forgotten describes the entry of a TCP connection that continues although
// conntrack has dropped its entry. It was not translated.
type Forgotten struct {
	Original Tuple
	Mark     uint32
	Helper   string        // empty: none
	Timeout  time.Duration // until the next packet, rounded up to seconds
}

// tcpFlagSACK is IP_CT_TCP_FLAG_SACK_PERM.
const tcpFlagSACK = 0x02

// Restore creates the entry of an established connection. The windows are
// unknown, so both ends are made liberal, as the kernel does for a connection
// that it picks up midstream (tcp_new in net/netfilter/nf_conntrack_proto_tcp.c).
// The error is EEXIST if there is an entry again.
func (c *Conn) Restore(x Forgotten) error {
	const op = "restore"
	if !x.Original.valid() {
		return opError(op, x.Original, errTuple)
	}
	c.beginIn(ctNew, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, x.Original)
	c.out = appendForgotten(c.out, &x)
	return opError(op, x.Original, c.execute())
}

// appendForgotten completes a request that restores an entry.
func appendForgotten(dst []byte, x *Forgotten) []byte {
	dst = appendTuple(dst, ctaTupleOrig, x.Original)
	dst = appendTuple(dst, ctaTupleReply, x.Original.Reverse())
	dst = appendAttr32(dst, ctaTimeout, max(seconds(x.Timeout), 1))
	dst = appendAttr32(dst, ctaMark, x.Mark)
	// The confirmed bit is set by then, and must not change
	// (nf_ct_change_status_common).
	dst = appendAttr32(dst, ctaStatus, uint32(StatusConfirmed|StatusSeenReply|StatusAssured))
	var info, tcp int
	dst, info = beginNested(dst, ctaProtoinfo)
	dst, tcp = beginNested(dst, ctaProtoinfoTCP)
	dst = appendAttr8(dst, ctaProtoinfoTCPState, TCPStateEstablished)
	dst = appendTCPFlags(dst, ctaProtoinfoTCPFlagsOriginal, tcpFlagBeLiberal|tcpFlagSACK)
	dst = appendTCPFlags(dst, ctaProtoinfoTCPFlagsReply, tcpFlagBeLiberal|tcpFlagSACK)
	dst = endNested(endNested(dst, tcp), info)
	if x.Helper != "" {
		dst, info = beginNested(dst, ctaHelp)
		dst = appendAttrString(dst, ctaHelpName, x.Helper)
		dst = endNested(dst, info)
	}
	return endRequest(dst, 0)
}
